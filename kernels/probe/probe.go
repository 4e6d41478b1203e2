// Package probe finds what a machine can do at most: how fast its processors read memory, multiply bytes and add up
// floating point products, each by a bare loop that does nothing else. Measurements of kernels stand beside these
// limits, taken in the same run: the memory's speed of a shared machine may halve from one second to the next.
//
// The loops come in the kernels' instruction sets. They compute nothing that anybody wants, and know no kernel.
package probe

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Limits is what the machine did in bare loops, on all threads of a probe together. A multiplication and an addition
// are two operations.
type Limits struct {
	Read    float64 `json:"read_bytes_per_s"`  // memory, read once from end to end
	Integer float64 `json:"integer_ops_per_s"` // products of bytes, summed in 32 bits
	Float   float64 `json:"float_ops_per_s"`   // float32: a product, rounded, and a sum
}

// Probe measures on some threads, with the loops of one instruction set. One goroutine at a time uses it.
type Probe struct {
	set     set
	threads int
	chunks  [][]byte // of the memory that is read; none yet: memory of its own
	at      int      // the chunk with which the next reading begins

	integerTurns, floatTurns int // of a unit of these loops: they take unitTime
}

// set is the bare loops of an instruction set. read reads p, a multiple of readStep long; the other two go round n times,
// with so many operations each time.
type set struct {
	name       string // as the kernels' set is called
	read       func(p []byte)
	integer    func(n int)
	integerOps int
	float      func(n int)
	floatOps   int
}

// Sets names the instruction sets whose loops this machine can run, the fastest first.
func Sets() []string {
	var names []string
	for _, s := range sets() {
		names = append(names, s.name)
	}
	return names
}

// sets lists them; the last one is plain Go.
func sets() []set {
	return append(nativeSets(), set{
		name: "generic", read: readGo, integer: integerGo, integerOps: integerGoOps, float: floatGo, floatOps: floatGoOps,
	})
}

// choose finds the loops for kernels of a name, such as avx512 or avx2+vnni: those of that name, else of its family, the
// part before the plus. Those for unknown kernels are the machine's fastest.
func choose(kernels string) set {
	all := sets()
	family, _, _ := strings.Cut(kernels, "+")
	for _, name := range []string{kernels, family} {
		for _, s := range all {
			if s.name == name {
				return s
			}
		}
	}
	return all[0]
}

// New makes a probe with the loops that fit a device's name, such as cpu/avx512, on so many threads; 0 or less means all
// cores. It reads memory of its own.
func New(device string, threads int) *Probe {
	if threads <= 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	p := &Probe{set: choose(strings.TrimPrefix(device, "cpu/")), threads: threads}
	p.integerTurns, p.floatTurns = turns(p.set.integer), turns(p.set.float)
	return p
}

// Over gives a probe that reads some memory instead: how fast it is read depends on where the system has put it, so
// nothing else shows what reading weights can reach. If there is little of it, it comes from a cache, as do the weights.
func (p *Probe) Over(memory ...[]byte) *Probe {
	q := *p
	q.chunks, q.at = nil, 0
	for _, m := range memory {
		for len(m) >= readStep {
			n := min(len(m)/readStep*readStep, chunkBytes)
			q.chunks, m = append(q.chunks, m[:n]), m[n:]
		}
	}
	return &q
}

// ownMemory makes memory to read.
func ownMemory() []byte {
	m := make([]byte, memoryBytes)
	for i := 0; i < len(m); i += pageBytes {
		m[i] = 1 // what was never written is one page of zeros, and comes from the cache
	}
	return m
}

// turns finds how often a loop goes round in unitTime.
func turns(loop func(n int)) int {
	for n := 64; ; n *= 2 {
		begun := time.Now()
		loop(n)
		if time.Since(begun) >= unitTime {
			return n
		}
	}
}

// Loops names the loops and threads that p measures with.
func (p *Probe) Loops() string { return fmt.Sprintf("%s loops on %d threads", p.set.name, p.threads) }

// Limits measures all three.
func (p *Probe) Limits() Limits {
	return Limits{Read: p.Read(), Integer: p.Integer(), Float: p.Float()}
}

// Read is how many bytes a second are read from memory: the mean over some 10 ms and more, as what is compared with it
// takes at least that. (A short run may be lucky: on a machine that others use, too, the best of three runs of 2 ms was up
// to a third above the mean.) Each time it is the next part of the memory.
func (p *Probe) Read() float64 {
	if len(p.chunks) == 0 {
		p.chunks = p.Over(ownMemory()).chunks
	}
	chunk := func(unit int) []byte { return p.chunks[(p.at+unit)%len(p.chunks)] }
	work := 0
	for unit := range runChunks {
		work += len(chunk(unit))
	}
	took := p.run(runChunks, func(unit int) { p.set.read(chunk(unit)) })
	p.at = (p.at + runChunks) % len(p.chunks)
	return float64(work) / max(took.Seconds(), 1e-9)
}

// Integer is how many operations a second on bytes are done.
func (p *Probe) Integer() float64 {
	units := runUnits * p.threads
	return best(units*p.integerTurns*p.set.integerOps, func() time.Duration {
		return p.run(units, func(int) { p.set.integer(p.integerTurns) })
	})
}

// Float is how many operations a second on float32s are done.
func (p *Probe) Float() float64 {
	units := runUnits * p.threads
	return best(units*p.floatTurns*p.set.floatOps, func() time.Duration {
		return p.run(units, func(int) { p.set.float(p.floatTurns) })
	})
}

// best is the highest rate of some runs: whatever else the machine does makes a run slower, never faster.
func best(work int, run func() time.Duration) float64 {
	rate := 0.0
	for range runs {
		rate = max(rate, float64(work)/max(run().Seconds(), 1e-9))
	}
	return rate
}

// run does units 0..units-1 on all threads at once and gives the time from the first to the last. Units are claimed one
// by one, so that a thread that the system puts aside holds up one unit.
func (p *Probe) run(units int, do func(unit int)) time.Duration {
	var next, ready, done atomic.Int64
	var begin atomic.Bool
	work := func() {
		for u := next.Add(1) - 1; u < int64(units); u = next.Add(1) - 1 {
			do(int(u))
		}
	}
	var others sync.WaitGroup
	for range p.threads - 1 {
		others.Go(func() {
			ready.Add(1)
			for !begin.Load() {
				runtime.Gosched()
			}
			work()
			done.Add(1)
		})
	}
	waitFor(&ready, p.threads-1)
	begun := time.Now()
	begin.Store(true)
	work()
	waitFor(&done, p.threads-1)
	took := time.Since(begun)
	others.Wait()
	return took
}

// waitFor returns when n have been counted: sooner than a sleeper would wake up.
func waitFor(count *atomic.Int64, n int) {
	for count.Load() < int64(n) {
		runtime.Gosched()
	}
}
