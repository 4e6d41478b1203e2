package sim

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/baichuan-node/baichuan-node/sim/wire"
)

const (
	// throttledUp is what the owner gives, in bytes/s, and as it is written: the parts of four layers take seconds.
	throttledUp   = 1_000_000
	throttledFlag = "8Mbit"
	// throttledSlack is what may leave beyond the cap at once: a piece of a part, and what the directory says meanwhile.
	throttledSlack = 512 << 10
	// throttledCores is what a node takes of its machine that computes on one thread: its streams take some, too.
	throttledCores = 1.25
)

// throttle has a node's owner bound what it takes.
func throttle(ctx context.Context, st *stage) error {
	whole := *st // one node for all
	whole.layers = st.model.Manifest.Layers
	if err := whole.step(ctx, "one thread for four clients", 1, 4, onOneThread); err != nil {
		return err
	}
	lines := cast{link: func(int) wire.Link { return wire.Link{Delay: 2 * time.Millisecond} }}
	return whole.stepWith(ctx, "parts within "+throttledFlag+", beside answers", lines, handsPartsOut)
}

// pausesEach pauses one node after the other, as its owner would, and lets it go on.
func pausesEach(ctx context.Context, sc *scene) error {
	for _, n := range sc.living() {
		time.Sleep(loadPause)
		if err := sc.owner(ctx, "pause", n); err != nil {
			return err
		}
		all, err := n.metrics(ctx)
		if err != nil {
			return err
		}
		if left := all["baichuan_node_sessions"]; left > 0 {
			sc.finds("a node of layers %v was paused, and has %v sessions", n.span, left)
		}
		if err := sc.owner(ctx, "resume", n); err != nil {
			return err
		}
	}
	return nil
}

// owner runs a command of a node's owner.
func (sc *scene) owner(ctx context.Context, command string, n *process) error {
	cmd := exec.CommandContext(ctx, sc.stage.cfg.Binary, command, "--pid", fmt.Sprint(n.PID()))
	cmd.Env = append(slices.DeleteFunc(cmd.Environ(), func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		return slices.Contains(sc.stage.cfg.Without, name)
	}), append(sc.stage.cfg.Env, "BAICHUAN_HOME="+n.spec.home)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s a node of layers %v: %w: %s", command, n.span, err, out)
	}
	return nil
}

// onOneThread looks at what the node takes while all clients want its answers.
func onOneThread(ctx context.Context, sc *scene) error {
	watching, stop := context.WithCancel(ctx)
	var watch sync.WaitGroup
	var use usage
	watch.Go(func() { use = sc.living()[0].used(watching) })
	until := time.Now().Add(floodShort)
	err := sc.busy(ctx, 100, 100, func(int) bool { return time.Now().Before(until) })
	stop()
	watch.Wait()
	sc.notes("a node with --threads 1 took %.2f cores", use.cores)
	if use.cores > throttledCores {
		sc.result.wrong("a node with --threads 1 took %.2f cores, at most %v is right", use.cores, throttledCores)
	}
	return err
}

// handsPartsOut has a node answer while a machine that has nothing fetches its parts, and looks at what leaves its home.
func handsPartsOut(ctx context.Context, sc *scene) error {
	all := sc.stage.spans()[0]
	started, err := sc.launch(ctx, nodeSpec{span: all, layers: all.String(), home: sc.stage.home, args: []string{"--upload", throttledFlag}})
	if err != nil {
		return err
	}
	if err := sc.join(ctx); err != nil {
		return err
	}
	if _, err := sc.paced(ctx, floodShort); err != nil {
		return err
	}
	seed := started[0].home
	sent, tokens := seed.Sent(), sc.result.Tokens
	alone, err := sc.paced(ctx, floodShort)
	if err != nil {
		return err
	}
	perToken := float64(seed.Sent()-sent) / float64(sc.result.Tokens-tokens)

	var fetched atomic.Bool
	var fetching sync.WaitGroup
	var failed error
	sent, tokens = seed.Sent(), sc.result.Tokens
	begun := time.Now()
	fetching.Go(func() {
		defer fetched.Store(true)
		_, failed = sc.launch(ctx, sc.stage.machine(0))
	})
	beside, err := sc.pacedWhile(ctx, func() bool { return !fetched.Load() })
	fetching.Wait()
	if err := errors.Join(err, failed); err != nil {
		return err
	}
	took := time.Since(begun).Seconds()
	bulk := float64(seed.Sent()-sent) - perToken*float64(sc.result.Tokens-tokens)
	sc.result.Notes = append(sc.result.Notes, fmt.Sprintf("%.1f MB of parts left in %.1f s, at most %.1f MB may; a token took %.1f ms beside it and %.1f alone (95 of 100: %.1f and %.1f)",
		bulk/1e6, took, throttledUp*took/1e6, beside.TokenMS, alone.TokenMS, beside.P95MS, alone.P95MS))
	if bulk > throttledUp*took+throttledSlack {
		sc.result.wrong("%.0f bytes left in %.1f s beside answers, the owner gives %d a second", bulk, took, throttledUp)
	}
	if bulk < throttledSlack {
		sc.result.wrong("%.0f bytes left, which is no model's parts", bulk)
	}
	return nil
}
