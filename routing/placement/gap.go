package placement

import (
	"fmt"
	"hash/fnv"
	"slices"
	"time"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// gap is what a peer remembers of layers that nobody serves.
type gap struct {
	which uint64 // 0: none
	in    uint64 // the placement in which turn and to were found
	since time.Duration
	turn  int           // in which this peer goes
	to    protocol.Span // where; empty: it mends nothing
}

// fill looks for layers that nobody serves. Who can mend most goes first; the others wait their turn, and see it announced.
// Nobody else knows what a peer has promised: who is first begins all the same, and leaves when its word binds no more.
func (d *decision) fill() (Action, bool) {
	s, m := d.s, d.m
	gaps, which := s.bare()
	if gaps == 0 {
		m.gap = gap{}
		return Action{}, false
	}
	switch key := s.key(nil); {
	case m.gap.which != which:
		m.gap = gap{which: which, in: key, since: d.now}
		m.gap.turn, m.gap.to = d.turn()
	case m.gap.in != key && len(s.peers) <= maxRanked:
		// Who was to go may have left, or is free to go since somebody else has come.
		free := m.gap.turn == maxTurns
		m.gap.in = key
		m.gap.turn, m.gap.to = d.turn()
		if free && m.gap.turn < maxTurns {
			m.gap.since = d.now
		}
	}
	if m.gap.to.Len() == 0 {
		return Action{}, false
	}
	if due := m.gap.since + time.Duration(m.gap.turn)*turnEvery; d.now < due {
		return d.stay(due, "%d layers lack a holder, others fill them better", gaps), true
	}
	to := m.gap.to
	if !d.mends(to) {
		s.load.count(s, -1)
		was := s.load.gaps()
		best, any := s.best(d.i, d.me.Choices)
		if !any || best.score.Gaps >= was {
			return Action{}, false
		}
		to = best.span
	}
	m.gap = gap{}
	return d.announce(to, fmt.Sprintf("%d layers lack a holder", gaps)), true
}

// mends reports whether fewer layers lack a holder with this peer at a span.
func (d *decision) mends(to protocol.Span) bool {
	d.s.load.count(d.s, -1)
	return d.s.closes(d.i, to) > 0
}

// turn finds when this peer is to go, and where. First go those who together close most, then those who would if they
// did not come, and so on. In a large swarm the ids alone decide.
func (d *decision) turn() (turn int, to protocol.Span) {
	s := d.s
	able := s.free()
	if len(s.peers) > maxRanked {
		s.load.count(s, -1)
		for _, i := range able {
			if i < d.i && s.mends(i) {
				turn++
			}
		}
		return turn, s.bestOf(d.i, d.me.Choices)
	}
	begin := slices.Clone(s.at)
	defer func() { copy(s.at, begin) }()
	for ; turn < maxTurns; turn++ {
		for _, i := range s.close(able) {
			if i == d.i {
				return turn, s.at[i]
			}
			able = slices.DeleteFunc(able, func(k int) bool { return k == i })
		}
		copy(s.at, begin)
	}
	return turn, s.bestOf(d.i, d.me.Choices)
}

// bestOf is a peer's best place.
func (s *swarm) bestOf(i int, choices []protocol.Span) protocol.Span {
	best, _ := s.best(i, choices)
	return best.span
}

// close moves peers, the one that does the most good first, until none closes any more of the gaps, and lists them.
func (s *swarm) close(able []int) (went []int) {
	for {
		s.load.count(s, -1)
		who, best := -1, choice{score: Score{Gaps: s.load.gaps()}}
		for _, i := range able {
			if c, any := s.best(i, s.choices(i)); any && !slices.Contains(went, i) && c.score.Compare(best.score) < 0 && (who >= 0 || c.score.Gaps < best.score.Gaps) {
				who, best = i, c
			}
		}
		if who < 0 {
			return went
		}
		s.at[who] = best.span
		went = append(went, who)
	}
}

// mends reports whether a peer could leave its place for one with fewer gaps, by a count of all peers.
func (s *swarm) mends(i int) bool {
	return slices.ContainsFunc(s.choices(i), func(sp protocol.Span) bool { return s.closes(i, sp) > 0 })
}

// closes is how many gaps fewer there are with a peer at a span instead of where it is, by a count of all peers.
func (s *swarm) closes(i int, to protocol.Span) (n int) {
	to = clip(to, s.layers)
	at := s.at[i]
	for x := to.Start; x < to.End; x++ {
		if s.load.holders[x] == 0 {
			n++
		}
	}
	for x := at.Start; x < at.End; x++ {
		if s.load.holders[x] == 1 && (x < to.Start || x >= to.End) {
			n--
		}
	}
	return n
}

// bare counts the layers that nobody serves or has announced to serve, and gives a number other than 0 that tells such
// sets apart. What a peer still serves that is on its way elsewhere is not bare: it stays if nobody else comes.
func (s *swarm) bare() (n int, key uint64) {
	h := fnv.New64a()
	for x := range s.layers {
		if !s.holds(x, -1) && !s.held(x, -1) {
			fmt.Fprintf(h, "%d;", x)
			n++
		}
	}
	return n, max(1, h.Sum64())
}
