package chain

import (
	"cmp"
	"fmt"
	"slices"
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

// answered measures a round trip. It is not taken to be longer than was known before: an answer may be late because the
// peer, or this process, is busy.
func (h *hop) answered(now time.Duration) {
	if took := now - h.asked; !h.measured || took < h.rtt {
		h.rtt, h.measured = min(took, cmp.Or(h.RTT, maxRTT), maxRTT), true
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
	switch s := c.oldest(); {
	case s == nil:
	case m.Number == s.number:
		c.holds(now, s, i)
		if goesOn {
			s.progress = now
		}
	default:
		h.without++
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

// holds notes that hop i has a step.
func (c *Chain) holds(now time.Duration, s *step, i int) {
	if i > s.holder {
		s.holder, s.held = i, now
	}
	c.show(now, s)
}

// show notes that the oldest step is not lost.
func (c *Chain) show(now time.Duration, s *step) {
	s.shown = now
	for i := range c.hops {
		c.hops[i].without = 0
	}
}

// executed is the last hop that has executed a step, as the hops said at the open, or -1.
func (c *Chain) executed(s *step) int {
	i := slices.IndexFunc(c.hops, func(h hop) bool { return h.last < s.number })
	if i < 0 {
		return len(c.hops) - 1
	}
	return i - 1
}

// stray goes on when nobody has a step that was sent: it has been swallowed. At first all hops are opened again and the
// step is repeated, which costs nothing but time and shows how far it had come. Then whoever should have it must go, then
// whoever should have passed it on, by turns.
func (c *Chain) stray(now time.Duration, d due) []Action {
	s := c.oldest()
	s.strays++
	if s.strays == 1 {
		c.strayed, c.rounds = true, 0
		c.until, c.latest = now+openLimit, now+stepLimit
		return c.open(now)
	}
	suspect := d.hop
	if s.strays%2 == 1 && s.holder >= 0 {
		suspect = &c.hops[min(s.holder, len(c.hops)-1)]
	}
	return c.overdue(now, due{d.since, d.limit, suspect, d.class, d.format, false, nil})
}

// overdue gives up a hop that was waited for too long.
func (c *Chain) overdue(now time.Duration, d due) []Action {
	actions := c.fail(d.hop, d.class, fmt.Errorf(d.format, d.limit.Round(time.Millisecond)))
	d.hop.fault.For = now - d.since
	return actions
}

// due is when something that is waited for comes too late, and what will be said of whom then.
type due struct {
	since, limit time.Duration
	hop          *hop
	class        protocol.Class
	format       string // of what is said, with limit
	silent       bool
	lost         *step // nobody has it
}

func (d *due) at() time.Duration { return d.since + d.limit }

// dues lists all that is waited for, if anything is.
func (c *Chain) dues() (all []due) {
	for i := range c.hops {
		h := &c.hops[i]
		all = h.dues(all)
		if c.phase == opening && !h.opened {
			all = append(all, due{c.until - openLimit, openLimit, h, protocol.Elsewhere, "no answer to open for %v, though it says other things", false, nil})
		}
	}
	if v := c.moving; v != nil {
		all = v.to.dues(all)
		all = append(all, due{v.until - v.limit, v.limit, &v.to, protocol.Elsewhere, "the cache was not there after %v", false, nil})
	}
	for _, r := range c.runs {
		if r.begun && r.got < r.to {
			all = append(all, due{r.progress, replayLimit + c.travel(r.to-r.from), &c.hops[r.last], protocol.Again, "a replay stood still for %v", false, nil},
				due{r.since, c.most(r), &c.hops[r.last], protocol.Elsewhere, "a replay took %v, which is far from what was promised", false, nil})
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
	at := &c.hops[max(s.holder, 0)]
	rows := len(s.ids)
	all := []due{
		{s.progress, at.stands(rows), at, protocol.Elsewhere, "a step stood still for %v", false, nil},
		{s.held, heldLimit + at.computes(rows), at, protocol.Elsewhere, "a step took %v, which is far from what was promised", false, nil},
	}
	if c.hops[0].unsent > 0 || slices.ContainsFunc(c.hops, func(h hop) bool { return h.without < 2 }) {
		return all
	}
	suspect := &c.hops[min(s.holder+1, len(c.hops)-1)] // who had it last passed it on, and nobody has it
	return append(all, due{s.shown, c.goneFor(rows), suspect, protocol.Elsewhere, "a step was with nobody for %v", false, s})
}

// goneFor is how long a step may be with nobody: two rounds of pings, and what its rows need on their way.
func (c *Chain) goneFor(rows int) time.Duration {
	far := time.Duration(0)
	for _, h := range c.hops {
		far = max(far, h.rtt)
	}
	return 2*pingEvery + 4*far + c.travel(rows)
}

// travel is how long rows may be on their way between two hops.
func (c *Chain) travel(rows int) time.Duration {
	link := time.Duration(nearLink)
	if slices.ContainsFunc(c.hops, func(h hop) bool { return !h.measured || h.rtt > nearRTT }) {
		link = slowestLink
	}
	return time.Duration(rows*(2*c.cfg.Hidden+1)) * time.Second / link
}

// computes is how long rows may take a hop, by a wide margin: others share it.
func (h *hop) computes(rows int) time.Duration {
	if h.Pace == 0 {
		return time.Duration(rows) * rowLimit
	}
	return min(time.Duration(rows*max(h.Span.Len(), 1))*h.Pace*paceFactor, time.Duration(rows)*rowLimit)
}

// stands is how long a hop that has a step may get on with nothing.
func (h *hop) stands(rows int) time.Duration { return stepLimit + h.computes(rows) }

// most is how long a run may take altogether.
func (c *Chain) most(r run) time.Duration {
	limit := heldLimit + c.travel(r.to-r.from)
	for i := r.first; i <= r.last; i++ {
		limit += c.hops[i].computes(r.to - r.from)
	}
	return limit
}

// dues appends what is waited for of a hop: an open that leaves, a sign of life.
func (h *hop) dues(all []due) []due {
	if !h.reached {
		return append(all, due{h.heard, cmp.Or(h.Patience, openLimit), h, protocol.Elsewhere, "no connection for %v", false, nil})
	}
	if !h.pinged && h.unsent == 0 {
		return all // it has not been asked, so its silence means nothing
	}
	since := h.heard
	if h.pinged {
		since = max(since, h.asked-pingEvery)
	}
	return append(all, due{since, silence + 4*h.rtt + h.grace, h, protocol.Elsewhere, "silent for %v", true, nil})
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
		if d.lost != nil {
			return append(actions, c.stray(now, d)...)
		}
		actions = append(actions, c.overdue(now, d)...)
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
		c.flight[k].held, c.flight[k].progress = now, now
		c.show(now, &c.flight[k])
	}
	for k := range c.runs {
		c.runs[k].progress, c.runs[k].since = now, now
	}
	if v := c.moving; v != nil {
		v.to.heard, v.to.asked, v.until = now, now, now+v.limit
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
