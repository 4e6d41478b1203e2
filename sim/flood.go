package sim

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/baichuan-node/baichuan-node/client"
	"github.com/baichuan-node/baichuan-node/sim/wire"
)

// flood has a hostile peer do one thing after the other to a node as fast as it can, from a home with a line of its own, and
// looks at what an honest client notices of it.
func flood(ctx context.Context, st *stage) error {
	st.layers = st.model.Manifest.Layers // a single node, which all of it goes to
	long := floodShort
	if st.cfg.Long {
		long = floodLong
	}
	c := cast{
		copies: 1, clients: 1, limit: stepLimit + time.Duration(len(attacks)+1)*3*long,
		args: func(int) []string {
			return []string{"--idle", soakIdleShort.String(), "--kv-tokens", fmt.Sprint(st.model.Manifest.Context)}
		},
		link: func(int) wire.Link { return wire.Link{Delay: 5 * time.Millisecond, Up: homeUp, Down: homeDown} },
	}
	return st.stepWith(ctx, "one peer against another's node", c, func(ctx context.Context, sc *scene) error {
		if _, err := sc.paced(ctx, long); err != nil { // a process' first seconds are not like the others
			return err
		}
		before, err := sc.settles(ctx, nil, soakIdleShort)
		if err != nil {
			return err
		}
		all := append(slices.Clone(attacks), allAttacks)
		if !st.cfg.Long {
			all = []attack{allAttacks}
		}
		for _, a := range all {
			if err := sc.suffers(ctx, a, long); err != nil {
				return err
			}
		}
		after, err := sc.settles(ctx, before, soakIdleShort)
		if err != nil {
			return err
		}
		sc.compare(before, after)
		return nil
	})
}

const (
	// floodLayers is the layers of the model: a token takes a millisecond, and the cache of a context 26 MB.
	floodLayers = 12
	// floodLong and floodShort are how long an honest client is watched with each attack, and as long without.
	floodLong  = 6 * time.Second
	floodShort = 2 * time.Second
	// floodMemory is what a node may take more of the machine while it is attacked: 64 streams of the directory of 1 MiB, as
	// many of parts, and 64 sessions' rows at the mini models' size.
	floodMemory = 256 << 20
)

// suffers has the client's answers made with and without an attack.
func (sc *scene) suffers(ctx context.Context, a attack, long time.Duration) error {
	alone, err := sc.paced(ctx, long)
	if err != nil {
		return err
	}
	n := sc.living()[0]
	attacker, err := sc.newHostile(ctx, n)
	if err != nil {
		return err
	}
	attacking, stop := context.WithCancel(ctx)
	var doing sync.WaitGroup
	doing.Go(func() { a.does(attacker, attacking) })
	most := 0
	doing.Go(func() { most = n.mostResident(attacking) })
	beside, err := sc.paced(ctx, long)
	stop()
	doing.Wait()
	if err := errors.Join(err, attacker.close()); err != nil {
		return err
	}
	was, err := n.gauges(ctx)
	if err != nil {
		return err
	}
	f := Flood{
		Attack: a.name, Did: attacker.did.Load(), Refused: attacker.refused.Load(), Resident: most,
		AloneMS: alone.TokenMS, BesideMS: beside.TokenMS, AloneP95MS: alone.P95MS, BesideP95MS: beside.P95MS,
	}
	if f.Did+f.Refused == 0 {
		sc.result.wrong("%s: nothing was done", a.name)
	}
	if a.refusals && f.Refused == 0 {
		sc.result.wrong("%s: nothing was refused", a.name)
	}
	if most > was.Resident+floodMemory {
		sc.result.wrong("%s: the node took %d bytes of memory, and %d when it was over", a.name, most, was.Resident)
	}
	sc.result.Floods = append(sc.result.Floods, f)
	return nil
}

// paced has answers made for a while, and tells how long their tokens took.
func (sc *scene) paced(ctx context.Context, long time.Duration) (Pace, error) {
	var took []time.Duration
	for until := time.Now().Add(long); time.Now().Before(until) || len(took) < floodTokens; {
		t := sc.talk(0, client.SessionConfig{Private: true})
		_, err := t.answers(ctx, ask(someIDs(20, 1), floodTokens))
		took = append(took, t.took...)
		if err := errors.Join(err, t.Close()); err != nil {
			return Pace{}, err
		}
		if len(sc.result.Wrong) > 0 {
			return Pace{}, fmt.Errorf("an answer failed: %s", sc.result.Wrong[0])
		}
	}
	return paceOf(took), nil
}

// floodTokens is the tokens of an answer that is watched.
const floodTokens = 60

// paceOf gives the median, and what 95 of 100 keep within.
func paceOf(took []time.Duration) Pace {
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	sorted := slices.Sorted(slices.Values(took))
	return Pace{TokenMS: ms(sorted[len(sorted)/2]), P95MS: ms(sorted[len(sorted)*95/100])}
}

// mostResident watches how much memory the node takes, until ctx ends.
func (n *process) mostResident(ctx context.Context) (most int) {
	for ctx.Err() == nil {
		if all, err := n.metrics(ctx); err == nil {
			most = max(most, int(all["process_resident_memory_bytes"]))
		}
		time.Sleep(settlePoll)
	}
	return most
}
