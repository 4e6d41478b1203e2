package sim

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
)

// The sweep is over the probability that one send to a next hop is lost: its stream breaks in the middle of it, and the
// peer lives. Restarting is what a client does that keeps nothing: a lost send costs all that were before it.
const (
	sweepPrompt = 64
	sweepTokens = 1024
	sweepRounds = 3 // whose medians count: the machine does other things, too
)

// sweepSpeeds is what is held against what, as Petals' paper has it: its figures are steps/s of another model elsewhere.
var sweepSpeeds = []Speed{
	{Loss: 0},
	{Loss: 1e-4, Least: 0.85},
	{Loss: 1e-3, Least: 0.5, Petals: 7.76, PetalsRestarting: 0.48},
	{Loss: 1e-2, Least: 0.28, Of: 1e-3, Petals: 2.17},
}

func sweep(ctx context.Context, st *stage) error {
	if !st.cfg.Long {
		_, err := st.loses(ctx, 1e-2, 300, 0)
		return err
	}
	var rounds []map[float64]float64
	repairs := make(map[float64]int)
	for round := range sweepRounds {
		speeds := make(map[float64]float64)
		for _, loss := range []float64{0, 1e-4, 1e-3, 1e-2, 0} {
			got, err := st.loses(ctx, loss, sweepTokens, round)
			if err != nil {
				return err
			}
			if loss == 0 && speeds[0] > 0 {
				got.PerSecond = (got.PerSecond + speeds[0]) / 2 // before the others and after them
			}
			speeds[loss] = got.PerSecond
			repairs[loss] += got.Repairs
		}
		rounds = append(rounds, speeds)
	}
	st.over(compare(rounds, repairs, (len(st.spans())-1)*sweepTokens))
	return nil
}

// loses has an answer made by hops that lose some of what they send.
func (st *stage) loses(ctx context.Context, loss float64, tokens, round int) (got Speed, err error) {
	name := fmt.Sprintf("%d tokens, each send is lost with a probability of %v, round %d", tokens, loss, round+1)
	args := func(n int) []string {
		seed := st.cfg.Seed<<16 + uint64(round)<<8 + uint64(n)
		return []string{"--lose-pushes", fmt.Sprint(loss), "--lose-seed", fmt.Sprint(seed)}
	}
	err = st.stepWith(ctx, name, cast{copies: 1, clients: 1, args: args}, func(ctx context.Context, sc *scene) error {
		t := sc.talk(0, private)
		out, err := t.answers(ctx, ask(someIDs(sweepPrompt, 1), tokens))
		if err := errors.Join(err, t.Close()); err != nil || out == nil {
			return err
		}
		got.PerSecond = out.Timings.TokensPerSecond()
		sc.once(ctx, t, sc.result.Tokens)
		if n := len(sc.result.Failovers); n > 0 {
			sc.result.wrong("%d hops were replaced, and all of them lived", n)
		}
		for _, n := range sc.living() {
			got.Repairs += n.last().Repairs
			if again := n.last().Replayed; again > 0 {
				sc.result.wrong("the node of layers %v has computed %d tokens again", n.span, again)
			}
		}
		if loss >= 0.01 && got.Repairs == 0 {
			sc.result.wrong("nothing was lost")
		}
		return nil
	})
	return got, err
}

// compare holds the rounds' speeds against what they should be. sends is what an answer takes.
func compare(rounds []map[float64]float64, repairs map[float64]int, sends int) Step {
	s := Step{Name: fmt.Sprintf("medians of %d rounds", len(rounds))}
	for _, v := range sweepSpeeds {
		v.PerSecond = median(rounds, func(of map[float64]float64) float64 { return of[v.Loss] })
		v.Part = median(rounds, func(of map[float64]float64) float64 { return of[v.Loss] / of[v.Of] })
		v.Repairs = repairs[v.Loss]
		undisturbed := median(rounds, func(of map[float64]float64) float64 { return of[0] })
		v.Restarting = undisturbed * float64(sends) / restarting(v.Loss, sends)
		if v.Part < v.Least {
			s.wrong("at a loss of %v the speed is %.2f of that at %v, want at least %v", v.Loss, v.Part, v.Of, v.Least)
		}
		s.Speeds = append(s.Speeds, v)
	}
	return s
}

// restarting is how many sends one takes on average that begins anew whenever one is lost, until so many in a row get
// through.
func restarting(loss float64, sends int) float64 {
	if loss == 0 {
		return float64(sends)
	}
	return (math.Pow(1-loss, -float64(sends)) - 1) / loss
}

func median(rounds []map[float64]float64, of func(map[float64]float64) float64) float64 {
	var all []float64
	for _, r := range rounds {
		all = append(all, of(r))
	}
	slices.Sort(all)
	return all[len(all)/2]
}
