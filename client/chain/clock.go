package chain

import (
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
	since, limit time.Duration
	hop          *hop
	class        protocol.Class
	format       string // of what is said, with limit
	silent       bool
}

func (d *due) at() time.Duration { return d.since + d.limit }

// dues lists all that is waited for, if anything is.
func (c *Chain) dues() (all []due) {
	for i := range c.hops {
		h := &c.hops[i]
		all = h.dues(all)
		if c.phase == opening && !h.opened {
			all = append(all, due{c.until - openLimit, openLimit, h, protocol.Elsewhere, "no answer to open for %v, though it says other things", false})
		}
	}
	if v := c.moving; v != nil {
		all = v.to.dues(all)
		all = append(all, due{v.until - moveLimit, moveLimit, &v.to, protocol.Elsewhere, "the cache was not there after %v", false})
	}
	for _, r := range c.runs {
		if r.begun && r.got < r.to {
			all = append(all, due{r.progress, c.strayed(r.to - r.from), &c.hops[r.last], protocol.Again, "a replay stood still for %v", false})
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
	all := []due{{s.progress, s.limit(), &c.hops[max(s.holder, 0)], protocol.Elsewhere, "a step stood still for %v", false}}
	if c.hops[0].unsent > 0 {
		return all
	}
	suspect := &c.hops[min(s.holder+1, len(c.hops)-1)] // who had it last passed it on, and nobody has it
	return append(all, due{s.shown, c.strayed(len(s.ids)), suspect, protocol.Again, "a step was with nobody for %v", false})
}

// strayed is how long rows may be with nobody.
func (c *Chain) strayed(rows int) time.Duration {
	return strayLimit + time.Duration(rows*(2*c.cfg.Hidden+1))*time.Second/slowestLink
}

// dues appends what is waited for of a hop: an open that leaves, a sign of life.
func (h *hop) dues(all []due) []due {
	if !h.reached {
		return append(all, due{h.heard, openLimit, h, protocol.Elsewhere, "no connection for %v", false})
	}
	if !h.pinged && h.unsent == 0 {
		return all // it has not been asked, so its silence means nothing
	}
	since := h.heard
	if h.pinged {
		since = max(since, h.asked-pingEvery)
	}
	return append(all, due{since, silence + 4*h.rtt + h.grace, h, protocol.Elsewhere, "silent for %v", true})
}

// Deadline is when Tick must be called if nothing happens before; false: nobody is waited for.
func (c *Chain) Deadline() (time.Duration, bool) {
	if !c.waits() {
		return 0, false
	}
	at := c.nextPing
	for _, d := range c.dues() {
		at = min(at, d.at())
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
		if d.silent && d.at() <= now {
			late = now + nearly
		}
	}
	for _, d := range all {
		if d.hop.fault != nil || d.at() > now && (!d.silent || d.at() > late) {
			continue
		}
		actions = append(actions, c.fail(d.hop, d.class, fmt.Errorf(d.format, d.limit.Round(time.Millisecond)))...)
		d.hop.fault.For = now - d.since
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
