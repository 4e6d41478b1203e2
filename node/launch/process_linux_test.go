package launch

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// On a busy machine some threads went on for milliseconds: long enough to serve what a test meant to be held up.
func TestPause_ReturnsWhenAllThreadsHaveStopped(t *testing.T) {
	p := start(t, newGroup(t, Config{}), "serve")
	if _, err := p.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if err := p.Pause(); err != nil {
			t.Fatal(err)
		}
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.PID()))
		if err != nil || len(threads) < 2 {
			t.Fatalf("the threads are %v, %v", threads, err)
		}
		for _, file := range threads {
			if state, err := os.ReadFile(file); err != nil || !strings.Contains(string(state), ") T ") {
				t.Fatalf("a thread of a paused process: %s, %v", state, err)
			}
		}
		if err := p.Resume(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPause_OfOneThatHasEnded(t *testing.T) {
	p := start(t, newGroup(t, Config{}), "serve")
	if _, err := p.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.Kill()
	if err := p.Pause(); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("pausing one that was killed: %v", err)
	}
}
