//go:build unix

package kernels

import (
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// cpuTime is what this process has used of processors.
func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var use unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &use); err != nil {
		t.Fatal(err)
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}

// This is no timing: a worker that looks for work all the time would use hundreds of milliseconds, whatever the machine.
func TestPool_IdleUsesNoProcessor(t *testing.T) {
	p := newPool(runtime.GOMAXPROCS(0))
	defer p.close()
	for range 10 {
		p.run(100, inlineCost, loopFunc(func(_, from, to int) {}))
	}
	runtime.GC()
	time.Sleep(20 * spinTime)
	before := cpuTime(t)
	time.Sleep(300 * time.Millisecond)
	if used := cpuTime(t) - before; used > 15*time.Millisecond {
		t.Errorf("idle for 300 ms, the workers used %v of processors", used)
	}
}
