package kernels

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// pool runs loops on some goroutines. The units of a loop are claimed in chunks from a counter, so a worker that the
// system puts aside delays one chunk and not a share, and chunks shrink towards the end of the loop. Between loops that
// follow each other closely the workers spin; else they are parked and take no time. One goroutine at a time calls run,
// which allocates nothing.
//
// Where a goroutine writes one word and then looks at another, while a second goroutine does so the other way round, at
// least one must see the other's write. The writer swaps there instead of storing: emulators of arm64 on x86 let a load
// overtake a store before it, which neither Go's memory model nor the processor does, and a lost wake-up stops everything.
type pool struct {
	spin    time.Duration // how long a worker looks for the next loop before it parks
	jobs    []job         // one is current, each worker but the caller may still hold one, and one is free
	current atomic.Pointer[job]
	runs    atomic.Uint64 // counts them; raised after current is set
	workers []worker      // the first is the caller
	waiting atomic.Bool
	done    chan struct{}
	closed  atomic.Bool
	stopped sync.WaitGroup
}

// worker is what the pool knows of one of its goroutines, apart from other workers' cache lines.
type worker struct {
	held   atomic.Pointer[job] // what it looks at: not to be used again meanwhile
	parked atomic.Bool
	wake   chan struct{}
	_      [128]byte
}

// loop is what a pool runs: do computes the units from..to-1, on several goroutines at once; worker tells them apart.
type loop interface {
	do(worker, from, to int)
}

// job is one run of a loop.
type job struct {
	body  loop
	units int64
	least int64        // units of the smallest chunk
	share int64        // a chunk takes this part of what is left
	next  atomic.Int64 // first unit that nobody has claimed
	left  atomic.Int64 // units not finished
}

// newPool starts workers-1 goroutines, which run until close.
func newPool(workers int) *pool {
	p := &pool{
		jobs: make([]job, workers+1), workers: make([]worker, workers), done: make(chan struct{}, 1),
	}
	if workers <= runtime.GOMAXPROCS(0) {
		p.spin = spinTime // with fewer processors than workers, spinning keeps others from working
	}
	p.current.Store(&p.jobs[0])
	for w := 1; w < workers; w++ {
		p.workers[w].wake = make(chan struct{}, 1)
		p.stopped.Go(func() { p.serve(w) })
	}
	return p
}

// run computes all of the units 0..units-1 of a loop. cost is the work of a unit in multiply-adds; little work is done
// by the caller alone.
func (p *pool) run(units int, cost int64, body loop) {
	if units == 0 {
		return
	}
	if len(p.workers) == 1 || units == 1 || int64(units)*cost < inlineCost {
		body.do(0, 0, units)
		return
	}
	j := p.free()
	j.body, j.units = body, int64(units)
	j.least, j.share = max(chunkCost/max(cost, 1), 1), int64(2*len(p.workers))
	j.left.Store(j.units)
	j.next.Store(0)
	p.current.Store(j)
	p.runs.Add(1)
	p.wake()
	p.work(j, 0)
	p.join(j)
}

// free gives a job that no worker looks at.
func (p *pool) free() *job {
	current := p.current.Load()
	for i := range p.jobs {
		if j := &p.jobs[i]; j != current && !p.held(j) {
			return j
		}
	}
	panic("kernels: every job of a pool is held") // the workers can't hold as many
}

func (p *pool) held(j *job) bool {
	for w := range p.workers {
		if p.workers[w].held.Load() == j {
			return true
		}
	}
	return false
}

// wake calls the workers that are parked.
func (p *pool) wake() {
	for w := 1; w < len(p.workers); w++ {
		if p.workers[w].parked.CompareAndSwap(true, false) {
			p.workers[w].wake <- struct{}{} // has room: it is sent once for each time that it parks
		}
	}
}

// join waits until the chunks that others have claimed are done.
func (p *pool) join(j *job) {
	if p.spinUntil(func() bool { return j.left.Load() == 0 }, joinTime) {
		return
	}
	for j.left.Load() != 0 {
		p.waiting.Swap(true)
		if j.left.Load() == 0 {
			p.waiting.Store(false)
			return
		}
		<-p.done // may be left over from an earlier loop
	}
}

// work claims and does chunks of a job until none is left.
func (p *pool) work(j *job, worker int) {
	for {
		from := j.next.Load()
		if from >= j.units {
			return
		}
		n := min(max((j.units-from)/j.share, j.least), j.units-from)
		if !j.next.CompareAndSwap(from, from+n) {
			continue
		}
		j.body.do(worker, int(from), int(from+n))
		if j.left.Add(-n) == 0 && worker != 0 && p.waiting.Swap(false) {
			select {
			case p.done <- struct{}{}:
			default: // it holds a signal that the caller has not seen yet
			}
		}
	}
}

// serve is the life of a worker.
func (p *pool) serve(w int) {
	me := &p.workers[w]
	for !p.closed.Load() {
		seen := p.runs.Load()
		j := p.current.Load()
		me.held.Swap(j)
		if p.current.Load() == j { // else it may be in use for something else already
			p.work(j, w)
		}
		me.held.Store(nil)
		p.await(me, seen)
	}
}

// await returns when there has been another run than those seen.
func (p *pool) await(me *worker, seen uint64) {
	news := func() bool { return p.runs.Load() != seen || p.closed.Load() }
	if p.spinUntil(news, p.spin) {
		return
	}
	me.parked.Swap(true)
	if news() && me.parked.CompareAndSwap(true, false) {
		return
	}
	<-me.wake
}

// spinUntil looks again and again whether something has come true, for some time.
func (p *pool) spinUntil(is func() bool, limit time.Duration) bool {
	if p.spin == 0 {
		return is()
	}
	start := time.Now()
	for {
		for range spinLooks {
			if is() {
				return true
			}
		}
		if time.Since(start) > limit {
			return false
		}
	}
}

// close stops the workers and waits for them. No run may follow.
func (p *pool) close() {
	p.closed.Swap(true)
	p.wake()
	p.stopped.Wait()
}
