package sim

import (
	"context"
	"errors"
	"slices"

	"github.com/baichuan-node/baichuan-node/client"
)

func turns(ctx context.Context, st *stage) error {
	return st.step(ctx, "three turns", 1, 1, func(ctx context.Context, sc *scene) error {
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
			sc.once(ctx, q.computes()) // all turns so far together: each token once
			ids = slices.Concat(q.prompt, out.IDs, someIDs(30, uint32(turn+2)))
		}
		return t.Close()
	})
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
	return st.step(ctx, "two sessions of a client, with two copies of each span", 2, 1, shareSystem)
}

// shareSystem begins two conversations with the same long text.
func shareSystem(ctx context.Context, sc *scene) error {
	const page = 64 // fewer tokens of the text are computed than fill one
	system := someIDs(500, 1)
	before := 0
	for i := range 2 {
		t := sc.talk(i%len(sc.clients), client.SessionConfig{})
		q := ask(slices.Concat(system, someIDs(20, uint32(2+i))), answerTokens)
		_, err := t.answers(ctx, q)
		if err := errors.Join(err, t.Close()); err != nil {
			return err
		}
		total := 0
		for _, n := range sc.living() {
			c, err := n.counters(ctx)
			if err != nil {
				return err
			}
			total += c.Computed
		}
		most := q.computes()
		if i > 0 {
			most -= len(system) - page + 1
		}
		if most *= len(sc.stage.spans()); total-before > most {
			sc.result.wrong("session %d had %d tokens computed over all hops, want at most %d", i+1, total-before, most)
		}
		before = total
	}
	return nil
}
