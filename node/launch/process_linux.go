package launch

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// awaitStopped waits until all threads of a child have stopped: on a busy machine some go on for a while after the signal.
func awaitStopped(p *os.Process) error {
	for {
		err := unix.Waitid(unix.P_PID, p.Pid, nil, unix.WSTOPPED|unix.WNOWAIT, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.ECHILD):
			return os.ErrProcessDone
		case err != nil:
			return fmt.Errorf("wait until process %d has stopped: %w", p.Pid, err)
		default:
			return nil
		}
	}
}
