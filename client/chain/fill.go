package chain

import (
	"fmt"
	"slices"
	"time"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// run is a row of neighbours that hold tokens 0..from-1 and need those up to to. The hop before the first one pushes
// what it kept of them; before the very first hop that is the client, which has the ids. Each hop of the run pushes its
// own outputs on, up to the last one, which tells how far it is. Where the hop before the first one is behind itself, the
// run waits for it.
type run struct {
	first, last int // places in the chain
	from, to    int
	begun       bool
	got         int // tokens that the last hop has
	sent        int // tokens whose ids are on their way, where the run begins at the first hop
	held        []heldPush
	since       time.Duration // when it began
	progress    time.Duration // when it last got on
}

// heldPush is replayed rows that wait until the hop behind them has taken those before.
type heldPush struct {
	to   int
	push protocol.Push
}

// fill brings all hops to goal tokens.
func (c *Chain) fill(now time.Duration, goal int) []Action {
	for i := 0; i < len(c.hops); i++ {
		from := c.hops[i].position
		if from >= goal {
			continue
		}
		r := run{first: i, from: from, to: goal, got: from, sent: from}
		for i+1 < len(c.hops) && c.hops[i+1].position == from {
			i++
		}
		r.last = i
		c.runs = append(c.runs, r)
	}
	if len(c.runs) == 0 {
		return c.resume(now)
	}
	c.phase = filling
	c.await(now)
	return c.beginRuns(now)
}

// beginRuns begins the runs that need not wait any longer.
func (c *Chain) beginRuns(now time.Duration) []Action {
	var actions []Action
	for k := range c.runs {
		r := &c.runs[k]
		if r.begun || r.first > 0 && c.hops[r.first-1].position < r.to {
			continue
		}
		r.begun, r.since, r.progress = true, now, now
		for i := max(r.first-1, 0); i < r.last; i++ {
			c.hops[i].passed = 0
		}
		actions = append(actions, Replaying{Hop: c.hops[r.first].ID, Tokens: r.to - r.from})
		if r.first == 0 {
			actions = append(actions, c.feed(now, r)...)
			continue
		}
		actions = append(actions, c.send(now, r.first-1, protocol.Replay{
			Epoch: c.epoch, From: uint32(r.from), Until: uint32(r.to), Through: c.hops[r.last].Peer,
		}, 0))
	}
	return actions
}

// feed sends ids of a run that begins at the first hop, no more than the hops can have in their queues.
func (c *Chain) feed(now time.Duration, r *run) []Action {
	var actions []Action
	for r.sent < r.to && r.sent-r.got < replayWindow {
		until := min(r.sent+protocol.MaxStepRows, r.to)
		ids := slices.Clone(c.ids[r.sent:until])
		actions = append(actions, c.send(now, 0, protocol.Step{
			Epoch: c.epoch, Position: uint32(r.sent), Through: c.hops[r.last].Peer, IDs: ids,
		}, 4*len(ids)))
		r.sent = until
	}
	return actions
}

// onReplayed takes the word of a run's last hop, or of a successor, how far it is.
func (c *Chain) onReplayed(now time.Duration, h *hop, i int, m protocol.Replayed) []Action {
	if i < 0 {
		return c.onMoved(now, m)
	}
	if m.Epoch < c.epoch || c.phase != filling {
		return nil
	}
	k := slices.IndexFunc(c.runs, func(r run) bool { return r.begun && r.last == i })
	if k < 0 || m.Epoch > c.epoch {
		return c.breach(h, fmt.Errorf("nothing was replayed to it in epoch %d", m.Epoch))
	}
	r, position := &c.runs[k], int(m.Position)
	if position < r.from || position > r.to {
		return c.breach(h, fmt.Errorf("it holds %d tokens after a replay of %d..%d", position, r.from, r.to))
	}
	if position <= r.got {
		return nil
	}
	r.got, r.progress = position, now
	if c.Broken() {
		return nil
	}
	if r.got == r.to {
		return c.filled(now, r)
	}
	actions := c.release(now, r)
	if r.first == 0 {
		actions = append(actions, c.feed(now, r)...)
	}
	return actions
}

// filled goes on when a run has all that it needs.
func (c *Chain) filled(now time.Duration, r *run) []Action {
	for i := r.first; i <= r.last; i++ {
		c.hops[i].position = r.to
	}
	if slices.ContainsFunc(c.runs, func(r run) bool { return r.got < r.to }) {
		return c.beginRuns(now)
	}
	return c.resume(now)
}

// release sends replayed rows on that had to wait.
func (c *Chain) release(now time.Duration, r *run) []Action {
	var actions []Action
	for len(r.held) > 0 && int(r.held[0].push.Position)-r.got < replayWindow {
		p := r.held[0]
		r.held = r.held[1:]
		actions = append(actions, c.pass(now, p.to, p.push))
	}
	return actions
}

// onReplayPush takes replayed rows on their way from hop i to the next one, which i could not connect to. Rows that went
// on already are passed over: whoever opens a stream anew pushes them again.
func (c *Chain) onReplayPush(now time.Duration, i int, m protocol.Push) []Action {
	h := &c.hops[i]
	if c.phase != filling {
		return nil
	}
	k := slices.IndexFunc(c.runs, func(r run) bool { return r.begun && r.first-1 <= i && i < r.last })
	if k < 0 {
		return c.breach(h, fmt.Errorf("it pushed tokens %d.. again, which nobody asked for", m.Position))
	}
	r, from := &c.runs[k], int(m.Position)
	if m.Through != c.hops[r.last].Peer || from < r.from || from+m.N > r.to {
		return c.breach(h, fmt.Errorf("it pushed %d rows from %d again, asked for were %d..%d", m.N, from, r.from, r.to))
	}
	if from < h.passed {
		return nil
	}
	if err := c.checkPush(m, m.N); err != nil {
		return c.breach(h, err)
	}
	h.passed, r.progress = from+m.N, now
	push := protocol.Push{
		Session: c.cfg.Session, Epoch: c.epoch, Position: m.Position, Through: m.Through,
		N: m.N, Width: m.Width, Exp: m.Exp, Half: m.Half,
	}
	r.held = append(r.held, heldPush{i + 1, push})
	return c.release(now, r)
}
