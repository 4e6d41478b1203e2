package chain

import (
	"errors"
	"fmt"
	"time"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// await begins to wait for something: silence of before does not count.
func (c *Chain) await(now time.Duration) {
	for i := range c.hops {
		c.hops[i].heard = max(c.hops[i].heard, now)
	}
	c.nextPing = now + pingEvery
}

// waits says whether anything is waited for.
func (c *Chain) waits() bool {
	if c.Broken() {
		return false
	}
	return c.phase == opening || c.phase == filling || c.moving != nil || len(c.flight) > 0
}

// answered measures a round trip.
func (h *hop) answered(now time.Duration) {
	if took := now - h.asked; !h.measured || took < h.rtt {
		h.rtt, h.measured = min(took, maxRTT), true
	}
}

// onHeartbeat takes a hop's sign of life, and what it says of its oldest step.
func (c *Chain) onHeartbeat(now time.Duration, h *hop, i int, m protocol.Heartbeat) []Action {
	h.grace = 0
	if h.pinged {
		h.pinged = false
		h.answered(now)
	}
	goesOn := m.Progress > h.progress
	h.progress = max(h.progress, m.Progress)
	if goesOn && c.phase == opening {
		c.until = min(max(c.until, now+openLimit), c.latest) // an open is answered when nothing older runs
	}
	if i < 0 || m.Epoch != c.epoch {
		return nil
	}
	if s := c.oldest(); s != nil && m.Number == s.number {
		s.holder, s.shown = max(s.holder, i), now
		if goesOn {
			s.progress = now
		}
	}
	for k := range c.runs {
		if r := &c.runs[k]; m.Running && goesOn && r.first-1 <= i && i <= r.last {
			r.progress = now
		}
	}
	return nil
}

// oldest is the step that is waited for.
func (c *Chain) oldest() *step {
	if c.phase != ready || len(c.flight) == 0 {
		return nil
	}
	return &c.flight[0]
}

// due is when something that is waited for comes too late, and what will be said of whom then.
type due struct {
	at     time.Duration
	hop    *hop
	class  protocol.Class
	err    error
	silent bool
}

// dues lists all that is waited for, if anything is.
func (c *Chain) dues() (all []due) {
	for i := range c.hops {
		all = c.hops[i].dues(all)
		if h := &c.hops[i]; c.phase == opening && !h.opened {
			all = append(all, due{c.until, h, protocol.Elsewhere, errors.New("no answer to open, though it says other things"), false})
		}
	}
	if v := c.moving; v != nil {
		all = v.to.dues(all)
		all = append(all, due{v.until, &v.to, protocol.Elsewhere, fmt.Errorf("the cache was not there after %v", moveLimit), false})
	}
	if c.phase == filling {
		for _, r := range c.runs {
			if r.begun && r.got < r.to {
				limit := (strayLimit + c.travel(r.to-r.from)).Round(time.Millisecond)
				all = append(all, due{r.progress + limit, &c.hops[r.last], protocol.Again, fmt.Errorf("a replay stood still for %v", limit), false})
			}
		}
	}
	return append(all, c.stepDues()...)
}

// stepDues is dues of the oldest step.
func (c *Chain) stepDues() []due {
	s := c.oldest()
	if s == nil {
		return nil
	}
	holder := &c.hops[max(s.holder, 0)]
	all := []due{{s.progress + s.limit(), holder, protocol.Elsewhere, fmt.Errorf("step %d stood still for %v", s.number, s.limit()), false}}
	if c.hops[0].unsent > 0 {
		return all
	}
	suspect := min(s.holder+1, len(c.hops)-1) // who had it last passed it on, and nobody has it
	limit := (strayLimit + c.travel(len(s.ids))).Round(time.Millisecond)
	return append(all, due{s.shown + limit, &c.hops[suspect], protocol.Again, fmt.Errorf("step %d was with nobody for %v", s.number, limit), false})
}

// travel is how long some rows take on the slowest link.
func (c *Chain) travel(rows int) time.Duration {
	return time.Duration(rows*(2*c.cfg.Hidden+1)) * time.Second / slowestLink
}

// dues appends what is waited for of a hop: an open that leaves, a sign of life.
func (h *hop) dues(all []due) []due {
	if !h.reached {
		return append(all, due{h.heard + openLimit, h, protocol.Elsewhere, fmt.Errorf("no connection for %v", openLimit), false})
	}
	if !h.pinged && h.unsent == 0 {
		return all // it has not been asked, so its silence means nothing
	}
	quiet := silence + 4*h.rtt + h.grace
	at := h.heard + quiet
	if h.pinged {
		at = max(at, h.asked+quiet-pingEvery)
	}
	return append(all, due{at, h, protocol.Elsewhere, fmt.Errorf("silent for %v", quiet.Round(time.Millisecond)), true})
}

// Deadline is when Tick must be called if nothing happens before; false: nobody is waited for.
func (c *Chain) Deadline() (time.Duration, bool) {
	if !c.waits() {
		return 0, false
	}
	at := c.nextPing
	for _, d := range c.dues() {
		at = min(at, d.at)
	}
	return at, true
}

// Tick asks for signs of life, and gives up hops that have been waited for too long.
func (c *Chain) Tick(now time.Duration) []Action {
	if !c.waits() {
		return nil
	}
	if now > c.nextPing+longPause {
		c.excuse(now)
	}
	var actions []Action
	all := c.dues()
	late := now
	for _, d := range all {
		if d.silent && d.at <= now {
			late = now + nearly
		}
	}
	for _, d := range all {
		if d.at <= now || d.silent && d.at <= late {
			actions = append(actions, c.fail(d.hop, d.class, d.err)...)
		}
	}
	if len(actions) > 0 || now < c.nextPing {
		return actions
	}
	c.nextPing = now + pingEvery
	for i := range c.hops {
		actions = c.hops[i].ping(now, actions)
	}
	if c.moving != nil {
		actions = c.moving.to.ping(now, actions)
	}
	return actions
}

// excuse begins all waiting anew: nobody could ask for so long, so nobody is to blame.
func (c *Chain) excuse(now time.Duration) {
	for i := range c.hops {
		c.hops[i].heard, c.hops[i].asked = now, now
	}
	c.until, c.latest = now+openLimit, now+stepLimit
	for k := range c.flight {
		c.flight[k].shown, c.flight[k].progress = now, now
	}
	for k := range c.runs {
		c.runs[k].progress = now
	}
	if c.moving != nil {
		c.moving.to.heard, c.moving.to.asked, c.moving.until = now, now, now+moveLimit
	}
}

// ping appends a ping, if the hop can be asked for something.
func (h *hop) ping(now time.Duration, actions []Action) []Action {
	if h.unsent > 0 || h.pinged {
		return actions
	}
	h.pinged, h.asked = true, now
	h.unsent++
	return append(actions, Send{Hop: h.ID, Message: protocol.Ping{}})
}
