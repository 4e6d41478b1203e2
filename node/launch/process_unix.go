//go:build unix

package launch

import (
	"os"
	"syscall"
)

// ownGroup keeps the terminal's Ctrl-C from the child.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// terminate asks a process to leave.
func terminate(p *os.Process) error { return p.Signal(syscall.SIGTERM) }

func pause(p *os.Process) error {
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	return awaitStopped(p)
}

func resume(p *os.Process) error { return p.Signal(syscall.SIGCONT) }
