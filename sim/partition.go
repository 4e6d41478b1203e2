package sim

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/baichuan-node/baichuan-node/client"
	"github.com/baichuan-node/baichuan-node/sim/wire"
)

const (
	// cutFor is how long a hop is cut off. A connection that nothing passes ends after five to ten seconds.
	cutFor = 10 * time.Second
	// togetherLimit is for a swarm to grow together: an offer is renewed each 8 s, and others' are read each 15 s.
	togetherLimit = 40 * time.Second
)

func partition(ctx context.Context, st *stage) error {
	near := func(int) wire.Link { return wire.Link{Delay: time.Millisecond} }
	cut := cutFor
	if !st.cfg.Long {
		cut = cutFor / 4 // longer than a hop may be silent
	}
	for hop := range st.spans() {
		if !st.cfg.Long && hop != 1 {
			continue
		}
		err := st.stepWith(ctx, "a hop is cut off and comes back", cast{copies: 2, clients: 1, link: near}, hopCutOff(hop, cut))
		if err != nil {
			return err
		}
	}
	return st.stepWith(ctx, "the swarm falls into two halves and grows together", cast{copies: 2, clients: 2, link: near}, halves(cut))
}

// hopCutOff cuts off a hop in the middle of an answer, and lets it come back while more is asked.
func hopCutOff(hop int, cut time.Duration) func(context.Context, *scene) error {
	return func(ctx context.Context, sc *scene) error {
		t := sc.talk(0, private)
		var healing sync.WaitGroup
		back := make(chan struct{})
		t.before = func(step int, chain []client.HopInfo) {
			if step != 3 || t.before == nil {
				return
			}
			t.before = nil // once
			sc.net.CutOff(sc.of(chain[hop].Peer).home)
			healing.Go(func() {
				defer close(back)
				time.Sleep(cut)
				sc.net.Cut(nil)
			})
		}
		_, err := t.answers(ctx, ask(someIDs(promptTokens, 1), answerTokens))
		for asked := uint32(1); err == nil; asked++ { // while it is away, and once when it is back
			home := false
			select {
			case <-back:
				home = true
			default:
			}
			other := sc.talk(0, private)
			_, err = other.answers(ctx, ask(someIDs(20, 1+asked), answerTokens))
			if err = errors.Join(err, other.Close()); home {
				break
			}
		}
		healing.Wait()
		if len(sc.result.Failovers) == 0 {
			sc.result.wrong("no hop was replaced")
		}
		if err := errors.Join(err, t.Close()); err != nil {
			return err
		}
		return sc.offered(ctx, len(sc.living()))
	}
}

// halves parts a swarm in two, each with all layers and a client of its own, and heals it.
func halves(cut time.Duration) func(context.Context, *scene) error {
	return func(ctx context.Context, sc *scene) error {
		nodes := sc.living()
		var left []*wire.Home // the first copy of each span
		for _, n := range nodes[:len(nodes)/2] {
			left = append(left, n.home)
		}
		sc.net.CutOff(append(left, sc.clients[0].home)...)
		until := time.Now().Add(cut)
		err := sc.busy(ctx, 100, answerTokens, func(int) bool { return time.Now().Before(until) })
		sc.net.Cut(nil)
		if err != nil {
			return err
		}
		if err := sc.busy(ctx, 100, answerTokens, func(asked int) bool { return asked == 0 }); err != nil {
			return err
		}
		return sc.offered(ctx, len(nodes))
	}
}

// offered waits until who asks any node finds the offers of so many.
func (sc *scene) offered(ctx context.Context, want int) error {
	for _, n := range sc.living() {
		found := 0
		var failed error
		for deadline := time.Now().Add(togetherLimit); found < want && time.Now().Before(deadline) && ctx.Err() == nil; time.Sleep(settlePoll) {
			found, failed = sc.offersAt(ctx, n)
		}
		if found < want {
			sc.result.wrong("who asks the node of layers %v finds the offers of %d nodes, there are %d: %v", n.span, found, want, failed)
		}
	}
	return ctx.Err()
}

// offersAt counts the offers that a client finds which knows one node's address.
func (sc *scene) offersAt(ctx context.Context, n *process) (int, error) {
	a, err := sc.newAsker(ctx, n)
	if err != nil {
		return 0, err
	}
	found, err := a.directory.Offers(ctx, a.Model().ID)
	return len(found), errors.Join(err, a.close())
}
