package placement

import (
	"fmt"
	"hash/fnv"
	"slices"
	"sync"
	"time"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// Plans remembers the plans that were made last. It is safe for concurrent use, and its plans are not changed.
type Plans struct {
	mu    sync.Mutex
	known map[planKey]plan // guarded by mu
}

type planKey struct {
	swarm uint64
	calm  bool
}

// plan is what [Plan] found.
type plan struct {
	moves []Move
	gain  int64
}

// of is the plan for a swarm as it is, where peers come and go or where all is calm.
func (p *Plans) of(s *swarm, calm bool) plan {
	key := planKey{s.key(nil), calm}
	p.mu.Lock()
	defer p.mu.Unlock()
	found, known := p.known[key]
	if !known {
		if len(p.known) >= maxPlans || p.known == nil {
			p.known = map[planKey]plan{}
		}
		found = s.plan(calm)
		p.known[key] = found
	}
	return found
}

// together is the plan that a peer sees all follow.
type together struct {
	plan
	begin uint64        // where all were
	since time.Duration // it was made
	calm  bool          // it was
	looks int
	sure  int                      // the looks that it takes
	were  map[string]protocol.Span // where all were when it was made
	who   uint64                   // the peers that there are
	came  time.Duration            // when the last one came or went
}

// lookTogether weighs moves of several peers: all who see the same make the same plan, and each does its part. They begin
// together, as pledges bring their moves into an order that is safe; and while what is seen is the plan's beginning with
// some of its moves made, nobody plans anew, so plans that differ do not mix.
func (d *decision) lookTogether() Action {
	s, m := d.s, d.m
	t := &m.together
	if who := s.members(); who != t.who {
		t.who, t.came = who, d.now
	}
	calm := d.now-t.came >= calmAfter
	begun, left := t.progress(s)
	if s.key(t.moves) != t.begin || d.now-t.since >= planFor || (begun == 0 && t.calm != calm) || (left == 0 && begun > 0) {
		if m.Plans == nil {
			m.Plans = &Plans{}
		}
		*t = together{plan: m.Plans.of(s, calm), begin: s.key(nil), since: d.now, calm: calm, sure: t.surely(s, calm),
			were: s.places(), who: t.who, came: t.came}
		begun = 0
	}
	t.looks++
	i := slices.IndexFunc(t.moves, func(mv Move) bool { return mv.Peer == d.me.ID })
	switch {
	case len(t.moves) == 0:
		return d.stay(m.next, "no moves pay")
	case i < 0 || t.moves[i].To == d.me.Held:
		return d.stay(m.next, "%d others are to move, which saves %d.%d %%", len(t.moves), t.gain/10, t.gain%10)
	}
	if n := len(m.moves) - freeMoves; n > 0 && t.gain < leastGain<<min(n, 16) {
		return d.stay(m.next, "it has moved %d times lately, and this saves only %d.%d %%", len(m.moves), t.gain/10, t.gain%10)
	}
	to := t.moves[i].To
	if !slices.Contains(d.me.Choices, to) || !d.keepsWord(to) {
		return d.stay(m.next, "it has promised to stay")
	}
	if begun == 0 && t.looks < t.sure {
		return d.stay(m.next, "to %v saves %d.%d %%, look %d of %d", to, t.gain/10, t.gain%10, t.looks, t.sure)
	}
	return d.announce(to, fmt.Sprintf("part of %d moves that save %d.%d %%", len(t.moves), t.gain/10, t.gain%10))
}

// surely is how many looks at a swarm a plan takes before it begins. Where somebody has come or gone all who see it make the
// same plan, and who has not seen it yet makes none. But a move that is no part of the plan at hand was made by somebody who
// knows more, or less: then all wait until they see the same, as who has just come does.
func (t *together) surely(s *swarm, calm bool) int {
	if calm || t.were == nil {
		return planLooks
	}
	for i, p := range s.peers {
		ours := slices.ContainsFunc(t.moves, func(mv Move) bool { return mv.Peer == p.ID && mv.To == s.at[i] })
		if at, known := t.were[p.ID]; known && at != s.at[i] && !ours {
			return planLooks
		}
	}
	return 1
}

// places is where all are, by id.
func (s *swarm) places() map[string]protocol.Span {
	at := make(map[string]protocol.Span, len(s.peers))
	for i, p := range s.peers {
		at[p.ID] = s.at[i]
	}
	return at
}

// calmCost is what a move must bring where all is calm: the less the more peers there are, of whom each moves as rarely and
// matters less.
func (s *swarm) calmCost() int64 {
	n := int64(max(1, len(s.peers)))
	return min(busyCost, calmCost/(n*n))
}

// progress counts the moves of the plan that have been announced, and those that are yet to be done.
func (t *together) progress(s *swarm) (begun, left int) {
	for _, mv := range t.moves {
		i := s.index(mv.Peer)
		if i < 0 {
			continue
		}
		if s.at[i] == mv.To {
			begun++
		}
		if s.peers[i].Held != mv.To {
			left++
		}
	}
	return begun, left
}

// key tells placements of a swarm apart, where moves of a plan are taken as not made yet.
func (s *swarm) key(made []Move) uint64 {
	h := fnv.New64a()
	for i, p := range s.peers {
		at := s.at[i]
		if k := slices.IndexFunc(made, func(mv Move) bool { return mv.Peer == p.ID && mv.To == at }); k >= 0 {
			at = made[k].From
		}
		fmt.Fprintf(h, "%d %s %v;", len(p.ID), p.ID, at)
	}
	return h.Sum64()
}

// members tells swarms apart by who is there.
func (s *swarm) members() uint64 {
	h := fnv.New64a()
	for _, p := range s.peers {
		fmt.Fprintf(h, "%d %s;", len(p.ID), p.ID)
	}
	return h.Sum64()
}
