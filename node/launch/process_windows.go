package launch

import (
	"errors"
	"os"
	"syscall"
)

// ownGroup keeps the console's Ctrl-C from the child.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}

// terminate does nothing: Windows has no polite signal for a process without a console of its own, and the end of its
// standard input has asked the child already.
func terminate(*os.Process) error { return nil }

// errNoPause: Windows has no documented way to hold up a process of which one is not the debugger.
var errNoPause = errors.New("this system can't hold up a process")

func pause(*os.Process) error { return errNoPause }

func resume(*os.Process) error { return errNoPause }
