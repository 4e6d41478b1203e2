package node

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// listener is an owner that hears all of its hops at once, and passes rows on that could not go straight.
type listener struct {
	*chain
	heard chan any
}

func (c *chain) listen(wg *sync.WaitGroup) *listener {
	l := &listener{c, make(chan any, 64)}
	for i, hop := range c.hops {
		wg.Go(func() {
			for {
				msg, err := protocol.ReadMessage(hop.s, hop.lim)
				if err != nil {
					return
				}
				if p, ok := msg.(protocol.Push); ok {
					next := c.hops[i+1]
					next.writing.Lock()
					_ = protocol.WriteMessage(next.s, p) // it may be closed by now: then nobody waits for them
					next.writing.Unlock()
					continue
				}
				l.heard <- msg
			}
		})
	}
	return l
}

// reopen opens the session anew, with one layer at each hop, and waits until all hops have it at a position.
func (l *listener) reopen(position int) error {
	l.epoch++
	for i, hop := range l.hops {
		m := hop.open(l.epoch, i, i+1, position)
		m.Private = true
		if i > 0 {
			m.Prev = l.nodes[i-1].host.ID()
		}
		if i < len(l.hops)-1 {
			m.Next = sealed(l.t, l.nodes[i+1])
		}
		hop.send(m)
	}
	for range l.hops {
		for {
			msg := <-l.heard
			o, ok := msg.(protocol.Opened)
			if ok && (o.Epoch != l.epoch || int(o.Position) != position) {
				return fmt.Errorf("opened %+v, want epoch %d at %d", o, l.epoch, position)
			}
			if ok {
				break
			}
		}
	}
	return nil
}

// talk computes ids along the chain as prompts and tokens, opening anew now and then.
func (l *listener) talk(rng *rand.Rand, ids []uint32, want []byte) error {
	if err := l.reopen(0); err != nil {
		return err
	}
	for at, number := 0, uint64(1); at < len(ids); number++ {
		n := 1
		if rng.IntN(4) == 0 {
			n = min(1+rng.IntN(40), len(ids)-at)
		}
		if rng.IntN(8) == 0 {
			if err := l.reopen(at); err != nil {
				return err
			}
		}
		l.first().send(step(l.epoch, number, at, protocol.WantRows, ids[at:at+n]...))
		got, err := l.result(number, at, n)
		if err != nil {
			return fmt.Errorf("step %d: %w", number, err)
		}
		if !bytes.Equal(got, l.rows(want, at, n)) {
			return fmt.Errorf("step %d: other logits of tokens %d..%d", number, at, at+n-1)
		}
		at += n
	}
	for _, hop := range l.hops {
		hop.send(protocol.Close{Session: hop.key})
	}
	return nil
}

// result gathers the logits of a step. It may be told several times, each time whole.
func (l *listener) result(number uint64, at, n int) ([]byte, error) {
	row := 4 * l.nodes[0].limits.Vocab
	timeout := time.After(15 * time.Second)
	var got []byte
	for len(got) < n*row {
		select {
		case msg := <-l.heard:
			if f, ok := msg.(protocol.Failure); ok && f.Number == number {
				return nil, f
			}
			r, ok := msg.(protocol.Result)
			if !ok || r.Number != number || r.Epoch != l.epoch {
				continue
			}
			if int(r.Position) == at {
				got = nil
			}
			got = append(got, r.Logits...)
		case <-timeout:
			return nil, fmt.Errorf("no result of %d tokens after %d, but %d bytes", n, at, len(got))
		}
	}
	return got, nil
}

func TestStorm_ManySessionsOverStreamsThatBreak(t *testing.T) {
	nodes := threeNodes(t)
	ids := sequence(120)
	want := newOracle(t).logits(ids...)
	before := ours()
	var talks, storm, listening sync.WaitGroup
	over := make(chan struct{})
	storm.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-over:
				return
			case <-time.After(5 * time.Millisecond):
				resetPushes(nodes[i%2], nodes[i%2+1])
			}
		}
	})
	for i := range 6 {
		c := newChain(t, newHost(t), "s", nodes...)
		talks.Go(func() {
			if err := c.listen(&listening).talk(rand.New(rand.NewPCG(1, uint64(i))), ids, want); err != nil {
				t.Errorf("session %d: %v", i, err)
			}
			for _, hop := range c.hops {
				_ = hop.s.CloseWrite() // a reset would overtake the last word
			}
		})
	}
	talks.Wait()
	close(over)
	storm.Wait()
	listening.Wait()
	for i, n := range nodes {
		if got := count(t, n, "tokens_total"); got != 6*120 {
			t.Errorf("hop %d computed %d tokens of %d", i, got, 6*120)
		}
		eventually(t, "all sessions are gone", func() bool { return n.Stats().Sessions == 0 })
	}
	eventually(t, "no goroutine is left of them", func() bool { return ours() <= before })
}

// The node in the middle moves all the time, always to layers among which is the one that the sessions run through: they
// notice nothing, and nothing is computed twice, although their push streams break and their owners open anew.
func TestMove_SessionsOfTheOverlapGoOnInAStorm(t *testing.T) {
	m, _ := moves(t, 1, 2, time.Minute)
	first, _ := serve(t, 0, 1, nil)
	last, _ := serve(t, 2, 3, nil)
	nodes := []*Node{first, m.Node, last}
	ids := sequence(80)
	want := newOracle(t).logits(ids...)
	before := ours()
	const owners, each = 3, 3
	var talks, storm, listening sync.WaitGroup
	over := make(chan struct{})
	moved := 0
	storm.Go(func() {
		rng := rand.New(rand.NewPCG(3, 3))
		for i := 0; ; i++ {
			select {
			case <-over:
				return
			case <-time.After(10 * time.Millisecond):
			}
			resetPushes(nodes[i%2], nodes[i%2+1])
			s := m.beside(rng.IntN(2), 2+rng.IntN(2))
			if err := m.Move(context.Background(), s, m.retire); err != nil {
				m.retire(s) // three are in use
				continue
			}
			moved++
		}
	})
	for k := range each {
		for i := range owners {
			c := newChain(t, newHost(t), "s", nodes...)
			talks.Go(func() {
				if err := c.listen(&listening).talk(rand.New(rand.NewPCG(uint64(k), uint64(i))), ids, want); err != nil {
					t.Errorf("session %d of %d: %v", k, i, err)
				}
				for _, hop := range c.hops {
					_ = hop.s.CloseWrite()
				}
			})
		}
		talks.Wait()
	}
	close(over)
	storm.Wait()
	listening.Wait()
	for i, n := range nodes {
		if got := count(t, n, "tokens_total"); got != owners*each*len(ids) {
			t.Errorf("hop %d computed %d tokens of %d", i, got, owners*each*len(ids))
		}
		if got := count(t, n, "replayed_tokens_total"); got != 0 {
			t.Errorf("hop %d computed %d tokens again", i, got)
		}
		eventually(t, "all sessions are gone", func() bool { return n.Stats().Sessions == 0 })
		eventually(t, "all caches are free", func() bool { return count(t, n, "cache_bytes") == 0 })
	}
	if moved < 3 {
		t.Errorf("the node has moved %d times", moved)
	}
	eventually(t, "all shards but one are given back", func() bool { m.mu.Lock(); defer m.mu.Unlock(); return len(m.lent) == 1 })
	eventually(t, "no goroutine is left of them", func() bool { return ours() <= before })
}

// ours counts the goroutines that run code of this package.
func ours() int {
	buf := make([]byte, 4<<20)
	n := 0
	for g := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		if strings.Contains(g, "/node.(*") {
			n++
		}
	}
	return n
}
