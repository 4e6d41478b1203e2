package chain

import (
	"fmt"
	"slices"
	"time"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// done is the number of tokens whose steps have their results: what is repeated begins there.
func (c *Chain) done() int {
	if len(c.flight) > 0 {
		return c.flight[0].position
	}
	return c.sent()
}

// sent is the number of tokens that any hop can have been sent.
func (c *Chain) sent() int {
	if len(c.queue) > 0 {
		return c.queue[0].position
	}
	return len(c.ids)
}

// nextEpoch is one that nobody has heard of.
func (c *Chain) nextEpoch() uint32 { return max(c.epoch, c.taken) + 1 }

// open begins an epoch at every hop.
func (c *Chain) open(now time.Duration) []Action {
	c.epoch = c.nextEpoch()
	c.rounds++
	c.phase, c.runs = opening, nil
	known := c.ids[:c.sent()]
	if c.hope != nil {
		known = c.hope
	}
	c.limit = len(known)
	c.await(now)
	actions := make([]Action, len(c.hops))
	for i := range c.hops {
		h := &c.hops[i]
		m := c.openOf(i, h)
		if h.cut >= 0 {
			m.Position = uint32(min(h.cut, c.limit))
		}
		if kept, ok := c.once[h.Peer]; ok {
			m.Position = min(m.Position, uint32(kept))
		}
		if i == 0 && c.cfg.Names != nil {
			m.Names = c.cfg.Names(known)
		}
		if i == len(c.hops)-1 {
			m.IDs = slices.Clone(known) // a frame may be written when c.ids has changed
		}
		h.opened, h.position = false, int(m.Position)
		actions[i] = h.send(now, m, 0)
	}
	return actions
}

// openOf is the open of hop h in place i.
func (c *Chain) openOf(i int, h *hop) protocol.Open {
	m := protocol.Open{
		Session: c.cfg.Session, Epoch: c.epoch, Model: c.cfg.Model, Span: h.Span, Expect: uint32(c.expect),
		Position: uint32(c.limit), Sampling: c.sampling, Salt: c.cfg.Salt, Private: c.cfg.Private,
	}
	if i > 0 {
		m.Prev = c.hops[i-1].Peer
	}
	if i < len(c.hops)-1 {
		m.Next = c.hops[i+1].Offer
	}
	return m
}

// onOpened takes a hop's answer to an open.
func (c *Chain) onOpened(now time.Duration, h *hop, i int, m protocol.Opened) []Action {
	if i < 0 {
		return c.onMoveOpened(now, m)
	}
	switch {
	case m.Epoch < c.epoch || m.Epoch == c.epoch && h.opened:
		return nil
	case m.Epoch > c.epoch:
		return c.breach(h, fmt.Errorf("it opened epoch %d, asked for was %d", m.Epoch, c.epoch))
	case int64(m.Position) > int64(h.position):
		return c.breach(h, fmt.Errorf("it kept %d tokens, asked for were at most %d", m.Position, h.position))
	case m.Last > c.last:
		return c.breach(h, fmt.Errorf("its last step is %d, the newest is %d", m.Last, c.last))
	}
	h.opened, h.position, h.last, h.busy = true, int(m.Position), m.Last, m.Busy
	delete(c.once, h.Peer)
	h.answered(now)
	if c.Broken() || slices.ContainsFunc(c.hops, func(o hop) bool { return !o.opened }) {
		return nil
	}
	return c.settle(now)
}

// settle goes on when all hops have said what they hold: the steps under way are repeated from the first one that has no
// result, and who holds less than its beginning is filled.
func (c *Chain) settle(now time.Duration) []Action {
	goal := c.done()
	if c.hope != nil {
		goal = 0
		for _, h := range c.hops {
			goal = max(goal, h.position)
		}
	}
	for i := range c.hops {
		if h := &c.hops[i]; len(c.flight) > 0 && h.position <= goal && h.last >= c.flight[0].number {
			return c.breach(h, fmt.Errorf("it has executed step %d and holds %d tokens", h.last, h.position))
		}
	}
	if back := c.level(goal); back != nil {
		return c.reopen(now, back)
	}
	if c.hope != nil {
		c.ids, c.found, c.hope = slices.Clone(c.hope[:goal]), goal, nil
		c.forget(goal) // what follows need not be what was hoped for
		for _, h := range c.hops {
			c.found = min(c.found, h.position)
		}
	}
	return c.fill(now, goal)
}

// level finds the hops that must go back first, and gives one of them, or nil. A hop that is ahead keeps the steps under
// way that it has executed as a whole: it answers them from its ledger.
func (c *Chain) level(goal int) (back *hop) {
	for i := range c.hops {
		h := &c.hops[i]
		if to := c.boundary(h, goal); h.position > to {
			h.cut, back = to, h
		}
	}
	return back
}

// boundary is the end of the last step under way that a hop has executed, or goal.
func (c *Chain) boundary(h *hop, goal int) int {
	for _, s := range c.flight {
		if s.end() <= h.position && s.number <= h.last {
			goal = s.end()
		}
	}
	return goal
}

// reopen opens another epoch because a hop must go back; not for ever.
func (c *Chain) reopen(now time.Duration, back *hop) []Action {
	if c.rounds >= levelRounds+len(c.hops) {
		return c.fail(back, protocol.Elsewhere, fmt.Errorf("the hops do not agree on a position after %d rounds", c.rounds))
	}
	actions := c.open(now)
	for i := range c.hops {
		c.hops[i].cut = -1
	}
	return actions
}

// resume repeats what was under way and goes on.
func (c *Chain) resume(now time.Duration) []Action {
	c.phase, c.rounds, c.runs = ready, 0, nil
	if fault := c.blameStray(); fault != nil {
		return fault
	}
	c.await(now)
	var actions []Action
	for k := range c.flight {
		actions = append(actions, c.begin(now, &c.flight[k]))
	}
	actions = append(actions, c.pump(now)...)
	if len(c.flight)+len(c.queue) == 0 {
		actions = append(actions, Ready{Position: len(c.ids), Found: c.found})
	}
	return actions
}

// blameStray counts against a hop that a step has not got to or through. One is forgiven, or two; who swallows a step now
// and then, and does it when told again, would stretch an answer for ever.
func (c *Chain) blameStray() []Action {
	if !c.strayed || len(c.flight) == 0 {
		return nil
	}
	c.strayed = false
	h := &c.hops[min(c.executed(&c.flight[0])+1, len(c.hops)-1)]
	if h.strays++; h.strays > maxStrays {
		return c.fail(h, protocol.Elsewhere, fmt.Errorf("%d steps were lost on their way to it or in it", h.strays))
	}
	return nil
}

// onFailure takes a refusal. One that is about a step which has its result, about an older epoch, or about a hand-over that was
// given up, has been overtaken.
func (c *Chain) onFailure(now time.Duration, h *hop, i int, m protocol.Failure) []Action {
	if c.moving != nil && m.Epoch == c.moving.epoch {
		return c.fail(&c.moving.to, m.Code.Class(), m) // whoever says so: the cache does not get there
	}
	if m.Epoch != 0 && m.Epoch < c.epoch || m.Epoch > c.epoch && m.Epoch == c.taken || m.Number != 0 && c.isDone(m.Number) {
		return nil
	}
	if c.phase == filling && m.Number == 0 && m.Code == protocol.CodeLostSession {
		for _, r := range c.runs {
			if r.begun && i == r.first-1 {
				h.cut = r.from // it has nothing to replay, so it must be replayed to
				return c.reopen(now, h)
			}
		}
	}
	return c.fail(h, m.Code.Class(), m)
}

// isDone says whether a step has its result already, or was given up.
func (c *Chain) isDone(number uint64) bool {
	return number <= c.last && (len(c.flight) == 0 || number < c.flight[0].number)
}
