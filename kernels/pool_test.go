package kernels

import (
	"math/rand"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// loopFunc is a loop of one function.
type loopFunc func(worker, from, to int)

func (f loopFunc) do(worker, from, to int) { f(worker, from, to) }

func TestPool_DoesEveryUnitOnce(t *testing.T) {
	for workers := 1; workers <= 8; workers++ {
		p := newPool(workers)
		for _, units := range []int{0, 1, 2, 7, 64, 1000} {
			for range 20 {
				counts := make([]atomic.Int32, units)
				p.run(units, inlineCost, loopFunc(func(worker, from, to int) {
					if worker < 0 || worker >= workers {
						t.Errorf("worker %d of %d", worker, workers)
					}
					for u := from; u < to; u++ {
						counts[u].Add(1)
					}
				}))
				for u := range counts {
					if n := counts[u].Load(); n != 1 {
						t.Fatalf("%d workers, %d units: unit %d was done %d times", workers, units, u, n)
					}
				}
			}
		}
		p.close()
	}
}

func TestPool_LittleWorkStaysWithTheCaller(t *testing.T) {
	p := newPool(4)
	defer p.close()
	calls := 0
	p.run(100, 1, loopFunc(func(worker, from, to int) {
		calls++
		if worker != 0 || from != 0 || to != 100 {
			t.Errorf("worker %d does %d..%d", worker, from, to)
		}
	}))
	if calls != 1 {
		t.Errorf("%d calls, want 1", calls)
	}
}

// tally is a loop whose units note which run did them, in plain memory: what one goroutine writes the caller must see
// after the run, and a worker that comes late must not touch what belongs to a later run. The race detector watches.
type tally struct {
	run    int
	input  []int // the caller's, before each run
	done   []int
	busy   []bool // of each worker: no two goroutines are the same one
	linger int    // now and then a chunk takes long, in units of a yield; a thousandth of chunks sleeps
}

func (l *tally) do(worker, from, to int) {
	if l.busy[worker] {
		panic("two goroutines are one worker")
	}
	l.busy[worker] = true
	for u := from; u < to; u++ {
		if l.done[u] != l.run-1 || l.input[u] != l.run {
			panic("a unit is done twice, or before the caller is ready")
		}
		l.done[u] = l.run
	}
	switch (l.run + from) % 1000 {
	case 0:
		time.Sleep(time.Duration(l.linger) * 10 * time.Microsecond)
	case 1, 2, 3, 4, 5, 6, 7:
		for range l.linger {
			runtime.Gosched()
		}
	}
	l.busy[worker] = false
}

// stress runs loops of random sizes back to back, with pauses now and then that are too short or long enough to park.
func (p *pool) stress(t *testing.T, rng *rand.Rand, runs int) {
	t.Helper()
	l := &tally{input: make([]int, 300), done: make([]int, 300), busy: make([]bool, len(p.workers)), linger: 3}
	for range runs {
		l.run++
		units := 1 + rng.Intn(300)
		if rng.Intn(2) == 0 {
			units = 1 + rng.Intn(2*len(p.workers))
		}
		for u := range l.input {
			l.input[u] = l.run
			if u >= units {
				l.done[u] = l.run // nobody else's
			}
		}
		p.run(units, oneOf[int64](rng, inlineCost, chunkCost, chunkCost/7, inlineCost/int64(units)+1), l)
		for u, r := range l.done {
			if r != l.run {
				t.Fatalf("run %d of %d units: unit %d was last done in run %d", l.run, units, u, r)
			}
		}
		switch rng.Intn(400) {
		case 0:
			time.Sleep(2 * max(p.spin, time.Microsecond))
		case 1, 2, 3:
			time.Sleep(p.spin / 2)
		case 4, 5:
			for start := time.Now(); time.Since(start) < p.spin; { // about when they park
			}
		}
	}
}

// poolThat gives a pool whose workers spin, or do not, however many processors there are.
func poolThat(spins bool, workers int) *pool {
	procs := workers
	if !spins {
		procs = max(workers-1, 1)
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
	return newPool(workers)
}

func TestPool_Stress(t *testing.T) {
	runs := 4000
	if testing.Short() {
		runs = 800
	}
	for name, test := range map[string]struct {
		workers, procs int
		spin           bool
		hogs           int
	}{
		"two workers":                         {workers: 2, procs: 2, spin: true},
		"more workers than processors":        {workers: 16, procs: 2},
		"they spin, with fewer processors":    {workers: 5, procs: 2, spin: true},
		"more threads than processors":        {workers: 8, procs: 8, spin: true},
		"a hog beside two workers":            {workers: 2, procs: 2, spin: true, hogs: 1},
		"hogs beside more than there is":      {workers: 6, procs: 4, spin: true, hogs: 3},
		"hogs, and workers that park at once": {workers: 7, procs: 3, hogs: 2},
		"one processor":                       {workers: 3, procs: 1},
	} {
		t.Run(name, func(t *testing.T) {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(test.procs))
			stop := hog(test.hogs)
			defer stop()
			p := poolThat(test.spin, test.workers)
			p.stress(t, rand.New(rand.NewSource(41)), runs)
			p.close()
		})
	}
}

// hog keeps processors busy until the function it gives is called.
func hog(n int) (stop func()) {
	var quit atomic.Bool
	var hogs sync.WaitGroup
	for range n {
		hogs.Go(func() {
			for !quit.Load() {
			}
		})
	}
	return func() {
		quit.Store(true)
		hogs.Wait()
	}
}

// Workers may be anywhere when a pool is closed: not yet started, at work, looking for more, about to park, parked.
func TestPool_ClosesAtAnyTime(t *testing.T) {
	rng := rand.New(rand.NewSource(42))
	l := loopFunc(func(_, from, to int) {})
	for i := range 600 {
		p := poolThat(i%2 == 0, 1+i/2%9)
		for range rng.Intn(4) {
			p.run(100, inlineCost, l)
		}
		time.Sleep(time.Duration(rng.Intn(4)) * spinTime / 2)
		p.close()
	}
}

// A worker that is woken late finds whatever run is under way by then, never one that is over.
func TestPool_LateWorkersDoNotMeetWhatIsOver(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // nobody runs until the caller lets them
	p := newPool(4)
	defer p.close()
	last := 0
	for run := 1; run <= 3000; run++ {
		own := run
		p.run(1+run%9, inlineCost, loopFunc(func(worker, from, to int) {
			if own != last+1 {
				panic("a loop runs that is over")
			}
			if (worker+run)%5 == 0 {
				runtime.Gosched() // inside a chunk the others come and go
			}
		}))
		last = own
		if run%7 == 0 {
			runtime.Gosched()
		}
	}
}

func TestPool_RunAllocatesNothing(t *testing.T) {
	for _, workers := range []int{1, 2, 5} {
		p := newPool(workers)
		l := &tally{}
		var body loop = loopFunc(func(_, from, to int) { _ = l })
		if n := testing.AllocsPerRun(200, func() { p.run(64, inlineCost, body) }); n != 0 {
			t.Errorf("%d workers: %v allocations in a run", workers, n)
		}
		p.close()
	}
}
