package auto

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing/placement"
)

// step decides once, does it, and waits for a reason to decide again. The error is ctx's, or that of the first load.
func (d *Driver) step(ctx context.Context) error {
	changed := d.host.Changed()
	view, lasts := d.host.View()
	me := d.know()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case me.Held.Len() > 0 && !d.host.Serving():
		if me.Target != me.Held {
			d.turnBack(ctx)
		}
		return d.wait(ctx, pausedPoll, changed)
	case d.now() < d.rest && me.Target == me.Held:
		return d.wait(ctx, d.rest-d.now(), nil)
	case d.yields(me, view):
		d.drop()
		d.target(protocol.Span{})
	}
	began := time.Now()
	a := d.decide(view)
	d.ease = min(easeTimes*time.Since(began), easeMost)
	d.say(a, me.Held)
	if d.act(ctx, a, me.Held) {
		return nil
	}
	return d.wait(ctx, min(a.Again-d.now(), lasts), changed)
}

// decide asks what to do. What is to be served counts as served from here on: a word that is given a moment later is
// not about what is being left.
func (d *Driver) decide(view placement.View) placement.Action {
	rate := d.host.Rate()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.self.Rate = rate
	a := placement.Decide(view, d.self, d.now(), &d.memory)
	switch a.Kind {
	case placement.Announce, placement.Withdraw:
		d.self.Target = a.Span
	case placement.Serve:
		d.self.Held, d.self.Loaded = d.self.Target, false
	}
	return a
}

// act does what was decided, and reports whether to decide again at once.
func (d *Driver) act(ctx context.Context, a placement.Action, held protocol.Span) (again bool) {
	switch a.Kind {
	case placement.Announce:
		d.why, d.aimed = a.Why, d.now()
		d.aim(ctx, a.Span)
		d.load(ctx, a.Span)
	case placement.Withdraw:
		d.drop()
		d.aim(ctx, a.Span)
	case placement.Ask:
		return d.ask(ctx, a.Ask)
	case placement.Serve:
		return d.serve(ctx, held)
	}
	return false
}

// serve leaves for what was loaded. The first span is served by Join's caller.
func (d *Driver) serve(ctx context.Context, from protocol.Span) (again bool) {
	if from.Len() == 0 {
		d.fails = 0
		return true
	}
	if err := d.host.Serve(ctx, d.why); err != nil {
		d.mu.Lock()
		d.self.Held, d.self.Loaded = from, true
		d.mu.Unlock()
		d.failed(ctx, err)
		return false
	}
	d.fails = 0
	return false
}

// aim announces a target. A swarm in which nobody hears it now hears it with the offer's next renewal.
func (d *Driver) aim(ctx context.Context, to protocol.Span) {
	if err := d.host.Aim(ctx, to); err != nil && ctx.Err() == nil {
		d.cfg.Log.Debug("nobody has heard yet where this node is going", "layers", to.String(), "error", err)
	}
}

// ask asks peers side by side, and reports whether one of them has given its word.
func (d *Driver) ask(ctx context.Context, asks []placement.Pledge) (given bool) {
	yes := make([]bool, len(asks))
	slots := make(chan struct{}, maxAsked)
	var all sync.WaitGroup
	asked := d.now()
	for i, p := range asks {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			yes[i] = d.host.Ask(ctx, p)
		})
	}
	all.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, p := range asks {
		if yes[i] {
			d.memory.Promised(p, asked)
			given = true
		}
	}
	return given
}

// yields reports whether a newcomer is to look again: another one, with a lower id, has announced layers of the same at
// about the same time, and had not heard of this one when it chose.
func (d *Driver) yields(me placement.Self, v placement.View) bool {
	if me.Held.Len() > 0 || me.Target.Len() == 0 || me.Loaded || d.now()-d.aimed > rivalFor {
		return false
	}
	rival := false
	for _, p := range v.Peers {
		both := min(p.Target.End, me.Target.End) - max(p.Target.Start, me.Target.Start)
		rival = rival || p.Held.Len() == 0 && p.ID < me.ID && both > 0
	}
	if !rival {
		return false
	}
	at := me.Target
	me.Target = protocol.Span{}
	return placement.Join(v, me) != at
}

// wait waits until something has changed, loading has ended, or the time is up; and before that for a moment, the longer
// the last decision took: in a large swarm something changes all the time.
func (d *Driver) wait(ctx context.Context, most time.Duration, changed <-chan struct{}) error {
	if err := sleep(ctx, d.ease); err != nil {
		return err
	}
	timer := time.NewTimer(max(most-d.ease, leastWait))
	defer timer.Stop()
	var loaded <-chan error
	if d.loading != nil {
		loaded = d.loading.done
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case err := <-loaded:
		return d.loadEnded(ctx, err)
	case <-changed:
	case <-timer.C:
	}
	return nil
}

// sleep waits, unless ctx ends before.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// say tells what is decided, each thing once.
func (d *Driver) say(a placement.Action, held protocol.Span) {
	said := fmt.Sprint(a.Kind, a.Span, a.Ask, a.Why)
	if said == d.said {
		return
	}
	d.said = said
	level := slog.LevelInfo
	if a.Kind != placement.Announce && a.Kind != placement.Withdraw || len(d.cfg.Choices) == 1 {
		level = slog.LevelDebug
	}
	what := verb(a.Kind)
	if a.Kind == placement.Announce && held.Len() == 0 {
		what = "is going to serve layers"
	}
	d.cfg.Log.Log(context.Background(), level, "this node "+what, "layers", a.Span.String(), "why", a.Why)
}

// verb says what is done.
func verb(k placement.Kind) string {
	switch k {
	case placement.Announce:
		return "is going to serve other layers"
	case placement.Ask:
		return "asks others to stay"
	case placement.Serve:
		return "serves what it has loaded"
	case placement.Withdraw:
		return "serves its layers on after all"
	}
	return "stays as it is"
}

// turnBack gives a move up.
func (d *Driver) turnBack(ctx context.Context) {
	d.drop()
	held := d.know().Held
	d.target(held)
	d.aim(ctx, held)
}

// target sets where the node is going.
func (d *Driver) target(to protocol.Span) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.self.Target, d.self.Loaded = to, false
}

// failed gives up a move, or a first span, that did not work, and rests: longer each time.
func (d *Driver) failed(ctx context.Context, err error) {
	most := restMost
	if errors.Is(err, ErrLater) {
		most = restLater
	}
	pause := min(restFirst<<min(d.fails, 16), most)
	d.fails++
	d.rest = d.now() + pause
	if ctx.Err() == nil {
		d.cfg.Log.Warn("the layers that this node is to serve are not ready", "again_in", pause, "error", err)
	}
	d.turnBack(ctx)
}

// loadEnded takes what a load has come to.
func (d *Driver) loadEnded(ctx context.Context, err error) error {
	l := d.loading
	d.loading = nil
	l.cancel()
	if err == nil {
		d.mu.Lock()
		d.self.Loaded = true
		d.self.Loading = (d.now() - l.begun) * time.Duration(longest(d.cfg.Choices)) / time.Duration(max(1, l.news))
		d.mu.Unlock()
		return nil
	}
	if d.know().Held.Len() == 0 && !errors.Is(err, ErrLater) {
		return err
	}
	d.failed(ctx, err)
	return ctx.Err()
}
