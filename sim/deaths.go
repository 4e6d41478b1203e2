package sim

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/baichuan-node/baichuan-node/client"
)

// The prompt of the scenarios with a single client takes several passes, so that there is a middle of it.
const (
	promptTokens = 900
	answerTokens = 8
	killedTokens = 5   // of the answer, at each of which a hop is killed
	middle       = 300 // tokens of the prompt, in its first step
	late         = 700 // in its second
)

// moment is when something happens to a hop.
type moment struct {
	name string
	step int // of the answer
	late int // tokens of it that the hop has computed by then
}

func atToken(n int) moment { return moment{name: fmt.Sprint("at token ", n), step: n} }

func inPrompt() moment { return moment{name: "in the prompt", late: middle} }

func lateInPrompt() moment { return moment{name: "late in the prompt", late: late} }

// happens calls what with the nodes of some hops when the moment has come, and gives the function to wait with until
// that is over.
func (m moment) happens(ctx context.Context, t *talk, hops []int, what func(...*process)) (wait func()) {
	var doing sync.WaitGroup
	t.before = func(step int, chain []client.HopInfo) {
		if step != m.step {
			return
		}
		var nodes []*process
		for _, h := range hops {
			nodes = append(nodes, t.scene.of(chain[h].Peer))
		}
		if m.late == 0 {
			what(nodes...)
			return
		}
		doing.Go(func() {
			nodes[0].computed(ctx, m.late)
			what(nodes...)
		})
	}
	return doing.Wait
}

// kill ends nodes at once, and together.
func kill(nodes ...*process) {
	var killing sync.WaitGroup
	for _, n := range nodes {
		n.meets(killed)
		killing.Go(n.Kill)
	}
	killing.Wait()
}

// one has a question answered while something happens to some hops, and checks what must hold then.
func one(m moment, hops []int, what func(...*process), also func(*scene, *talk)) func(context.Context, *scene) error {
	return func(ctx context.Context, sc *scene) error {
		t := sc.talk(0, private)
		wait := m.happens(ctx, t, hops, what)
		_, err := t.answers(ctx, ask(someIDs(promptTokens, 1), answerTokens))
		wait()
		if err := errors.Join(err, t.Close()); err != nil {
			return err
		}
		if got := len(sc.result.Failovers); got < len(hops) {
			sc.result.wrong("%d hops were replaced, want %d", got, len(hops))
		}
		if also != nil {
			also(sc, t)
		}
		sc.once(ctx, t, sc.result.Tokens)
		return nil
	}
}

// once checks that each healthy node has computed so many tokens at most, and that those which a conversation began with
// have computed nothing again.
func (sc *scene) once(ctx context.Context, t *talk, most int) {
	for _, n := range sc.living() {
		c, err := n.counters(ctx)
		switch {
		case err != nil:
			sc.result.wrong("a healthy node is silent: %v", err)
		case c.Computed > most:
			sc.result.wrong("a healthy node of layers %v has computed %d tokens, there were %d", n.span, c.Computed, most)
		case c.Replayed > 0 && slices.ContainsFunc(t.origin, func(h client.HopInfo) bool { return sc.first(h.Peer) == n }):
			sc.result.wrong("a healthy node of layers %v has computed %d tokens again", n.span, c.Replayed)
		}
	}
}

func killEach(ctx context.Context, st *stage) error {
	hops := len(st.spans())
	for hop := range hops {
		moments := []moment{inPrompt()}
		for n := range killedTokens {
			moments = append(moments, atToken(n+1))
		}
		if !st.cfg.Long {
			moments = moments[hop : hop+1]
		} else {
			moments = append(moments, lateInPrompt())
		}
		for _, m := range moments {
			name := fmt.Sprintf("hop %d is killed %s", hop, m.name)
			if err := st.step(ctx, name, 2, 1, one(m, []int{hop}, kill, nil)); err != nil {
				return err
			}
		}
		for _, late := range []time.Duration{0, time.Millisecond, 4 * time.Millisecond} {
			if !st.cfg.Long && (hop > 0 || late == 0) {
				continue
			}
			name := fmt.Sprintf("hop %d is killed %v after the opening began", hop, late)
			if err := st.step(ctx, name, 2, 1, atOpen(hop, late)); err != nil {
				return err
			}
		}
	}
	return st.step(ctx, "a node of each span was killed before the client came", 2, 0, refused)
}

// refused has a client open sessions among offers of which half are of the dead.
func refused(ctx context.Context, sc *scene) error {
	all := sc.living()
	kill(all[:len(all)/2]...)
	if err := sc.join(ctx); err != nil {
		return err
	}
	t := sc.talk(0, private)
	_, err := t.answers(ctx, ask(someIDs(promptTokens, 1), answerTokens))
	sc.once(ctx, t, sc.result.Tokens)
	return errors.Join(err, t.Close())
}

// atOpen kills a hop of the chain that the client used last, about when it opens the next.
func atOpen(hop int, late time.Duration) func(context.Context, *scene) error {
	return func(ctx context.Context, sc *scene) error {
		first := sc.talk(0, private)
		if _, err := first.answers(ctx, ask(someIDs(5, 2), 1)); err != nil {
			return errors.Join(err, first.Close())
		}
		victim := sc.of(first.Chain()[hop].Peer)
		if err := first.Close(); err != nil {
			return err
		}
		t := sc.talk(0, private)
		var killing sync.WaitGroup
		t.begin = func() {
			if late == 0 {
				kill(victim)
				return
			}
			killing.Go(func() {
				time.Sleep(late)
				kill(victim)
			})
		}
		_, err := t.answers(ctx, ask(someIDs(promptTokens, 1), answerTokens))
		killing.Wait()
		sc.once(ctx, t, sc.result.Tokens)
		return errors.Join(err, t.Close())
	}
}

