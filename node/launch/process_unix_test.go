//go:build unix

package launch

import (
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"
)

func ignoreTerminate() { signal.Ignore(syscall.SIGTERM) }

func TestPause_HoldsAProcessUp(t *testing.T) {
	p := start(t, newGroup(t, Config{}), "serve")
	if _, err := p.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.Pause(); err != nil {
		t.Fatal(err)
	}
	awaitStopped(p.PID())
	p.Terminate()
	select {
	case <-p.Exited():
		t.Error("it has left while it was held up")
	case <-time.After(200 * time.Millisecond):
	}
	if err := p.Resume(); err != nil {
		t.Fatal(err)
	}
	<-p.Exited()
}

// awaitStopped waits until the system has stopped a process: of two signals that wait, the other would be served first.
func awaitStopped(pid int) {
	for range 500 {
		state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil { // a system that does not show it
			time.Sleep(time.Second)
			return
		}
		if strings.Contains(string(state), ") T ") {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}
