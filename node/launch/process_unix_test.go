//go:build unix

package launch

import (
	"os/signal"
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
