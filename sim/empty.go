package sim

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/client"
	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing/placement"
	"github.com/baichuan-node/baichuan-node/shard/store"
)

const (
	// emptyLayers is the model's layers; of them an empty machine holds emptyEach at most, and the one that has the model
	// serves seedLayers.
	emptyLayers   = 12
	emptyEach     = "auto:4"
	seedLayers    = 3
	emptyMachines = 4
	// healLimit is for the layers of a node that was killed to be served again: some 25 s, of which its offer takes most.
	healLimit = time.Minute
	// restLimit is for a swarm to come to rest: a move is announced for three to seven looks of 15 s each before it is made.
	restLimit = 3 * time.Minute
	// restsFor is how long nobody is on the way elsewhere in a swarm that is at rest.
	restsFor = 2 * time.Second
	// lookAgain is how often offers are asked for.
	lookAgain = 200 * time.Millisecond
)

// empty begins with one machine that has the model and serves a part of it, and machines that have nothing and choose.
func empty(ctx context.Context, st *stage) error {
	name := fmt.Sprintf("%d empty machines beside one that serves %d of %d layers", emptyMachines, seedLayers, emptyLayers)
	return st.stepWith(ctx, name, cast{limit: st.cfg.within(4 * stepLimit)}, func(ctx context.Context, sc *scene) error {
		seed := store.Span{End: seedLayers}
		if _, err := sc.launch(ctx, nodeSpec{span: seed, layers: seed.String(), home: st.home}); err != nil {
			return err
		}
		if err := errors.Join(sc.join(ctx), sc.join(ctx)); err != nil { // one that asks, and one that looks
			return err
		}
		var machines []nodeSpec
		for i := range emptyMachines {
			machines = append(machines, st.machine(i))
		}
		begun := time.Now()
		if _, err := sc.launch(ctx, machines...); err != nil {
			return err
		}
		if err := sc.served(ctx, "the machines have joined", begun, st.cfg.within(healLimit)); err != nil {
			return err
		}
		sc.fetched(machines)
		return sc.whileAsked(ctx, func(ctx context.Context) error {
			if err := sc.heals(ctx); err != nil || !st.cfg.Long {
				return err // coming to rest may take minutes
			}
			return sc.takesIn(ctx, st.machine(emptyMachines))
		})
	})
}

// machine is an empty machine that chooses.
func (st *stage) machine(i int) nodeSpec {
	return nodeSpec{layers: emptyEach, home: filepath.Join(st.home, fmt.Sprint("empty-", i))}
}

// fetched checks that machines that had nothing have the parts of some layers, and no more than they need.
func (sc *scene) fetched(machines []nodeSpec) {
	for i, m := range machines {
		files, err := filepath.Glob(filepath.Join(m.home, "models", "*", "layer-*"))
		if whole := slices.DeleteFunc(files, func(f string) bool { return strings.Contains(filepath.Base(f), ".") }); err != nil || len(whole) == 0 || len(whole) >= emptyLayers {
			sc.finds("empty machine %d has the parts of %d layers of %d, %v", i, len(whole), emptyLayers, err)
		}
	}
}

// whileAsked has a client's answers made as long as something goes on.
func (sc *scene) whileAsked(ctx context.Context, play func(context.Context) error) error {
	over := make(chan struct{})
	var asking sync.WaitGroup
	var failed error
	asking.Go(func() {
		cfg := private
		cfg.Grace = sc.stage.cfg.within(healLimit)
		for k := uint32(0); failed == nil; k++ {
			select {
			case <-over:
				return
			default:
			}
			t := sc.talk(0, cfg)
			t.limit = cfg.Grace + answerLimit
			_, err := t.answers(ctx, ask(someIDs(40, 1+k%8), 20))
			failed = errors.Join(err, t.Close())
		}
	})
	err := play(ctx)
	close(over)
	asking.Wait()
	return errors.Join(err, failed)
}

