package sim

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/baichuan-node/baichuan-node/client"
	"github.com/baichuan-node/baichuan-node/sim/wire"
)

// A home's line: 30 to 80 ms there and back from one home to another, 20 Mbit/s upwards and 100 downwards.
const (
	nearHome   = 7500 * time.Microsecond
	farHome    = 20 * time.Millisecond
	homeJitter = time.Millisecond
	homeUp     = 20_000_000 / 8
	homeDown   = 100_000_000 / 8
)

// homes draws lines of homes; the clients' comes first.
func (st *stage) homes(n int) wire.Link {
	r := rand.New(rand.NewPCG(st.cfg.Seed, uint64(n)))
	delay := nearHome + time.Duration(r.Int64N(int64(farHome-nearHome)))
	return wire.Link{Delay: delay, Jitter: homeJitter, Up: homeUp, Down: homeDown}
}

func wan(ctx context.Context, st *stage) error {
	tokens, losses := 24, []float64{0}
	if st.cfg.Long {
		tokens, losses = 200, []float64{0, 0.001}
	}
	for _, loss := range losses {
		name := "an answer over homes' lines"
		if loss > 0 {
			name += ", of whose packets one in a thousand is lost"
		}
		lines := func(n int) wire.Link {
			l := st.homes(n)
			l.Loss = loss
			return l
		}
		err := st.stepWith(ctx, name, cast{copies: 2, clients: 1, link: lines}, func(ctx context.Context, sc *scene) error {
			return sc.overDistance(ctx, tokens)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// overDistance has a question answered, and holds the time that tokens took against that of the distances.
func (sc *scene) overDistance(ctx context.Context, tokens int) error {
	t := sc.talk(0, private)
	const prompt = 100
	planned, err := sc.clients[0].Explain(ctx, prompt)
	if err != nil {
		return err
	}
	_, err = t.answers(ctx, ask(someIDs(prompt, 1), tokens))
	chain := t.Chain()
	if err := errors.Join(err, t.Close()); err != nil {
		return err
	}
	if len(t.took) == 0 {
		return nil // there was no answer, as has been taken down
	}
	pace := paceOf(t.took)
	pace.PredictedMS = float64(sc.around(chain).Microseconds()) / 1000
	pace.PlannedMS = float64(planned.Token.Microseconds()) / 1000
	sc.result.Pace = &pace
	return nil
}

// around is how long a packet takes from the client through all hops and back: each home's line is passed twice.
func (sc *scene) around(chain []client.HopInfo) time.Duration {
	passed := []wire.Link{sc.cast.link(0)}
	for _, h := range chain {
		passed = append(passed, sc.of(h.Peer).home.Link())
	}
	var sum time.Duration
	for _, l := range passed {
		sum += 2*l.Delay + l.Jitter // of twice the jitter, half on average
	}
	return sum
}
