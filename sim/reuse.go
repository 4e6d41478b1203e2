package sim

import (
	"context"
	"errors"
	"slices"

	"github.com/baichuan-node/baichuan-node/client"
	"github.com/baichuan-node/baichuan-node/shard/store"
)

func turns(ctx context.Context, st *stage) error {
	if err := st.step(ctx, "three turns", 1, 1, threeTurns); err != nil || !st.cfg.Long {
		return err
	}
	return st.step(ctx, "three turns, with others who could take the places of those that are reached anew", 2, 1, threeTurns)
}

// threeTurns has a conversation whose client loses all its connections before the third turn: its peers have what it needs.
func threeTurns(ctx context.Context, sc *scene) error {
	t := sc.talk(0, private)
	ids := someIDs(300, 1)
	for turn := range 3 {
		if turn == 2 {
			if err := sc.clients[0].hangUp(); err != nil {
				return errors.Join(err, t.Close())
			}
		}
		q := ask(ids, 20)
		out, err := t.answers(ctx, q)
		if err != nil || out == nil {
			return errors.Join(err, t.Close())
		}
		sc.once(ctx, t, q.computes()) // all turns so far together: each token once
		ids = slices.Concat(q.prompt, out.IDs, someIDs(30, uint32(turn+2)))
	}
	if n := len(sc.result.Failovers); n > 0 {
		sc.result.wrong("%d peers were replaced, though all were there", n)
	}
	return t.Close()
}

// hangUp closes the client's connections.
func (a *asker) hangUp() error {
	var errs []error
	for _, id := range a.host.Network().Peers() {
		errs = append(errs, a.host.Network().ClosePeer(id))
	}
	return errors.Join(errs...)
}

func prefix(ctx context.Context, st *stage) error {
	if err := st.step(ctx, "two clients, one after the other", 1, 2, shareSystem); err != nil || !st.cfg.Long {
		return err
	}
	if err := st.step(ctx, "two sessions of a client, with two copies of each span", 2, 1, shareSystem); err != nil {
		return err
	}
	return st.step(ctx, "two clients, with two copies of each span", 2, 2, shareSystem)
}

// shareSystem begins two conversations with the same long text. Of the text the second has fewer tokens computed than fill a
// page, at whichever of the nodes that hold some layers.
func shareSystem(ctx context.Context, sc *scene) error {
	const page = 64
	system := someIDs(500, 1)
	var before map[store.Span]int
	for i := range 2 {
		t := sc.talk(i%len(sc.clients), client.SessionConfig{})
		q := ask(slices.Concat(system, someIDs(20, uint32(2+i))), answerTokens)
		_, err := t.answers(ctx, q)
		if err := errors.Join(err, t.Close()); err != nil {
			return err
		}
		now, err := sc.computedBySpan(ctx)
		if err != nil {
			return err
		}
		for _, span := range sc.stage.spans() {
			own := now[span] - before[span] - (q.computes() - len(system)) // of the text
			if i > 0 && own >= page {
				sc.result.wrong("the second session had %d of the shared text's %d tokens computed by layers %v, want fewer than %d", own, len(system), span, page)
			}
		}
		before = now
	}
	return nil
}

// computedBySpan adds up what all nodes of some layers have computed.
func (sc *scene) computedBySpan(ctx context.Context) (map[store.Span]int, error) {
	all := make(map[store.Span]int)
	for _, n := range sc.living() {
		c, err := n.counters(ctx)
		if err != nil {
			return nil, err
		}
		all[n.span] += c.Computed
	}
	return all, nil
}
