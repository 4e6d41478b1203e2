//go:build unix

package sim

import (
	"os"
	"syscall"
)

func isAlive(p *os.Process) bool { return p.Signal(syscall.Signal(0)) == nil }
