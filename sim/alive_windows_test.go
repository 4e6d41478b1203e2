package sim

import "os"

// isAlive: a process that is gone is not found.
func isAlive(*os.Process) bool { return true }
