package node

import (
	"bytes"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/baichuan-node/baichuan-node/node/session"
	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/shard"
)

// Two shards have each their own cache, but the bounds on sessions are those of the node.
func TestMove_BoundsAreThoseOfTheNode(t *testing.T) {
	n, _ := moves(t, 0, 2, time.Minute)
	n.Node.mu.Lock()
	n.table = session.New(session.Config{Layers: 3, Context: 640, PerPeer: 7})
	n.Node.mu.Unlock()
	h := newHost(t)
	open := func(key string, expect uint32) any {
		c := call(t, h, n.Node, key)
		m := c.open(1, 0, 1, 0)
		m.Expect = expect
		return ask[any](c, m)
	}
	full := func() {
		t.Helper()
		for i := range 3 { // 3 x 640 of 2,048
			if o, ok := open(fmt.Sprint(n.Stats().Layers, i), 640).(protocol.Opened); !ok || o.Epoch != 1 {
				t.Fatalf("opened: %+v", o)
			}
		}
		if f, refused := open("too much", 640).(protocol.Failure); !refused || f.Code != protocol.CodeNoMemory {
			t.Fatalf("refused: %+v", f)
		}
	}
	full()
	n.move(0, 1)
	full()
	open("the last", 1)
	if f, refused := open("too many", 1).(protocol.Failure); !refused || f.Code != protocol.CodeBusy {
		t.Fatalf("refused: %+v", f)
	}
	if l := n.Load(); l.Sessions != 7 || l.CacheUsed != 6*640+64 || l.CacheFree != 2048-3*640-64 {
		t.Errorf("the load is %+v", l)
	}
}

// A session begins anew on the new layers while a step of it runs on the old ones.
func TestMove_ARunningStepOfASessionThatBeginsAnewIsForgotten(t *testing.T) {
	next := loaded(t, 0, 3)
	n, pass := held(t, 0, 2)
	n.started = true
	c := call(t, newHost(t), n, "s")
	c.opened(c.open(1, 0, 2, 0), 0)
	ids := sequence(100)
	c.send(step(1, 1, 0, protocol.WantNone, ids...))
	eventually(t, "the prompt waits", func() bool { return queued(n) == 1 })
	pass() // 64 of its tokens
	moved := make(chan error, 1)
	retired := make(chan *shard.Shard, 1)
	go func() { moved <- n.Move(t.Context(), next, func(s *shard.Shard) { retired <- s }) }()
	eventually(t, "the self-test waits", func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		return len(n.queue.chores) == 1
	})
	old := shardOf(n)
	pass() // the rest, and the test
	if err := <-moved; err != nil {
		t.Fatal(err)
	}
	answer[protocol.Push](c)
	c.send(step(1, 2, 100, protocol.WantNone, ids...))
	eventually(t, "another prompt waits", func() bool { return queued(n) == 1 })
	pass()
	c.opened(c.open(2, 0, 3, 200), 0)
	for range 3 {
		pass()
	}
	if s := <-retired; s != old {
		t.Error("another shard is given back than the old one")
	}
	c.send(step(2, 3, 0, protocol.WantRows, ids[:10]...))
	eventually(t, "a step waits", func() bool { return queued(n) == 1 })
	var passes sync.WaitGroup
	answered := make(chan struct{})
	passes.Go(func() {
		for {
			select {
			case <-n.work:
				pass()
			case <-answered:
				return
			}
		}
	})
	if !bytes.Equal(c.logits(10), newOracle(t).logits(ids[:10]...)) {
		t.Error("other logits than by computing directly")
	}
	close(answered)
	passes.Wait()
}

// Steps that wait together are computed in one turn, those of each shard by itself, and so are the logits.
func TestMove_StepsOfTwoShardsAreComputedInOneTurn(t *testing.T) {
	next := loaded(t, 0, 3)
	n, pass := held(t, 0, 3)
	h := newHost(t)
	ids := sequence(20)
	var callers []*caller
	for i, key := range []string{"old", "older", "new"} {
		if i == 2 {
			if err := n.moveTo(newBerth(next), 0, nil); err == nil {
				t.Fatal("a node moves that does not run")
			}
			n.started = true
			if err := n.moveTo(newBerth(next), 0, nil); err != nil {
				t.Fatal(err)
			}
		}
		c := call(t, h, n, key)
		c.opened(c.open(1, 0, 3, 0), 0)
		c.send(step(1, 1, 0, protocol.WantRows, ids[:8]...))
		callers = append(callers, c)
	}
	asked := func() int {
		n.mu.Lock()
		defer n.mu.Unlock()
		return len(n.queue.heads)
	}
	eventually(t, "all steps wait", func() bool { return queued(n) == 3 })
	pass()
	if passes, rows := count(t, n, "batch_rows_count"), count(t, n, "batch_rows_sum"); passes != 2 || rows != 24 {
		t.Errorf("%d tokens were computed in %d passes, want 24 in 2", rows, passes)
	}
	eventually(t, "all of them want logits", func() bool { return asked() == 3 })
	pass()
	want := newOracle(t).logits(ids[:8]...)
	for i, c := range callers {
		if !bytes.Equal(c.logits(8), want) {
			t.Errorf("session %d: other logits than by computing directly", i)
		}
	}
}