// heals kills one machine after the other, or only one in the short form, and waits until all is served without it. Each is
// started again then, with what it had fetched.
func (sc *scene) heals(ctx context.Context) error {
	victims := sc.living()
	if !sc.stage.cfg.Long {
		victims = victims[:1] // to be chosen
	}
	for _, n := range victims {
		var err error
		if sc.stage.cfg.Long {
			err = sc.atRest(ctx)
		} else {
			n, err = sc.soleHolder(ctx)
		}
		if err != nil {
			return err
		}
		killed := time.Now()
		kill(n)
		if err := sc.served(ctx, fmt.Sprintf("%s was killed", n.spec.layers), killed, sc.stage.cfg.within(healLimit)); err != nil {
			return err
		}
		if !sc.stage.cfg.Long {
			return nil
		}
		if _, err := sc.launch(ctx, n.spec); err != nil {
			return err
		}
	}
	return nil
}

// soleHolder gives the machine that chose, of whose layers nobody else has most.
func (sc *scene) soleHolder(ctx context.Context) (most *process, err error) {
	offers, err := sc.offers(ctx)
	if err != nil {
		return nil, err
	}
	least := -1
	for _, n := range sc.living() {
		others := slices.DeleteFunc(slices.Clone(offers), func(o protocol.Offer) bool { return o.Peer == n.peer })
		if alone := missing(others, sc.stage.model.Manifest.Layers); n.span == (store.Span{}) && alone > least {
			most, least = n, alone
		}
	}
	sc.notes("%d layers have a single machine, which is killed", least)
	return most, nil
}

// notes takes down what happened, while others may do so too.
func (sc *scene) notes(format string, args ...any) {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	sc.result.Notes = append(sc.result.Notes, fmt.Sprintf(format, args...))
}

// takesIn has another machine join, and compares what the swarm is worth then.
func (sc *scene) takesIn(ctx context.Context, m nodeSpec) error {
	if err := sc.atRest(ctx); err != nil {
		return err
	}
	before, was, err := sc.worth(ctx)
	if err != nil {
		return err
	}
	if _, err := sc.launch(ctx, m); err != nil {
		return err
	}
	if err := sc.atRest(ctx); err != nil {
		return err
	}
	after, is, err := sc.worth(ctx)
	if err != nil {
		return err
	}
	moved := 0
	for id, span := range was {
		if is[id] != span {
			moved++
		}
	}
	sc.mu.Lock()
	defer sc.mu.Unlock()
	sc.result.Notes = append(sc.result.Notes, fmt.Sprintf("another machine has joined: %d others have moved, J went from %v to %v",
		moved, time.Duration(before.J), time.Duration(after.J)))
	if after.Compare(before.Score) >= 0 {
		sc.result.wrong("another machine has joined, and J went from %v to %v", time.Duration(before.J), time.Duration(after.J))
	}
	return nil
}

// offers gives the offers of living nodes.
func (sc *scene) offers(ctx context.Context) ([]protocol.Offer, error) {
	a := sc.clients[len(sc.clients)-1]
	asking, cancel := context.WithTimeout(ctx, countLimit)
	defer cancel()
	seen, err := a.directory.Offers(asking, a.Model().ID)
	if err != nil && ctx.Err() != nil {
		return nil, ctx.Err()
	}
	alive := make(map[peer.ID]bool)
	for _, n := range sc.living() {
		alive[n.peer] = true
	}
	var offers []protocol.Offer
	for _, s := range seen {
		if alive[s.Offer.Peer] && s.Offer.State == protocol.Online {
			offers = append(offers, s.Offer)
		}
	}
	return offers, nil
}

// served waits until living nodes serve all layers, and takes down how long that took since something happened.
func (sc *scene) served(ctx context.Context, what string, since time.Time, limit time.Duration) error {
	for {
		offers, err := sc.offers(ctx)
		if err != nil {
			return err
		}
		missing := missing(offers, sc.stage.model.Manifest.Layers)
		took := time.Since(since)
		if missing == 0 || took > limit {
			sc.mu.Lock()
			defer sc.mu.Unlock()
			if missing > 0 {
				sc.result.wrong("%s: %d layers are not served after %v: there are %s", what, missing, took.Round(time.Second), whoServes(offers))
			}
			sc.result.Notes = append(sc.result.Notes, fmt.Sprintf("%s: all is served after %.1f s", what, took.Seconds()))
			return nil
		}
		time.Sleep(lookAgain)
	}
}