func killTwo(ctx context.Context, st *stage) error {
	for _, hops := range [][]int{{0, 1}, {1, 2}, {0, 2}, {0, 1, 2}} {
		for _, m := range []moment{inPrompt(), atToken(3)} {
			if !st.cfg.Long && (hops[0] != 1 || m.step == 0) {
				continue
			}
			name := fmt.Sprintf("hops %v are killed %s", hops, m.name)
			if err := st.step(ctx, name, 2, 1, one(m, hops, kill, nil)); err != nil {
				return err
			}
		}
	}
	return nil
}

func killReplacement(ctx context.Context, st *stage) error {
	for hop := range st.spans() {
		if !st.cfg.Long && hop != 1 {
			continue
		}
		err := st.step(ctx, fmt.Sprintf("hop %d is killed, and its replacement a token later", hop), 3, 1, killAgain(hop))
		if err == nil {
			err = st.step(ctx, fmt.Sprintf("hop %d is killed, and its replacement while it catches up", hop), 3, 1, killCatchingUp(hop))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func killAgain(hop int) func(context.Context, *scene) error {
	return func(ctx context.Context, sc *scene) error {
		t := sc.talk(0, private)
		t.before = func(step int, chain []client.HopInfo) {
			if step == 2 || step == 3 {
				kill(sc.of(chain[hop].Peer))
			}
		}
		return sc.killsTwice(ctx, t)
	}
}

func killCatchingUp(hop int) func(context.Context, *scene) error {
	return func(ctx context.Context, sc *scene) error {
		t := sc.talk(0, private)
		watching, cancel := context.WithCancel(ctx)
		var all sync.WaitGroup
		t.before = func(step int, chain []client.HopInfo) {
			if step != 2 {
				return
			}
			first := sc.of(chain[hop].Peer)
			for _, n := range sc.others(first) {
				all.Go(func() {
					if n.computed(watching, 1); watching.Err() == nil {
						cancel() // the other one is to live
						kill(n)
					}
				})
			}
			kill(first)
		}
		err := sc.killsTwice(ctx, t)
		cancel()
		all.Wait()
		return err
	}
}

// killsTwice has a question answered in which two nodes of a span are killed.
func (sc *scene) killsTwice(ctx context.Context, t *talk) error {
	_, err := t.answers(ctx, ask(someIDs(promptTokens, 1), answerTokens))
	if got := len(sc.result.Failovers); got < 2 {
		sc.result.wrong("%d hops were replaced, want 2", got)
	}
	sc.once(ctx, t, sc.result.Tokens)
	return errors.Join(err, t.Close())
}

func hangEach(ctx context.Context, st *stage) error {
	for hop := range st.spans() {
		for _, m := range []moment{atToken(3), inPrompt()} {
			if !st.cfg.Long && (hop != 1 || m.step == 0) {
				continue
			}
			var failed error
			hold := func(nodes ...*process) {
				for _, n := range nodes {
					failed = errors.Join(failed, n.hang())
				}
			}
			err := st.step(ctx, fmt.Sprintf("hop %d hangs %s", hop, m.name), 2, 1, one(m, []int{hop}, hold, costsLittle))
			if err := errors.Join(err, failed); err != nil {
				return err
			}
		}
	}
	return nil
}

// costsLittle checks what a hung hop has cost. The prompt's own time is not counted.
func costsLittle(sc *scene, t *talk) {
	cost := max(t.longest, t.first-promptLimit)
	if limit := sc.stage.cfg.within(hangLimit); cost > limit {
		sc.result.wrong("a hung hop has cost %v, want at most %v", cost, limit)
	}
}

func comeLater(ctx context.Context, st *stage) error {
	err := st.step(ctx, "hop 1 is killed at token 3, another comes", 1, 1, st.later("--identity", filepath.Join(st.home, "another.key")))
	if err != nil || !st.cfg.Long {
		return err
	}
	return st.step(ctx, "hop 1 is killed at token 3 and started again", 1, 1, st.later())
}

// later kills the only holder of some layers, and starts another after a while.
func (st *stage) later(args ...string) func(context.Context, *scene) error {
	const hop, delay = 1, 2 * time.Second
	return func(ctx context.Context, sc *scene) error {
		var missing []string
		cfg := private
		cfg.Waiting = func(w client.Waiting) {
			for _, span := range w.Missing {
				missing = append(missing, span.String())
			}
		}
		t := sc.talk(0, cfg)
		var late error
		var starting sync.WaitGroup
		t.before = func(step int, chain []client.HopInfo) {
			if step != 3 {
				return
			}
			kill(sc.of(chain[hop].Peer))
			starting.Go(func() {
				time.Sleep(delay)
				_, late = sc.start(ctx, st.spans()[hop:hop+1], args...)
			})
		}
		_, err := t.answers(ctx, ask(someIDs(promptTokens, 1), answerTokens))
		starting.Wait()
		if want := st.spans()[hop].String(); !slices.Contains(missing, want) {
			sc.result.wrong("the client said that %v were missing, want %s", missing, want)
		}
		sc.once(ctx, t, sc.result.Tokens)
		return errors.Join(err, late, t.Close())
	}
}
