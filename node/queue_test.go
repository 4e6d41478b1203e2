package node

import (
	"fmt"
	"strings"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/node/session"
	"github.com/baichuan-node/baichuan-node/protocol"
)

// names gives the pieces as session, number and tokens.
func names(batch []piece) string {
	var words []string
	for _, p := range batch {
		words = append(words, fmt.Sprintf("%s%d:%d", strings.TrimRight(string(p.hop.books.ID.Key[:]), "\x00"), p.in.Number, p.n))
	}
	return strings.Join(words, " ")
}

func newHop(name string) *hop {
	s := &session.Session{}
	copy(s.ID.Key[:], name)
	return &hop{books: s}
}

func newJob(h *hop, number uint64, tokens int) *job {
	return &job{hop: h, in: session.Input{Number: number, N: tokens}}
}

// anyMore lets an owner have as many steps in a pass as it wants.
func anyMore(peer.ID) share { return share{batchRows, batchRows} }

// pass takes a batch as if it were computed: what is not done yet goes back.
func pass(q *queue, chunk int) string {
	batch := q.take(func(*hop) int { return chunk }, anyMore)
	for _, p := range batch {
		if p.done += p.n; p.done < p.in.N {
			q.back(p.job)
		}
	}
	return names(batch)
}

func TestQueue_TakesTurns(t *testing.T) {
	a, b, c := newHop("a"), newHop("b"), newHop("c")
	var q queue
	for _, j := range []*job{newJob(a, 1, 40), newJob(a, 2, 20), newJob(b, 1, 1), newJob(c, 1, 1), newJob(c, 2, 8), newJob(b, 2, 9)} {
		q.push(j)
	}
	for i, want := range []string{"a1:16 b1:1 c1:1", "a1:16 c2:8", "b2:9 a1:7", "a1:1", "a2:16", "a2:4", ""} {
		if got := pass(&q, 16); got != want {
			t.Errorf("pass %d is %q, want %q", i, got, want)
		}
	}
	if q.steps != 0 || len(q.turns) != 0 || len(q.jobs) != 0 {
		t.Errorf("an empty queue holds %d steps, %d turns, %d sessions", q.steps, len(q.turns), len(q.jobs))
	}
}

func TestQueue_ServesEachPeerBeforeAnyTwice(t *testing.T) {
	var q queue
	for _, name := range []string{"a", "b", "c"} {
		h := newHop(name)
		h.books.ID.Owner = "greedy"
		q.push(newJob(h, 1, 100))
	}
	honest := newHop("x")
	honest.books.ID.Owner = "honest"
	q.push(newJob(honest, 1, 100))
	for i, want := range []string{"a1:60", "x1:60", "b1:60", "x1:40 c1:20", "a1:40 b1:20", "c1:60", "b1:20 c1:20", ""} {
		if got := pass(&q, 60); got != want {
			t.Errorf("pass %d is %q, want %q", i, got, want)
		}
	}
}

// A peer with many sessions has its first in each pass, and beside it a few of the others by turns.
func TestQueue_GivesACrowdOfOnePeersAFew(t *testing.T) {
	var q queue
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		h := newHop(name)
		h.books.ID.Owner = "greedy"
		q.push(newJob(h, 1, 1))
	}
	prompt := newHop("p")
	prompt.books.ID.Owner = "greedy"
	q.push(newJob(prompt, 1, 10))
	honest := newHop("x")
	honest.books.ID.Owner = "honest"
	q.push(newJob(honest, 1, 1))
	few := func(peer.ID) share { return share{batchRows, 2} }
	for i, want := range []string{"a1:1 x1:1 b1:1 c1:1", "d1:1 e1:1 p1:1", "p1:4", "p1:4", "p1:1", ""} {
		batch := q.take(func(*hop) int { return 4 }, few)
		for _, p := range batch {
			if p.done += p.n; p.done < p.in.N {
				q.back(p.job)
			}
		}
		if got := names(batch); got != want {
			t.Errorf("pass %d is %q, want %q", i, got, want)
		}
	}
}

