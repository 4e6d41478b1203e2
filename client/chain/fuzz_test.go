package chain

import (
	"flag"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// FuzzChain_Stories has honest peers die, forget, part, come back and lose their connections or a message at any time, while
// messages move in any order and the client rolls back or changes its mind. Whatever happens, each Append must come to its
// end with the answer of a single process, no hop may compute upon other tokens than the client's, and none that kept its
// session may be sent a token twice but for what its ledger answers.
func FuzzChain_Stories(f *testing.F) {
	for seed := range uint64(5) {
		f.Add(seed, []byte{0, 1, 2, 0, 1, 2, 0, 1, 200, 255, 0, 1})
		f.Add(seed, []byte{1, 2, 3, 4, 5, 6, 215, 7, 8, 9, 213, 10, 208, 255, 11, 12, 13, 14, 205, 255, 229, 0, 219, 0, 233})
	}
	f.Fuzz(func(t *testing.T, seed uint64, story []byte) {
		w := newWorld(t, rand.New(rand.NewPCG(seed, 2)))
		for _, b := range story[:min(len(story), 300)] {
			w.event(b)
		}
		w.end()
	})
}

var (
	stories    = flag.Uint64("stories", 3000, "how many stories of honest peers to tell")
	firstStory = flag.Uint64("first-story", 0, "the `seed` of the first of them")
)

// TestChain_GivesTheRightAnswerWhateverHappens is as much of the fuzzing as there is time for in each run.
func TestChain_GivesTheRightAnswerWhateverHappens(t *testing.T) {
	for seed := *firstStory; seed < *firstStory+*stories; seed++ {
		t.Run("", func(t *testing.T) {
			newWorld(t, rand.New(rand.NewPCG(seed, 1))).tell()
		})
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// FuzzChain lets hops say anything at any time. Each byte pair is an event: what, and how much. Whatever comes, the
// chain must not panic, must deliver rows and results in order, sends nothing while a hop is out, and keeps its ids.
func FuzzChain(f *testing.F) {
	f.Add([]byte{0, 0, 1, 0, 9, 4, 2, 0, 3, 4})
	f.Add([]byte{0, 0, 1, 0, 9, 40, 2, 0, 11, 8, 11, 8, 7, 0})
	f.Add([]byte{0, 0, 1, 0, 9, 200, 8, 1, 0, 0, 1, 0, 4, 9, 5, 3, 6, 20, 14, 1, 0, 0, 1, 200, 13, 200})
	f.Fuzz(func(t *testing.T, story []byte) {
		const width, vocab = 2, 3
		c := New(Config{Hidden: width, Vocab: vocab})
		x := &fuzzer{t: t, chain: c}
		x.take(c.Open(0, 0, 9, protocol.Sampling{Temperature: 1}, nil))
		x.route(0)
		for ; len(story) > 1; story = story[2:] {
			x.event(story[0], int(story[1]))
			if len(c.ids) != x.length {
				t.Fatalf("%d ids are left of %d", len(c.ids), x.length)
			}
		}
		x.end()
	})
}

type fuzzer struct {
	t      *testing.T
	chain  *Chain
	now    time.Duration
	ready  bool
	rows   int // position of the next row
	length int
	nextID int
	ids    [2]int
}

// end has the clock end whatever is waited for.
func (x *fuzzer) end() {
	for _, id := range x.ids {
		x.take(x.chain.Stay(x.now, id))
	}
	for range 2000 {
		at, ok := x.chain.Deadline()
		if !ok {
			if !x.ready && !x.chain.Broken() {
				x.t.Fatalf("nothing is waited for: %+v", x.chain)
			}
			return
		}
		x.now = max(x.now, at)
		x.take(x.chain.Tick(x.now))
	}
	x.t.Fatal("silence has no end")
}

// route names two hops, of which new are new.
func (x *fuzzer) route(n int) {
	var hops []Hop
	for i := range x.ids {
		if n>>i&1 == 0 {
			x.nextID++
			x.ids[i] = x.nextID
		}
		hops = append(hops, Hop{ID: x.ids[i], Peer: protocol.PeerID(rune('a' + i))})
	}
	x.ready = false
	x.take(x.chain.Route(x.now, hops))
}

// event makes something happen; the numbers in messages are mostly right, so that the stories get somewhere.
func (x *fuzzer) event(what byte, n int) {
	c := x.chain
	x.now += time.Duration(n) * time.Millisecond
	epoch, number, position, rows := c.epoch, c.last, 0, 0
	if len(c.flight) > 0 {
		number, position, rows = c.flight[0].number, c.flight[0].position, len(c.flight[0].ids)
	}
	switch what % 18 {
	case 0, 1:
		x.handle(int(what%2), protocol.Opened{Epoch: epoch, Position: uint32(c.limit - min(n/64, c.limit)), Last: uint64(n % 3)})
	case 2:
		x.handle(0, protocol.Push{Epoch: epoch, Number: number, Position: uint32(position), N: rows, Width: 2,
			Exp: make([]byte, rows), Half: make([]byte, 4*rows)})
	case 3:
		x.handle(1, protocol.Result{Epoch: epoch, Number: number, Want: protocol.Want(n % 3), Final: true,
			Candidates: make([]protocol.Candidate, n%3)})
	case 4:
		x.handle(n%2, protocol.Heartbeat{Epoch: epoch, Number: uint64(n), Running: n%3 == 0, Progress: uint64(n)})
	case 5:
		x.handle(n%2, protocol.Push{Epoch: uint32(n), Number: uint64(n), N: n, Width: n})
	case 6:
		x.handle(n%2, protocol.Failure{Epoch: uint32(n % 4), Code: protocol.Code(n)})
	case 7:
		x.take(c.Tick(x.now))
	case 8:
		x.ready, x.length = false, min(n, c.Position())
		x.rows = x.length
		x.take(c.Open(x.now, n, n, protocol.Sampling{TopK: int32(n)}, nil))
	case 9, 10:
		if x.ready && n > 0 {
			x.ready, x.rows, x.length = false, c.Position(), c.Position()+5*n
			x.take(c.Append(x.now, make([]uint32, 5*n), protocol.Want(n%3)))
		}
	default:
		x.more(what%18, n, epoch, number, position, rows)
	}
}

// more is event's other half.
func (x *fuzzer) more(what byte, n int, epoch uint32, number uint64, position, rows int) {
	c := x.chain
	switch what {
	case 11:
		row := 0
		if len(c.flight) > 0 {
			row = c.flight[0].row
		}
		k := min(n, rows-row)
		x.handle(1, protocol.Result{Epoch: epoch, Number: number, Want: protocol.WantRows, Position: uint32(position + row),
			N: k, Vocab: 3, Final: k == rows-row, Logits: make([]byte, 12*max(k, 0))})
	case 12:
		c.Sent(x.now, x.ids[n%2], nil)
	case 13:
		x.handle(n%2, protocol.Replayed{Epoch: epoch, Position: uint32(c.limit - min(n/64, c.limit))})
	case 14:
		x.route(n)
	case 15:
		x.handle(n%2, protocol.Parting{WithinMS: uint32(n)})
	case 16:
		x.handle(n%2, protocol.Failure{Epoch: epoch, Code: protocol.CodeLostSession})
	case 17:
		if c.phase == ready && len(c.flight) == 0 && c.moving == nil && !c.Broken() {
			x.nextID++
			x.take(c.Move(x.now, x.ids[n%2], Hop{ID: x.nextID, Peer: "c"}, 0))
		}
	}
}

func (x *fuzzer) handle(hop int, m any) { x.take(x.chain.Handle(x.now, x.ids[hop], m)) }

func (x *fuzzer) take(actions []Action) {
	broken := false
	for _, a := range actions {
		switch a := a.(type) {
		case *Fault:
			broken = true
			if a.Err == nil || a.Class == 0 {
				x.t.Fatalf("a fault without a reason or class: %+v", a)
			}
		case Ready, Done:
			if x.ready {
				x.t.Fatalf("%T twice", a)
			}
			x.ready = true
		case Rows:
			if a.Position != x.rows || a.N < 1 {
				x.t.Fatalf("%d rows from %d, the next is %d", a.N, a.Position, x.rows)
			}
			x.rows += a.N
		case Moved:
			x.ready = false
			for i := range x.ids {
				if x.ids[i] == a.From {
					x.ids[i] = a.To
				}
			}
		case Send:
			if broken && x.chain.moving == nil {
				x.t.Fatalf("a frame to hop %d, which nobody waits for", a.Hop)
			}
			x.chain.Sent(x.now, a.Hop, a.Message)
		}
	}
}
