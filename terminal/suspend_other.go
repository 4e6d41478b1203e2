//go:build !unix

package terminal

import (
	"errors"
	"os"
)

const isWindows = true

// resumed are the signals that a process gets when it goes on after it was stopped: it can't be.
func resumed() []os.Signal { return nil }

func isResumed(os.Signal) bool { return false }

func stopSelf() error { return errors.ErrUnsupported }
