package sim

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/baichuan-node/baichuan-node/client"
	"github.com/baichuan-node/baichuan-node/shard"
	"github.com/baichuan-node/baichuan-node/shard/store"
	"github.com/baichuan-node/baichuan-node/sim/wire"
)

// flood has a hostile peer do one thing after the other to a node as fast as it can, and looks at what an honest client
// notices of it: from a home with a line of its own, and from where nothing is far.
//
// The node computes on one thread; the hostile peer is a process that gives way to all others, as what it costs itself would be
// another machine's. What the node spends on it counts, and with both clients on one machine so does what their bytes
// take to get through.
func flood(ctx context.Context, st *stage) error {
	st.layers = st.model.Manifest.Layers // a single node, which all of it goes to
	home := func(int) wire.Link { return wire.Link{Delay: 5 * time.Millisecond, Up: homeUp, Down: homeDown} }
	if err := st.flooded(ctx, "one peer against another's node, over homes' lines", home); err != nil || !st.cfg.Long {
		return err
	}
	return st.flooded(ctx, "one peer against another's node, on one machine", nil)
}

// flooded is flood over some lines.
func (st *stage) flooded(ctx context.Context, name string, lines func(int) wire.Link) error {
	all, long, idle := []attack{allAttacks}, floodShort, floodShort
	if st.cfg.Long {
		all, long, idle = append(slices.Clone(attacks), allAttacks), floodLong, soakIdleShort
	}
	c := cast{
		copies: 1, clients: 1, limit: stepLimit + time.Duration(len(all)+1)*(3*long+intruderLimit), link: lines,
		args: func(int) []string {
			return []string{"--idle", idle.String(), "--kv-tokens", fmt.Sprint(st.model.Manifest.Context), "--memory", fmt.Sprint(st.memory())}
		},
	}
	return st.stepWith(ctx, name, c, func(ctx context.Context, sc *scene) error {
		if err := sc.warmsUp(ctx, long); err != nil {
			return err
		}
		before, err := sc.settles(ctx, nil, idle)
		if err != nil {
			return err
		}
		for _, a := range all {
			if err := sc.suffers(ctx, a, long); err != nil {
				return err
			}
		}
		after, err := sc.settles(ctx, before, idle)
		if err != nil {
			return err
		}
		sc.compare(before, after)
		return nil
	})
}

// warmsUp has answers made: a process' first seconds are not like the others. In the long form it is attacked, too, as its cache's
// pages stay with it once they have been used.
func (sc *scene) warmsUp(ctx context.Context, long time.Duration) error {
	if _, err := sc.paced(ctx, long); err != nil || !sc.stage.cfg.Long {
		return err
	}
	hostile, err := sc.intrudes(ctx, allAttacks.name, sc.living()[0])
	if err != nil {
		return err
	}
	_, err = sc.paced(ctx, long)
	_, gone := hostile.ends()
	return errors.Join(err, gone)
}

const (
	// floodLayers is the layers of the model: in the short form a token takes a millisecond, and the cache of a context 26 MB. In
	// the long one the layers are the 7B's, some of it: there a token takes floodPart of what it takes with all of them.
	floodLayers = 12
	floodPart   = 2
	// floodLong and floodShort are how long an honest client is watched with each attack, and as long without.
	floodLong  = 4 * time.Second
	floodShort = time.Second
	// floodRest is what a node may take of its machine beside weights and cache, as serve has it.
	floodRest = 100 << 20
)

// memory is the least that a node can be told to do with.
func (st *stage) memory() int64 {
	m := st.model.Manifest
	weights, perToken := shard.Need(m, store.Span{End: m.Layers})
	return weights + int64(m.Context)*perToken + floodRest
}

// suffers has the client's answers made with and without an attack.
func (sc *scene) suffers(ctx context.Context, a attack, long time.Duration) error {
	alone, err := sc.paced(ctx, long)
	if err != nil {
		return err
	}
	n := sc.living()[0]
	hostile, err := sc.intrudes(ctx, a.name, n)
	if err != nil {
		return err
	}
	watching, stop := context.WithCancel(ctx)
	var watch sync.WaitGroup
	var use usage
	watch.Go(func() { use = n.used(watching) })
	beside, err := sc.paced(ctx, long)
	stop()
	watch.Wait()
	did, gone := hostile.ends()
	if err := errors.Join(err, gone); err != nil {
		return err
	}
	f := Flood{
		Attack: a.name, Did: did.Did, Refused: did.Refused, Resident: use.resident, Cores: use.cores,
		AloneMS: alone.TokenMS, BesideMS: beside.TokenMS, AloneP95MS: alone.P95MS, BesideP95MS: beside.P95MS,
	}
	if f.Did+f.Refused == 0 {
		sc.result.wrong("%s: nothing was done", a.name)
	}
	if a.refusals && f.Refused == 0 {
		sc.result.wrong("%s: nothing was refused", a.name)
	}
	if most := sc.stage.memory(); int64(use.resident) > most {
		sc.result.wrong("%s: the node took %d bytes of memory, of %d that it may", a.name, use.resident, most)
	}
	sc.result.Floods = append(sc.result.Floods, f)
	return nil
}

// paced has answers made for a while, and tells how long their tokens took.
func (sc *scene) paced(ctx context.Context, long time.Duration) (Pace, error) {
	until := time.Now().Add(long)
	return sc.pacedWhile(ctx, func() bool { return time.Now().Before(until) })
}

// pacedWhile is paced as long as something is so.
func (sc *scene) pacedWhile(ctx context.Context, more func() bool) (Pace, error) {
	var took []time.Duration
	for len(took) < floodTokens || more() {
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

// usage is what a node takes of its machine.
type usage struct {
	resident int     // bytes, at most
	cores    float64 // on average
}

// used watches what a node takes, until ctx ends.
func (n *process) used(ctx context.Context) (u usage) {
	var begun time.Time
	var first float64
	for ; ctx.Err() == nil; time.Sleep(settlePoll) {
		all, err := n.metrics(ctx)
		if err != nil {
			continue
		}
		u.resident = max(u.resident, int(all["process_resident_memory_bytes"]))
		cpu := all["process_cpu_seconds_total"]
		if begun.IsZero() {
			begun, first = time.Now(), cpu
			continue
		}
		u.cores = (cpu - first) / time.Since(begun).Seconds()
	}
	return u
}
