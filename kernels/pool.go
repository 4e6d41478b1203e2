package kernels

import (
	"sync"
	"sync/atomic"
)

// pool runs loops on some goroutines. The units of a loop are claimed in chunks from a counter, so a worker that the
// system puts aside delays one chunk and not a share; every loop has a job of its own, so a late worker finds nothing
// left to claim in an old one. Workers are parked while there is no job. One goroutine at a time calls run.
type pool struct {
	workers int // the caller included
	current atomic.Pointer[job]
	wake    chan struct{}
	stopped sync.WaitGroup
}

// job is one loop.
type job struct {
	units, grain int
	body         func(worker, from, to int)
	next         atomic.Int64 // first unit that nobody has claimed
	left         atomic.Int64 // units not finished
	done         chan struct{}
}

// newPool starts workers-1 goroutines, which run until close.
func newPool(workers int) *pool {
	p := &pool{workers: workers, wake: make(chan struct{}, workers)}
	for w := 1; w < workers; w++ {
		p.stopped.Go(func() {
			for range p.wake {
				p.current.Load().work(w)
			}
		})
	}
	return p
}

// run calls body for all of the units 0..units-1, in ranges, on several goroutines at once; worker < p.workers tells
// them apart. cost is the work of a unit in multiply-adds; little work is done by the caller alone.
func (p *pool) run(units int, cost int64, body func(worker, from, to int)) {
	total := int64(units) * cost
	if units == 0 {
		return
	}
	if p.workers == 1 || units == 1 || total < inlineCost {
		body(0, 0, units)
		return
	}
	grain := max(units/(p.workers*chunksPerWorker), int(chunkCost/max(cost, 1)), 1)
	j := &job{units: units, grain: grain, body: body, done: make(chan struct{})}
	j.left.Store(int64(units))
	p.current.Store(j)
	for range min(p.workers, (units+grain-1)/grain) - 1 {
		select {
		case p.wake <- struct{}{}:
		default: // as many wake-ups as workers are under way already
		}
	}
	j.work(0)
	<-j.done
}

// work claims and does chunks until none is left.
func (j *job) work(worker int) {
	for {
		from := int(j.next.Add(int64(j.grain))) - j.grain
		if from >= j.units {
			return
		}
		to := min(from+j.grain, j.units)
		j.body(worker, from, to)
		if j.left.Add(int64(from-to)) == 0 {
			close(j.done)
		}
	}
}

// close stops the workers and waits for them. No run may follow.
func (p *pool) close() {
	close(p.wake)
	p.stopped.Wait()
}
