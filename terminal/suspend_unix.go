//go:build unix

package terminal

import (
	"os"
	"syscall"
)

const isWindows = false

// resumed are the signals that a process gets when it goes on after it was stopped.
func resumed() []os.Signal { return []os.Signal{syscall.SIGCONT} }

func isResumed(s os.Signal) bool { return s == syscall.SIGCONT }

// stopSelf stops the process and all that was started with it, as Ctrl-Z does in a terminal that is not raw.
func stopSelf() error { return syscall.Kill(0, syscall.SIGTSTP) }
