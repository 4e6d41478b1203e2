//go:build unix && !linux

package launch

import "os"

// awaitStopped does not wait: these systems tell a parent of a stopped child only in ways that would take its end away from
// whoever waits for that.
func awaitStopped(*os.Process) error { return nil }
