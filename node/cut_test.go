package node

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// receiver is a next hop that takes some frames, by whatever way they come, and then cuts the stream.
type receiver struct {
	t    *testing.T
	host host.Host
	lim  protocol.Limits

	mu     sync.Mutex
	left   int  // frames until the stream is cut
	back   bool // then it can be opened anew
	held   int  // tokens
	number uint64
}

// handle reads frames until the cut. What has been sent behind it is lost.
func (r *receiver) handle(s network.Stream) {
	for {
		msg, err := protocol.ReadMessage(s, r.lim)
		if err != nil {
			_ = s.Reset()
			return
		}
		r.mu.Lock()
		r.left--
		cut := r.left == 0
		if cut && !r.back {
			r.host.RemoveStreamHandler(protocol.PushID)
		}
		if p, ok := msg.(protocol.Push); ok {
			r.take(p)
		}
		r.mu.Unlock()
		if cut {
			_ = s.Reset()
			return
		}
	}
}

// take does what a hop does with a frame: it goes on with what it has not had. Called with the mutex held.
func (r *receiver) take(p protocol.Push) {
	at, end := int(p.Position), int(p.Position)+p.N
	switch {
	case p.Number == 0 && at <= r.held:
		r.held = max(r.held, end)
	case p.Number > 0 && at == r.held && p.Number > r.number:
		r.held, r.number = end, p.Number
	case p.Number > 0 && end <= r.held: // again
	default:
		r.t.Errorf("step %d of tokens %d..%d came after %d tokens", p.Number, at, end-1, r.held)
	}
}

func (r *receiver) has(tokens int) func() bool {
	return func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.held >= tokens
	}
}

func TestPush_ACutAtAnyPointLosesNothing(t *testing.T) {
	t.Parallel()
	n, _ := serve(t, 0, 1, nil)
	owner := newHost(t)
	ids := sequence(300)
	for cut := 1; cut <= 8; cut++ {
		for _, back := range []bool{false, true} {
			t.Run(fmt.Sprintf("after frame %d, reachable again: %v", cut, back), func(t *testing.T) {
				r := &receiver{t: t, host: newHost(t), lim: n.limits, left: cut, back: back}
				r.host.SetStreamHandler(protocol.PushID, r.handle)
				c := call(t, owner, n, fmt.Sprintf("%d%v", cut, back))
				m := c.open(1, 0, 1, 0)
				m.Private = true
				m.Next = sealedFor(t, n, r.host)
				c.opened(m, 0)
				r.passOn(c)
				// What is replayed arrives in pieces of one size, and would be sent again in pieces of another.
				for at := 0; at < 270; at += 90 {
					c.send(protocol.Step{Epoch: 1, Position: uint32(at), Through: r.host.ID(), IDs: ids[at : at+90]})
				}
				eventually(t, "all that was replayed has arrived", r.has(270))
				for i := 270; i < 300; i += 10 { // two on their way at once
					c.send(step(1, uint64(i/10), i, protocol.WantNone, ids[i:i+10]...))
					if i > 270 {
						eventually(t, "the step before has arrived", r.has(i))
					}
				}
				eventually(t, "all steps have arrived", r.has(300))
				c.send(protocol.Close{Session: c.key})
				eventually(t, "the session is closed", func() bool { return n.Stats().Sessions == 0 })
			})
		}
	}
	if got, want := count(t, n, "tokens_total"), 16*300; got != want {
		t.Errorf("%d tokens were computed, want %d", got, want)
	}
}

// passOn has the owner pass on what comes to it.
func (r *receiver) passOn(c *caller) {
	var reading sync.WaitGroup
	reading.Go(func() {
		for {
			msg, err := protocol.ReadMessage(c.s, c.lim)
			if err != nil {
				return
			}
			r.mu.Lock()
			switch m := msg.(type) {
			case protocol.Push:
				r.take(m)
			case protocol.Failure:
				r.t.Errorf("the owner hears %v", m)
			}
			r.mu.Unlock()
		}
	})
	r.t.Cleanup(func() { _ = c.s.Reset(); reading.Wait() })
}

// sealedFor gives an offer of another host that says what n's does.
func sealedFor(t *testing.T, n *Node, h host.Host) []byte {
	t.Helper()
	o := n.offer()
	o.Version, o.Peer, o.Sequence, o.LifeMS = protocol.OfferVersion, h.ID(), 1, 1000
	for _, a := range h.Addrs() {
		o.Addrs = append(o.Addrs, a.String())
	}
	b, err := protocol.Seal(o, h.Peerstore().PrivKey(h.ID()))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestWay_KeepsWhatMayBeLost(t *testing.T) {
	replay := func(from, n int, through protocol.PeerID, ids ...uint32) sent {
		return sent{from: from, n: n, through: through, newIDs: ids}
	}
	var w way
	for _, s := range []sent{
		replay(0, 2, "x", 1, 2), replay(2, 1, "x", 3), replay(1, 2, "x", 2, 3), replay(2, 3, "x", 3, 4, 5), replay(5, 1, "y"), replay(9, 1, "x"),
	} {
		w.remember(s)
	}
	if len(w.replays) != 3 || w.replays[0].n != 5 || !slices.Equal(w.replays[0].newIDs, []uint32{1, 2, 3, 4, 5}) {
		t.Errorf("kept %+v", w.replays)
	}
	for number := range uint64(3) {
		if !w.remember(sent{number: number + 1, from: int(number), n: 1}) || w.remember(sent{number: number + 1, from: int(number), n: 1}) {
			t.Errorf("step %d is new once", number+1)
		}
		if number == 1 && (len(w.steps) != 2 || len(w.replays) != 3) {
			t.Errorf("after two steps it keeps %+v and %+v", w.replays, w.steps)
		}
	}
	if len(w.steps) != 2 || w.steps[0].number != 2 || w.replays != nil {
		t.Errorf("after three steps it keeps %+v and %+v", w.replays, w.steps)
	}
	for i := range 100 { // somebody who has it replay pieces that do not fit together
		w.remember(replay(2*i, 1, "z"))
	}
	if len(w.replays) > maxAsked {
		t.Errorf("it keeps %d pieces", len(w.replays))
	}
}
