package chain

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// move is a hand-over of a hop's cache to a successor, which alone is in epoch meanwhile.
type move struct {
	from  int // ID of the hop that is leaving
	to    hop
	epoch uint32
	asked bool          // from has been told where to send its cache
	limit time.Duration // that it may take
	until time.Duration // when it must be there
}

// Partings gives a Parting if a hop is leaving and nothing is under way: one after the other, and each once, here or among
// the actions of other calls.
func (c *Chain) Partings() []Action {
	if c.phase != ready || c.moving != nil || c.Broken() {
		return nil
	}
	actions, _ := c.partings()
	return actions
}

func (c *Chain) partings() (actions []Action, some bool) {
	i := slices.IndexFunc(c.hops, func(h hop) bool { return h.parting })
	if i < 0 {
		return nil, false
	}
	told := slices.ContainsFunc(c.hops, func(h hop) bool { return h.parting && h.told })
	if h := &c.hops[i]; !told && len(c.flight) == 0 {
		h.told = true
		actions = append(actions, Parting{Hop: h.ID, Within: h.within, HandOver: h.hands})
	}
	return actions, true
}

// onParting takes a hop's word that it is leaving.
func (c *Chain) onParting(h *hop, m protocol.Parting) []Action {
	if !h.parting && !h.told {
		h.parting, h.within = true, time.Duration(m.WithinMS)*time.Millisecond
		h.hands = time.Duration(m.HandOverMS) * time.Millisecond
	}
	return c.Partings()
}

// Remind has the Parting of a hop that stayed given out again: there may be somebody now who can take its place.
func (c *Chain) Remind(id int, within time.Duration) {
	if h, i := c.find(id); h != nil && i >= 0 {
		h.parting, h.told, h.within = true, false, within
	}
}

// Resting says that nothing is under way and that a Move may begin.
func (c *Chain) Resting() bool {
	return c.phase == ready && len(c.flight) == 0 && c.moving == nil && !c.Broken()
}

// Stay goes on with a hop that is leaving, as long as it is there: nobody can take its place.
func (c *Chain) Stay(now time.Duration, id int) []Action {
	if h, _ := c.find(id); h != nil {
		h.parting = false
	}
	if len(c.queue) == 0 {
		return c.Partings()
	}
	return c.pump(now)
}

// Move has a hop that is leaving hand its cache over to another peer, which takes its place. Nothing may be under way. It
// ends with Moved, and then Ready unless steps wait; or with a Fault of either hop, and then Route must follow. The cache
// must be there within limit, if that is less than moveLimit and not 0.
func (c *Chain) Move(now time.Duration, from int, to Hop, limit time.Duration) []Action {
	h, i := c.find(from)
	if h == nil || i < 0 || !c.Resting() {
		panic("chain: Move of a session that is not at rest")
	}
	limit = min(cmp.Or(limit, moveLimit), moveLimit)
	c.moving = &move{from: from, epoch: c.nextEpoch(), limit: limit, until: now + limit, to: hop{Hop: to, rtt: unknownRTT, cut: -1}}
	if to.RTT > 0 {
		c.moving.to.rtt = min(to.RTT, maxRTT)
	}
	c.limit = c.sent()
	c.await(now)
	m := c.openOf(i, &c.moving.to)
	m.Epoch, m.From, m.Position = c.moving.epoch, h.Peer, 0 // it may have been a hop before, and takes everything anew
	if i == len(c.hops)-1 {
		m.IDs = append(m.IDs, c.ids[:c.limit]...)
	}
	return []Action{c.moving.to.send(now, m, 0)}
}

// settleMove ends a hand-over that is under way. Its epoch is not used again, for others than the successor may know it; the
// hops stay in theirs until they are opened anew. The successor may hold some of the cache by now, if it has no place in
// the chain.
func (c *Chain) settleMove() {
	if v := c.moving; v != nil {
		c.taken = v.epoch
		c.moving = nil
		c.leave(v.to)
	}
}

// onMoveOpened asks for the cache, for which the successor has made room.
func (c *Chain) onMoveOpened(now time.Duration, m protocol.Opened) []Action {
	v := c.moving
	from, _ := c.find(v.from)
	switch {
	case m.Epoch < v.epoch:
		return nil // it may have been a hop before
	case m.Epoch > v.epoch || m.Position != 0:
		return c.breach(&v.to, fmt.Errorf("it opened epoch %d at token %d, asked for was %d at 0", m.Epoch, m.Position, v.epoch))
	case v.to.opened:
		return nil
	}
	v.to.opened = true
	v.to.answered(now)
	delete(c.once, v.to.Peer) // it has begun anew
	if c.Broken() {
		return nil
	}
	v.asked = true
	return []Action{from.send(now, protocol.HandOver{Epoch: v.epoch, To: v.to.Offer}, 0)}
}

// onMoved puts the successor into its place. Whatever it says that it holds, the opens that follow show.
func (c *Chain) onMoved(now time.Duration, m protocol.Replayed) []Action {
	v := c.moving
	if m.Epoch < v.epoch {
		return nil
	}
	if !v.asked || m.Epoch != v.epoch || int64(m.Position) > int64(c.limit) {
		return c.breach(&v.to, fmt.Errorf("it took over %d tokens in epoch %d, there are %d in %d", m.Position, m.Epoch, c.limit, v.epoch))
	}
	if c.Broken() {
		return nil
	}
	from, i := c.find(v.from)
	left := *from
	c.hops[i] = v.to
	c.leave(left)
	c.settleMove()
	c.rounds, c.until, c.latest = 0, now+openLimit, now+stepLimit
	return append([]Action{Moved{From: v.from, To: v.to.ID, Tokens: int(m.Position)}}, c.open(now)...)
}
