package sim

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/baichuan-node/baichuan-node/client"
	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/shard/store"
)

// busy has each client ask questions, one after the other in sessions of their own, until more says that it is enough.
func (sc *scene) busy(ctx context.Context, prompt, answer int, more func(asked int) bool) error {
	errs := make([]error, len(sc.clients))
	var asking sync.WaitGroup
	for i := range sc.clients {
		asking.Go(func() {
			for k := 0; more(k) && errs[i] == nil; k++ {
				t := sc.talk(i, private)
				n := prompt/2 + prompt*((i*7+k*3)%8)/8
				_, err := t.answers(ctx, ask(someIDs(n, uint32(10*i+k)), answer))
				errs[i] = errors.Join(err, t.Close())
			}
		})
	}
	asking.Wait()
	return errors.Join(errs...)
}

// onceEach checks that all living nodes of a span together have computed no more than all the answers' tokens, what was under
// way when one of them was replaced, and what the clients know to have been computed again.
func (sc *scene) onceEach(ctx context.Context) {
	for _, span := range sc.stage.spans() {
		var sum Counters
		for _, n := range sc.living() {
			if n.span != span || n.wasHeld() {
				continue
			}
			c, err := n.counters(ctx)
			if err != nil {
				sc.result.wrong("a healthy node is silent: %v", err)
			}
			sum.Computed += c.Computed
			sum.Replayed += c.Replayed
		}
		twice := underWay(sc.interrupted, span)
		if got := sum.Computed - sum.Replayed; got > sc.result.Tokens+twice {
			sc.result.wrong("healthy nodes of layers %v have computed %d tokens, there were %d, of which two may have computed %d",
				span, got, sc.result.Tokens, twice)
		}
		if known := sc.result.replayed(); sum.Replayed > known {
			sc.result.wrong("healthy nodes of layers %v have computed %d tokens again, for failovers that took %d", span, sum.Replayed, known)
		}
	}
}

// underWay adds up the steps that were under way when a healthy node of a span was replaced.
func underWay(all []interrupted, span store.Span) (tokens int) {
	for _, x := range all {
		if x.layers == protocol.Span(span) && x.node.is() == healthy && !x.node.wasHeld() {
			tokens += x.tokens
		}
	}
	return tokens
}

func drainUnderLoad(ctx context.Context, st *stage) error {
	rounds := 1
	if st.cfg.Long {
		rounds = 4
	}
	err := st.step(ctx, "one node of each span leaves after the other", 2, 4, st.drained(rounds, func(ctx context.Context, sc *scene) error {
		for i := range st.spans() {
			time.Sleep(loadPause)
			if err := sc.replaces(ctx, i); err != nil {
				return err
			}
		}
		return nil
	}))
	if err != nil {
		return err
	}
	err = st.step(ctx, "each node is paused and resumed", 2, 4, st.drained(1, pausesEach))
	if err != nil || !st.cfg.Long {
		return err
	}
	err = st.step(ctx, "nodes of two spans leave at once", 2, 4, st.drained(rounds, func(ctx context.Context, sc *scene) error {
		time.Sleep(loadPause)
		return sc.replaces(ctx, 0, 2)
	}))
	if err != nil {
		return err
	}
	return st.step(ctx, "the only holder of some layers leaves, another comes meanwhile", 1, 1, lastLeaves)
}

// drained has answers made while nodes leave, some times over. Nothing may fail, and nothing be computed again.
func (st *stage) drained(rounds int, leave func(context.Context, *scene) error) func(context.Context, *scene) error {
	return func(ctx context.Context, sc *scene) error {
		over := make(chan struct{})
		var leaving sync.WaitGroup
		var failed error
		leaving.Go(func() {
			defer close(over)
			for k := 0; k < rounds && failed == nil; k++ {
				failed = leave(ctx, sc)
			}
		})
		err := sc.busy(ctx, 200, 200, func(int) bool {
			select {
			case <-over:
				return false
			default:
				return true
			}
		})
		leaving.Wait()
		if n := sc.result.replayed(); n > 0 {
			sc.result.wrong("%d tokens were computed again because nodes left", n)
		}
		for _, n := range sc.living() {
			if c, err := n.counters(ctx); err != nil || c.Replayed > 0 {
				sc.result.wrong("a node of layers %v has computed %d tokens again, %v", n.span, c.Replayed, err)
			}
		}
		if len(sc.result.Failovers) == 0 {
			sc.result.wrong("no session had to move")
		}
		sc.onceEach(ctx)
		return errors.Join(err, failed)
	}
}

