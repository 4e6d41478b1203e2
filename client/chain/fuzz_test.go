package chain

import (
	"testing"
	"time"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// FuzzChain lets hops say anything at any time. Each byte pair is an event: what, and how much. Whatever comes, the
// chain must not panic, must deliver rows and results in order, and must end at most once.
func FuzzChain(f *testing.F) {
	f.Add([]byte{0, 0, 1, 0, 9, 4, 2, 0, 3, 4})
	f.Add([]byte{0, 0, 1, 0, 9, 40, 2, 0, 11, 8, 11, 8, 7, 0})
	f.Add([]byte{0, 0, 1, 0, 9, 200, 8, 1, 0, 0, 1, 0, 4, 9, 5, 3, 6, 20})
	f.Fuzz(func(t *testing.T, story []byte) {
		const width, vocab = 2, 3
		c := New(Config{Hidden: width, Vocab: vocab, Hops: []protocol.Open{{}, {}}})
		x := &fuzzer{t: t, chain: c}
		x.take(c.Open(0, 0, 9, protocol.Sampling{Temperature: 1}))
		for ; len(story) > 1; story = story[2:] {
			x.event(story[0], int(story[1]))
		}
		if at, ok := c.Deadline(); ok {
			x.take(c.Tick(at))
			if c.fault == nil {
				t.Fatalf("nothing happens at the deadline %v", at)
			}
		}
	})
}

type fuzzer struct {
	t       *testing.T
	chain   *Chain
	now     time.Duration
	ready   bool
	rows    int // position of the next row
	faulted bool
}

// event makes something happen; the numbers in messages are mostly right, so that the stories get somewhere.
func (x *fuzzer) event(what byte, n int) {
	c := x.chain
	x.now += time.Duration(n) * time.Millisecond
	epoch, number, position := c.epoch, c.last, 0
	if len(c.flight) > 0 {
		number, position = c.flight[0].number, c.flight[0].position
	}
	rows := 0
	if len(c.flight) > 0 {
		rows = len(c.flight[0].ids)
	}
	switch what % 13 {
	case 0:
		x.handle(0, protocol.Opened{Epoch: epoch, Position: uint32(c.keep)})
	case 1:
		x.handle(1, protocol.Opened{Epoch: epoch, Position: uint32(c.keep - min(n/64, c.keep))})
	case 2:
		x.handle(0, protocol.Push{Epoch: epoch, Number: number, Position: uint32(position), N: rows, Width: 2,
			Exp: make([]byte, rows), Half: make([]byte, 4*rows)})
	case 3:
		x.handle(1, protocol.Result{Epoch: epoch, Number: number, Want: protocol.Want(n % 3), Final: true,
			Candidates: make([]protocol.Candidate, n%3)})
	case 4:
		x.handle(n%2, protocol.Heartbeat{Epoch: epoch, Number: uint64(n), Running: n%3 == 0, Rows: uint32(n)})
	case 5:
		x.handle(n%2, protocol.Push{Epoch: uint32(n), Number: uint64(n), N: n, Width: n})
	case 6:
		x.handle(n%2, protocol.Failure{Epoch: uint32(n % 4), Code: protocol.Code(n)})
	case 7:
		x.take(c.Tick(x.now))
	case 8:
		x.ready = false
		x.rows = min(n, c.Position())
		x.take(c.Open(x.now, n, n, protocol.Sampling{TopK: int32(n)}))
	case 9, 10:
		if x.ready && n > 0 {
			x.ready, x.rows = false, c.Position()
			x.take(c.Append(x.now, make([]uint32, 5*n), protocol.Want(n%3)))
		}
	case 11:
		got := 0
		if len(c.flight) > 0 {
			got = c.flight[0].got
		}
		k := min(n, rows-got)
		x.handle(1, protocol.Result{Epoch: epoch, Number: number, Want: protocol.WantRows, Position: uint32(position + got),
			N: k, Vocab: 3, Final: k == rows-got, Logits: make([]byte, 12*max(k, 0))})
	case 12:
		c.Sent(x.now, n%2)
	}
}

func (x *fuzzer) handle(hop int, m any) { x.take(x.chain.Handle(x.now, hop, m)) }

func (x *fuzzer) take(actions []Action) {
	for _, a := range actions {
		switch a := a.(type) {
		case *Fault:
			x.faulted = true
			if a.Err == nil || a.Class == 0 {
				x.t.Fatalf("a fault without a reason or class: %+v", a)
			}
		case Ready, Done:
			if x.faulted || x.ready {
				x.t.Fatalf("%T after the end, or twice", a)
			}
			x.ready = true
		case Rows:
			if a.Position != x.rows || a.N < 1 {
				x.t.Fatalf("%d rows from %d, the next is %d", a.N, a.Position, x.rows)
			}
			x.rows += a.N
		case Send:
			if a.Hop < 0 || a.Hop > 1 || x.faulted {
				x.t.Fatalf("a frame to hop %d, ended: %t", a.Hop, x.faulted)
			}
		}
	}
}
