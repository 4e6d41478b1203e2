//go:build unix

package launch

import (
	"os/signal"
	"syscall"
)

func ignoreTerminate() { signal.Ignore(syscall.SIGTERM) }