// lastLeaves tells the only holder of some layers to leave, in the middle of an answer. It serves the session until another has
// come, and hands its cache over: the session is slow, so that there is something left of the answer then.
func lastLeaves(ctx context.Context, sc *scene) error {
	const hop, tokens, slow = 1, 400, 20 * time.Millisecond
	t := sc.talk(0, private)
	var leaver *process
	var failed error
	var coming sync.WaitGroup
	t.before = func(step int, chain []client.HopInfo) {
		switch {
		case step < 3:
		case step == 3:
			leaver = sc.of(chain[hop].Peer)
			leaver.leaves()
			coming.Go(func() {
				time.Sleep(loadPause)
				_, failed = sc.start(ctx, sc.stage.spans()[hop:hop+1], "--identity", filepath.Join(sc.stage.home, "another.key"))
			})
		default:
			select {
			case <-leaver.Exited():
			case <-time.After(slow):
			}
		}
	}
	_, err := t.answers(ctx, ask(someIDs(promptTokens, 1), tokens))
	coming.Wait()
	if err := errors.Join(err, failed, leaver.hasLeft(sc.stage.cfg.within(graceLimit)), t.Close()); err != nil {
		return err
	}
	if how := leaver.Err().Error(); !strings.Contains(how, "exit status 0") {
		sc.result.wrong("the node that was told to leave: %s", how)
	}
	if f := sc.result.Failovers; len(f) != 1 || f[0].HandedOver == 0 || f[0].Replayed > 0 {
		sc.result.wrong("the session moved by %+v, want a single hand-over", f)
	}
	sc.once(ctx, t, sc.result.Tokens)
	return nil
}

// replaces tells the node of each of some spans that has worked most to leave, all at once, waits until they have, and
// starts others.
func (sc *scene) replaces(ctx context.Context, spans ...int) error {
	var leavers []*process
	var wanted []store.Span
	for _, i := range spans {
		wanted = append(wanted, sc.stage.spans()[i])
	}
	for _, span := range wanted {
		var busiest *process
		most := -1
		for _, n := range sc.living() {
			if n.span != span {
				continue
			}
			c, err := n.counters(ctx)
			if err != nil {
				return err
			}
			if c.Computed > most {
				busiest, most = n, c.Computed
			}
		}
		leavers = append(leavers, busiest)
	}
	if err := sc.sendAway(leaveLimit, leavers...); err != nil {
		return err
	}
	_, err := sc.start(ctx, wanted)
	return err
}

// sendAway tells nodes to leave, all at once, and waits until they have: each within a time, and as it should.
func (sc *scene) sendAway(limit time.Duration, leavers ...*process) error {
	start := time.Now()
	for _, n := range leavers {
		n.leaves()
	}
	for _, n := range leavers {
		if err := n.hasLeft(sc.stage.cfg.within(graceLimit)); err != nil {
			return err
		}
		if how := n.Err().Error(); !strings.Contains(how, "exit status 0") {
			sc.finds("a node of layers %v was told to leave: %s", n.span, how)
		}
		if took := time.Since(start); took > sc.stage.cfg.within(limit) {
			sc.finds("a node of layers %v took %v to leave", n.span, took)
		}
	}
	return nil
}

func crowd(ctx context.Context, st *stage) error {
	const clients, copies = 8, 3
	answers := 2
	if st.cfg.Long {
		answers = 12
	}
	name := fmt.Sprintf("%d answers to each of %d clients, seed %d", answers, clients, st.cfg.Seed)
	blows := []event{someDie, someDie, someHang, somebodyHangsUp}
	err := st.step(ctx, name+", others come", copies, clients, crowded(answers, true, blows...))
	if err != nil || !st.cfg.Long {
		return err
	}
	if err := st.step(ctx, name+", nodes come back", copies, clients, crowded(answers, false, blows...)); err != nil {
		return err
	}
	// All nodes live, so every token that is computed is counted.
	name = fmt.Sprintf("%d answers to each of %d clients, seed %d", answers/3, clients, st.cfg.Seed)
	return st.step(ctx, name+", connections alone are hung up", copies, clients, crowded(answers/3, true, somebodyHangsUp))
}

// crowded asks while things happen to nodes and connections. In the places of the killed come others, or the same under
// their old identities.
func crowded(answers int, others bool, mix ...event) func(context.Context, *scene) error {
	return func(ctx context.Context, sc *scene) error {
		nodes := sc.newChurn(loadPause, mix...)
		nodes.others = others
		if !sc.stage.cfg.Long {
			nodes.most = shortBlows
		}
		some := nodes.mix[0].name // must happen
		stop := make(chan struct{})
		var churning sync.WaitGroup
		var failed error
		churning.Go(func() { failed = nodes.run(ctx, stop) })
		err := sc.busy(ctx, 400, 100, func(asked int) bool { return asked < answers || some == someDie.name && !nodes.killed.Load() })
		close(stop)
		churning.Wait()
		sc.result.Events = nodes.happened
		if nodes.happened[some] == 0 {
			sc.result.wrong("it did not happen: %s", some)
		}
		sc.onceEach(ctx)
		return errors.Join(err, failed)
	}
}
