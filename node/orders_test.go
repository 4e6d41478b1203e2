package node

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/host"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// recorded is a session of 24 tokens as the hop before the last one sent it: its steps, and pieces of it replayed.
type recorded struct {
	steps, replays []protocol.Push
	logits         []byte // of all tokens
}

func record(t *testing.T, key string) recorded {
	t.Helper()
	n, _ := serve(t, 0, 1, nil)
	c := call(t, newHost(t), n, key)
	c.opened(c.open(1, 0, 1, 0), 0)
	ids := sequence(24)
	r := recorded{logits: newOracle(t).logits(ids...)}
	number := uint64(0)
	for at := 0; at < 24; {
		number++
		size := []int{6, 6, 1, 7, 4}[number-1]
		r.steps = append(r.steps, ask[protocol.Push](c, step(1, number, at, protocol.WantRows, ids[at:at+size]...)))
		at += size
	}
	for _, s := range r.steps[:2] {
		s.Number, s.Want = 0, protocol.WantNone
		r.replays = append(r.replays, s)
	}
	return r
}

// orders delivers a recorded session's frames to the last hop, whose owner it is.
type orders struct {
	t      *testing.T
	node   *Node
	rec    recorded
	owner  *caller
	prev   io.Writer // the push stream of the hop before
	prevID protocol.PeerID
	others []io.Writer // those of peers that may push nothing

	mu     sync.Mutex
	done   map[uint64]int // results by number
	opened []protocol.Opened
}

// listen checks each result against the oracle, however often it comes.
func (o *orders) listen() {
	got := make(map[uint64][]byte)
	row := 4 * o.node.limits.Vocab
	for {
		msg, err := protocol.ReadMessage(o.owner.s, o.owner.lim)
		if err != nil {
			return
		}
		o.mu.Lock()
		switch m := msg.(type) {
		case protocol.Opened:
			o.opened = append(o.opened, m)
		case protocol.Result:
			s := o.rec.steps[m.Number-1]
			if m.Position == s.Position {
				got[m.Number] = nil
			}
			got[m.Number] = append(got[m.Number], m.Logits...)
			if m.Final {
				if !bytes.Equal(got[m.Number], o.rec.logits[int(s.Position)*row:(int(s.Position)+s.N)*row]) {
					o.t.Errorf("step %d has other logits than in order", m.Number)
				}
				o.done[m.Number]++
			}
		case protocol.Failure:
			if m.Code != protocol.CodeLostSession && m.Suspect != o.prevID {
				o.t.Errorf("the owner hears %v of %v", m, m.Suspect)
			}
		}
		o.mu.Unlock()
	}
}

func (o *orders) open(epoch uint32) {
	m := o.owner.open(epoch, 1, 3, 640)
	m.Prev, m.Private = o.prevID, true
	o.owner.send(m)
}

// push sends a frame in an epoch, by the hop before or by the owner.
func (o *orders) push(p protocol.Push, epoch uint32, byOwner bool) {
	o.t.Helper()
	p.Session, p.Epoch = o.owner.key, epoch
	if p.Number == 0 {
		p.Through = o.node.host.ID()
	}
	if byOwner {
		o.owner.send(p)
		return
	}
	p.Owner = o.owner.s.Conn().LocalPeer()
	if err := protocol.WriteMessage(o.prev, p); err != nil {
		o.t.Fatal(err)
	}
}

// forge sends a frame with other rows, by peers from which none is taken.
func (o *orders) forge(p protocol.Push, epoch uint32, from io.Writer) {
	p.Owner, p.Session, p.Epoch = o.owner.s.Conn().LocalPeer(), o.owner.key, epoch
	p.Exp, p.Half = make([]byte, len(p.Exp)), make([]byte, len(p.Half))
	if p.Number == 0 {
		p.Through = o.node.host.ID()
	}
	_ = protocol.WriteMessage(from, p)
}

func TestOrders_NothingIsComputedTwiceOrWrongly(t *testing.T) {
	t.Parallel()
	n, _ := serve(t, 1, 3, nil)
	owner, prev := newHost(t), newHost(t)
	strangers := []host.Host{newHost(t), newHost(t), owner} // the owner itself has its control stream
	rec := record(t, "s")
	var listening sync.WaitGroup
	defer listening.Wait()
	for seed := range uint64(24) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			before := count(t, n, "tokens_total")
			o := &orders{t: t, node: n, rec: rec, owner: call(t, owner, n, fmt.Sprint(seed)), prev: pushTo(t, prev, n), prevID: prev.ID(),
				done: make(map[uint64]int)}
			for _, s := range strangers {
				o.others = append(o.others, pushTo(t, s, n))
			}
			listening.Go(o.listen)
			o.open(1)
			o.play(rand.New(rand.NewPCG(seed, 6)))
			o.finish()
			if got := count(t, n, "tokens_total") - before; got != 24 {
				t.Errorf("%d tokens were computed for 24", got)
			}
			o.owner.send(protocol.Close{Session: o.owner.key})
			eventually(t, "the session is closed", func() bool { return n.Stats().Sessions == 0 })
			_ = o.owner.s.Reset()
		})
	}
}

// play delivers everything of two epochs, twice, in a random order.
func (o *orders) play(rng *rand.Rand) {
	var all []func()
	for epoch := uint32(1); epoch <= 2; epoch++ {
		for _, p := range append(o.rec.steps[:4:4], o.rec.replays...) {
			for range 2 {
				byOwner, stranger := rng.IntN(3) == 0, o.others[rng.IntN(len(o.others))]
				all = append(all, func() { o.push(p, epoch, byOwner) }, func() { o.forge(p, 1, stranger) })
			}
		}
		all = append(all, func() { o.open(epoch) }) // the first comes late
	}
	rng.Shuffle(len(all), func(i, k int) { all[i], all[k] = all[k], all[i] })
	for _, do := range all {
		do()
		if rng.IntN(4) == 0 {
			time.Sleep(time.Millisecond)
		}
	}
}

// finish opens a third epoch and delivers what it takes, in order.
func (o *orders) finish() {
	o.t.Helper()
	o.open(3)
	eventually(o.t, "the third epoch is open", func() bool {
		o.mu.Lock()
		defer o.mu.Unlock()
		return len(o.opened) > 0 && o.opened[len(o.opened)-1].Epoch == 3
	})
	for _, p := range o.rec.replays {
		o.push(p, 3, false)
	}
	for i, p := range o.rec.steps[2:] {
		number := uint64(3 + i)
		o.mu.Lock()
		before := o.done[number]
		o.mu.Unlock()
		o.push(p, 3, i%2 == 1)
		eventually(o.t, fmt.Sprintf("step %d has its result", number), func() bool {
			o.mu.Lock()
			defer o.mu.Unlock()
			return o.done[number] > before
		})
	}
}