// whoServes tells the layers of offers, and where their peers are going.
func whoServes(offers []protocol.Offer) string {
	var all []string
	for _, o := range offers {
		words := o.Span.String()
		if o.Target != o.Span {
			words += " going to " + o.Target.String()
		}
		all = append(all, words)
	}
	return strings.Join(all, ", ")
}

// missing counts the layers that no offer serves.
func missing(offers []protocol.Offer, layers int) int {
	served := make([]bool, layers)
	for _, o := range offers {
		for i := o.Span.Start; i < o.Span.End && i < layers; i++ {
			served[i] = true
		}
	}
	n := 0
	for _, s := range served {
		if !s {
			n++
		}
	}
	return n
}

// atRest waits until all living nodes serve what they want to for a while.
func (sc *scene) atRest(ctx context.Context) error {
	var since time.Time
	for deadline := time.Now().Add(restLimit); time.Now().Before(deadline); time.Sleep(lookAgain) {
		offers, err := sc.offers(ctx)
		if err != nil {
			return err
		}
		moving := slices.ContainsFunc(offers, func(o protocol.Offer) bool { return o.Span != o.Target })
		switch {
		case moving || len(offers) < len(sc.living()) || missing(offers, sc.stage.model.Manifest.Layers) > 0:
			since = time.Time{}
		case since.IsZero():
			since = time.Now()
		case time.Since(since) > restsFor:
			return nil
		}
	}
	sc.finds("the swarm is not at rest after %v", restLimit)
	return nil
}

// worth rates the swarm as its nodes do, and says who serves what.
func (sc *scene) worth(ctx context.Context) (placement.Measured, map[peer.ID]protocol.Span, error) {
	offers, err := sc.offers(ctx)
	if err != nil {
		return placement.Measured{}, nil, err
	}
	at := make(map[peer.ID]protocol.Span)
	for i, o := range offers {
		at[o.Peer] = o.Span
		offers[i].DecodeRate, offers[i].Near = 10_000, nil // what a busy machine has measured meanwhile is not to count
	}
	return placement.Measure(placement.FromOffers(offers, sc.stage.model.Manifest.Layers, "", nil)), at, nil
}

// petals is Petals' own test of its rebalancing.
func petals(ctx context.Context, st *stage) error {
	return st.stepWith(ctx, "A auto:5, C auto:14, then B 0:5", cast{}, func(ctx context.Context, sc *scene) error {
		begins := func(span store.Span, layers string) (*process, error) {
			started, err := sc.launch(ctx, nodeSpec{span: span, layers: layers, home: st.home})
			if err != nil {
				return nil, err
			}
			return started[0], nil
		}
		a, err := begins(store.Span{}, "auto:5")
		if err != nil {
			return err
		}
		c, err := begins(store.Span{}, "auto:14")
		if err != nil {
			return err
		}
		b, err := begins(store.Span{End: 5}, "0:5")
		if err != nil {
			return err
		}
		if err := sc.join(ctx); err != nil {
			return err
		}
		if err := sc.served(ctx, "B serves what A did", time.Now(), st.cfg.within(healLimit)); err != nil {
			return err
		}
		if err := sc.atRest(ctx); err != nil {
			return err
		}
		_, at, err := sc.worth(ctx)
		if err != nil {
			return err
		}
		for _, want := range []struct {
			name  string
			node  *process
			layer string
		}{{"A", a, "19:24"}, {"B", b, "0:5"}, {"C", c, "5:19"}} {
			if got := at[want.node.peer].String(); got != want.layer {
				sc.result.wrong("%s began with %s and serves %s, want %s", want.name, want.node.ready.Layers, got, want.layer)
			}
		}
		if c.ready.Layers != "5:19" {
			sc.result.wrong("C began with %s", c.ready.Layers)
		}
		t := sc.talk(0, client.SessionConfig{Private: true})
		_, err = t.answers(ctx, ask(someIDs(40, 1), answerTokens))
		return errors.Join(err, t.Close())
	})
}