// Of a long guess, too, no more goes along with others' steps than its owner's share.
func TestQueue_CutsLongGuessesBesideOthers(t *testing.T) {
	a, b, x := newHop("a"), newHop("b"), newHop("x")
	a.books.ID.Owner, b.books.ID.Owner, x.books.ID.Owner = "greedy", "greedy", "honest"
	var q queue
	for _, j := range []*job{newJob(a, 1, 8), newJob(b, 1, 8), newJob(x, 1, 1)} {
		q.push(j)
	}
	few := func(peer.ID) share { return share{4, 1} }
	for i, want := range []string{"a1:4 x1:1", "b1:4", "a1:4", "b1:4", ""} {
		batch := q.take(func(*hop) int { return 4 }, few)
		for _, p := range batch {
			if p.done += p.n; p.done < p.in.N {
				q.back(p.job)
			}
		}
		if got := names(batch); got != want {
			t.Errorf("pass %d is %q, want %q", i, got, want)
		}
	}
}

func TestQueue_GivesEachPeerItsShareOfLogits(t *testing.T) {
	var q queue
	for i, owner := range []peer.ID{"greedy", "greedy", "greedy", "honest"} {
		h := newHop(fmt.Sprint(i))
		h.books.ID.Owner = owner
		q.heads = append(q.heads, &headJob{hop: h, n: 3})
	}
	few := func(peer.ID) share { return share{2, 3} }
	for i, want := range []string{"0:2 1:3 3:2", "2:2 0:1 3:1", "2:1", ""} {
		var got []string
		for _, ask := range q.takeHeads(few) {
			got = append(got, fmt.Sprintf("%s:%d", strings.TrimRight(string(ask.hop.books.ID.Key[:]), "\x00"), ask.n))
			if ask.headJob.n -= ask.n; ask.headJob.n > 0 {
				q.heads = append(q.heads, ask.headJob)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("round %d is for %v, want %s", i, got, want)
		}
	}
}

func TestQueue_BoundsAPass(t *testing.T) {
	var q queue
	for i := range batchRows {
		q.push(newJob(newHop(fmt.Sprint(i)), 1, 2))
	}
	for range 2 {
		if batch := q.take(func(*hop) int { return 16 }, anyMore); len(batch) != batchRows/2 {
			t.Errorf("%d steps in a pass", len(batch))
		}
	}
}

func TestQueue_KnowsWhoElseDecodes(t *testing.T) {
	a, b := newHop("a"), newHop("b")
	var q queue
	q.push(newJob(a, 1, 100))
	q.push(newJob(b, 1, 1))
	if !q.decoding(a) || q.decoding(b) {
		t.Error("b decodes, and a does not")
	}
}

func TestQueue_DropsWhatIsAskedFor(t *testing.T) {
	a, b := newHop("a"), newHop("b")
	one, two := &stream{}, &stream{}
	var q queue
	for i, st := range []*stream{one, two} {
		j := newJob(a, uint64(i+1), 1)
		j.stream = st
		q.push(j)
	}
	q.push(newJob(b, 1, 1))
	if got := q.drop(a, func(j *job) bool { return j.stream == one }); len(got) != 1 || got[0].in.Number != 1 {
		t.Errorf("dropped %v, want a's first", got)
	}
	if q.steps != 2 {
		t.Errorf("%d steps wait, want 2", q.steps)
	}
	if got := q.drop(a, func(*job) bool { return true }); len(got) != 1 || got[0].in.Number != 2 {
		t.Errorf("dropped %v, want a's second", got)
	}
	if got := q.drop(a, func(*job) bool { return true }); got != nil {
		t.Errorf("dropped %v of a session without steps", got)
	}
	if got := pass(&q, 16); got != "b1:1" || q.steps != 0 {
		t.Errorf("pass %q with %d steps left, want b's and none", got, q.steps)
	}
}

func TestMemory_OfTheLargestModelFitsAStream(t *testing.T) {
	const streamMemory = 16 << 20 // libp2p's limit for one stream
	l := protocol.Limits{Layers: 40, Hidden: 5120, Vocab: 125696, Context: 4096}
	push := protocol.MaxHeaderBytes + 4*protocol.MaxStepRows + protocol.MaxStepRows + 2*protocol.MaxStepRows*l.Hidden
	open := protocol.MaxHeaderBytes + protocol.MaxOfferBytes + 4*l.Context
	frame := maxFrameBytes(l)
	if frame < push || frame < open {
		t.Errorf("frames of %d bytes are reserved for, a push may have %d, an open %d", frame, push, open)
	}
	rows := resultBytes(l, protocol.WantRows, protocol.MaxStepRows)
	if stepsInFlight*frame > streamMemory || (stepsInFlight-1)*frame+rows > streamMemory {
		t.Errorf("%d steps in flight of %d bytes and a result of %d are more than a stream's %d", stepsInFlight, frame, rows, streamMemory)
	}
}
