package placement

import (
	"slices"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// whole stands for 1 where parts of it are added up: for 1/J.
const whole = 1 << 62

// lasting rates a placement, whose score as it is is known, by what it is also worth after the death of any one peer: J is
// such that 1/J, the tokens that are made, is the mean of both. It stops as soon as J is more than most.
func (s *swarm) lasting(now Score, most int64) Score {
	if s.risk == 0 || len(s.peers) > maxJoint {
		return now
	}
	s.list(-1)
	s.load.count(s, -1)
	f := &s.fates
	f.time(s)
	sum := f.look(s, now.Gaps)
	mean := func() Score {
		worth := whole/now.J/100*(100-s.risk) + sum/int64(len(f.after))/100*s.risk
		return Score{Gaps: now.Gaps, J: whole / max(1, worth)}
	}
	if len(f.after) == 0 {
		return now
	}
	for _, a := range f.after {
		if mean().J > most {
			break
		}
		sum += a.worth(s, now.Gaps, f.tau(s, a.dead, true)) - a.most
	}
	return mean()
}

// fates are what deaths lead to. Only clients whose chains led through a peer miss it.
type fates struct {
	pass  pass
	least []int64  // time of each client, and of the peer that takes the place of one that dies
	used  []uint64 // the peers of its chain, a bit each
	after []after
}

// after is what is left of a swarm without a peer.
type after struct {
	dead, gaps, singles int
	lambda              int64
	most                int64 // what that is worth, if the others' chains are no slower
}

// worth is 1/J; nothing, if layers have lost their last holder.
func (a *after) worth(s *swarm, gaps int, tau int64) int64 {
	if a.gaps > gaps {
		return 0
	}
	return whole / s.score(a.gaps, a.singles, a.lambda, tau).J
}

// time finds each client's chain.
func (f *fates) time(s *swarm) {
	f.least, f.used = f.least[:0], f.used[:0]
	for k := range len(s.probes) + 1 {
		if client := s.probe(k); client != nil {
			f.pass.forward(s, client)
			f.least, f.used = append(f.least, f.pass.whole), append(f.used, f.pass.chain(s, client))
		}
	}
}

// look finds what each death leaves, and the sum of what that is worth at most.
func (f *fates) look(s *swarm, gaps int) (sum int64) {
	f.after = f.after[:0]
	for i, sp := range s.at {
		if sp.Len() > 0 {
			a := s.load.after(s, i)
			a.most = a.worth(s, gaps, f.tau(s, i, false))
			f.after = append(f.after, a)
			sum += a.most
		}
	}
	return sum
}

// probe is a client; after the last, the peer that would be the next of them, if there is one.
func (s *swarm) probe(k int) []int64 {
	if k < len(s.probes) {
		return s.probes[k]
	}
	return s.spare
}

// tau is the mean of the clients' least times without a peer, or what it can't be below. If the peer was one of them, the
// next takes its place.
func (f *fates) tau(s *swarm, dead int, exact bool) int64 {
	sum, n, listed := int64(0), int64(0), false
	peers := len(s.probes) - len(s.probing) // the first that is a peer
	for k := range s.probes {
		if k >= peers && s.probing[k-peers] == dead {
			if s.spare == nil {
				continue
			}
			k = len(s.probes)
		}
		n++
		if !exact || f.used[k]&(1<<dead) == 0 {
			sum += f.least[k]
			continue
		}
		if !listed {
			s.list(dead)
			listed = true
		}
		f.pass.forward(s, s.probe(k))
		sum += f.pass.whole
	}
	return sum / max(1, n)
}

// chain finds the peers that a client's chain leads through, a bit each, after forward; all, if that can't be told.
func (p *pass) chain(s *swarm, client []int64) (used uint64) {
	const all = ^uint64(0)
	last := &p.from[s.layers]
	if last.n == 0 {
		return 0
	}
	at, t, found := last.before(client, p.whole)
	for layer := s.layers - 1; layer >= 0 && found; layer-- {
		if len(s.holders[layer]) == 0 {
			t -= int64(gapCost)
			continue
		}
		used |= 1 << at
		t -= s.step[at]
		switch from := &p.from[layer]; {
		case layer > s.at[at].Start && from.has(at, t): // it has computed the layer before, too
		case from.n > 0:
			at, t, found = from.before(s.delay[at], t-int64(hopCost))
		default:
			return used
		}
	}
	if !found {
		return all
	}
	return used
}

// before is the source from which one gets somewhere at a time.
func (s *sources) before(ways []int64, time int64) (peer int, at int64, found bool) {
	for _, b := range s.best[:s.n] {
		if b.time+ways[b.peer] == time {
			return b.peer, b.time, true
		}
	}
	return 0, 0, false
}

// has reports whether a peer is one of the sources, with a time.
func (s *sources) has(peer int, time int64) bool {
	for _, b := range s.best[:s.n] {
		if b.peer == peer {
			return b.time == time
		}
	}
	return false
}

// after is what the layers have when a peer is gone.
func (l *load) after(s *swarm, dead int) after {
	a := after{dead: dead}
	sp := s.at[dead]
	w := s.weight(dead, sp.Len())
	for x, n := range l.holders {
		rate := l.rate[x]
		if x >= sp.Start && x < sp.End {
			rate, n = rate-w, n-1
		}
		switch n {
		case 0:
			a.gaps++
			continue
		case 1:
			a.singles++
		}
		if a.lambda == 0 || rate < a.lambda {
			a.lambda = rate
		}
	}
	return a
}

// bestLasting finds a newcomer's place: of those that are nearly as good as the best, the one that lasts best.
func (s *swarm) bestLasting(peer int, choices []protocol.Span) (protocol.Span, bool) {
	best, any := s.best(peer, choices)
	if !any {
		return protocol.Span{}, false
	}
	s.risk = deathShare
	s.knows(peer, choices)
	r := rebuild{s: s, begin: slices.Clone(s.at), best: Score{Gaps: s.layers + 1}}
	defer func() { copy(s.at, r.begin) }()
	s.at[peer] = best.span
	r.settle(peer, best.score)
	return s.at[peer], true
}
