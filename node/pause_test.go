package node

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
)

// online asks the swarm, which is n, for offers of those who take sessions.
func online(t *testing.T, n *Node) int {
	t.Helper()
	h := newHost(t)
	d, err := routing.NewDirectory(t.Context(), h, routing.DirectoryConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.Join(t.Context(), []peer.AddrInfo{{ID: n.host.ID(), Addrs: n.host.Addrs()}}); err != nil {
		t.Fatal(err)
	}
	seen, err := d.Offers(t.Context(), n.limits.Model)
	if err != nil {
		t.Fatal(err)
	}
	all := 0
	for _, s := range seen {
		if s.Offer.State == protocol.Online {
			all++
		}
	}
	return all
}

func TestPause_HoldsUntilResume(t *testing.T) {
	t.Parallel()
	n, _ := serve(t, 0, 2, nil)
	h := newHost(t)
	for round := range 3 {
		c := call(t, h, n, "s")
		c.opened(c.open(1, 0, 2, 0), 0)
		if got := online(t, n); got != 1 {
			t.Fatalf("round %d: %d nodes are on offer before", round, got)
		}
		paused := make(chan error, 2)
		for range 2 { // it may be told twice
			go func() { paused <- n.Pause(t.Context()) }()
		}
		answer[protocol.Parting](c)
		ask[protocol.Push](c, step(1, 1, 0, protocol.WantNone, 1)) // it serves who is there
		other := call(t, h, n, "other")
		other.refused(other.open(1, 0, 2, 0), protocol.CodeDraining)
		c.send(protocol.Close{Session: c.key})
		for range 2 {
			if err := <-paused; err != nil {
				t.Fatal(err)
			}
		}
		if err := n.Pause(t.Context()); err != nil {
			t.Error(err)
		}
		other.refused(other.open(1, 0, 2, 0), protocol.CodeDraining)
		if got := online(t, n); got != 0 || n.Stats().State != protocol.Draining {
			t.Fatalf("round %d: %d nodes are on offer while it holds, its state is %v", round, got, n.Stats().State)
		}
		if err := n.Resume(t.Context()); err != nil {
			t.Fatal(err)
		}
		other.opened(other.open(1, 0, 2, 0), 0)
		other.send(protocol.Close{Session: other.key})
		if n.Stats().State != protocol.Online {
			t.Fatalf("round %d: the state is %v", round, n.Stats().State)
		}
	}
}

func TestPause_EndsWithResumeAndWithItsContext(t *testing.T) {
	n, _ := serve(t, 0, 2, nil)
	c := call(t, newHost(t), n, "s")
	c.opened(c.open(1, 0, 2, 0), 0)
	paused := make(chan error, 1)
	go func() { paused <- n.Pause(t.Context()) }()
	answer[protocol.Parting](c)
	if err := n.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-paused; err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("a pause that was called off ended with %v", err)
	}
	soon, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if err := n.Pause(soon); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a session is left, and Pause says %v", err)
	}
	if n.Stats().State != protocol.Draining {
		t.Error("it does not hold: a session was left")
	}
	answer[protocol.Parting](c) // another pause, another word
	ask[protocol.Push](c, step(1, 1, 0, protocol.WantNone, 1))
}

func TestPause_MayBeCalledByAnybodyAtAnyTime(t *testing.T) {
	n, stop := serve(t, 0, 2, nil)
	c := call(t, newHost(t), n, "s")
	c.opened(c.open(1, 0, 2, 0), 0)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 5 {
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
				if i%2 == 0 {
					_ = n.Pause(ctx)
				} else {
					_ = n.Resume(ctx)
				}
				cancel()
			}
		})
	}
	wg.Wait()
	if err := n.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := online(t, n); got != 1 {
		t.Errorf("%d nodes are on offer in the end", got)
	}
	for range 4 {
		wg.Go(func() { _ = n.Pause(t.Context()); _ = n.Resume(t.Context()) })
	}
	stop() // in the midst of it
	wg.Wait()
	if err := n.Resume(t.Context()); err == nil {
		t.Error("a node that has left goes on")
	}
	if left := leftOver(); left != "" {
		t.Errorf("after Run has returned there is\n%s", left)
	}
}

// A node that leaves waits for a session that is used, or whose cache is on its way, and not for long for one that rests:
// its owner has nowhere to go, or is gone without a word.
func TestRun_LeavesWithoutSessionsThatRest(t *testing.T) {
	t.Parallel()
	n, _ := serve(t, 0, 2, nil)
	c := call(t, newHost(t), n, "s")
	c.opened(c.open(1, 0, 2, 0), 0)
	n.mu.Lock()
	defer n.mu.Unlock()
	var h *hop
	for _, h = range n.hops {
	}
	began := time.Now()
	soon, late := began.Add(restsFor-1), began.Add(time.Hour)
	if got := n.wanted(began, late); got != 1 {
		t.Errorf("while it holds without leaving, it waits for %d sessions", got)
	}
	n.leaving = true
	defer func() { n.leaving = false }()
	if soon, late := n.wanted(began, soon), n.wanted(began, late); soon != 1 || late != 0 {
		t.Errorf("it waits for %d sessions at first, for %d an hour later", soon, late)
	}
	h.asked++
	if got := n.wanted(began, late); got != 1 {
		t.Error("it does not wait until a cache has been handed over")
	}
	h.asked--
	if h.books.Touch(late.Add(-time.Second)); n.wanted(began, late) != 1 {
		t.Error("it does not wait for an owner who pings")
	}
}
