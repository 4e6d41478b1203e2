package placement

import (
	"math/rand/v2"
	"slices"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// Move is one step of a plan.
type Move struct {
	Peer     string
	From, To protocol.Span
}

// Plan finds moves, of one peer or several together, that make a swarm better by as much as they cost, by ruin and
// recreate on J, in an order in which each is safe by what is announced. The gain is in thousandths of J.
func Plan(v View) (moves []Move, gain int64) {
	s := newSwarm(v.coarse(), "")
	p := s.plan(true)
	return p.moves, p.gain
}

// plan searches from where the peers are announced to be, and takes a step only if the peers can go straight to where it
// comes. Each alone comes first. Of several together, most are tried roughly, with tau as it is, and only what seems better
// so is looked at closely. Where all is calm moves cost less, and nobody is expected to die.
func (s *swarm) plan(calm bool) (p plan) {
	begin := slices.Clone(s.at)
	defer func() { s.at = begin }()
	cost := int64(busyCost)
	if s.risk = deathShare; calm {
		cost, s.risk = s.calmCost(), 0
	}
	first := s.measure()
	r := rebuild{s: s, begin: begin, cost: cost, best: s.lasting(first.Score, never), plain: first.Score, tau: int64(first.Tau), seen: map[uint64]bool{}}
	r.from = slices.Clone(begin)
	take := func(plain, score Score) {
		if score.Compare(r.best) < 0 {
			most := first.Score
			most.J += most.J / 1000 * onTheWay
			if score.Gaps < most.Gaps { // on the way to that it may be worse, but not by more gaps
				most.J = never
			}
			if moves, ok := s.ordered(begin, most); ok {
				p.moves, r.best, r.plain = moves, score, plain
				r.tau = int64(s.measure().Tau)
				copy(r.from, s.at)
				return
			}
		}
		copy(s.at, r.from)
	}
	rng := rand.New(rand.NewPCG(jointSeed, uint64(s.layers)))
	free := s.free()
	for _, i := range free {
		take(r.closely([]int{i}))
	}
	for n := 0; n < jointRounds && len(free) > 1; n++ {
		out := some(free, rng)
		if r.roughly(out, rng) {
			take(r.closely(out))
		} else {
			copy(s.at, r.from)
		}
	}
	copy(s.at, r.from)
	p.gain = first.gain(s.measure().Score)
	return p
}

// rebuild takes peers out of a swarm and puts them back, where a place other than at the beginning has its price.
type rebuild struct {
	s     *swarm
	begin []protocol.Span
	from  []protocol.Span // the best so far
	best  Score           // of it, as it lasts
	plain Score           // of it, as it is
	tau   int64           // of it
	cost  int64           // of a move, in thousandths of J
	seen  map[uint64]bool
}

// priced is a score with so many moves.
func (r *rebuild) priced(score Score, moves int) Score {
	score.J += score.J / 1000 * r.cost * int64(moves)
	return score
}

// roughly puts peers back with tau as it is, and reports whether that looks better and new.
func (r *rebuild) roughly(out []int, rng *rand.Rand) bool {
	s := r.s
	s.ready()
	for _, i := range out {
		s.at[i] = protocol.Span{}
	}
	var score Score
	for range 2 {
		for _, i := range out {
			score = r.put(i, out, func(o *own, sp protocol.Span) Score { return o.with(sp, r.tau) }, s.weighed(i))
		}
	}
	score.J -= score.J / 1000 * roughly
	if score.Compare(r.plain) >= 0 {
		return false
	}
	key := s.fingerprint()
	if r.seen[key] {
		return false
	}
	r.seen[key] = true
	return true
}

// closely puts peers where they do the most good, each in turn, as the others may have changed what that is; and the last
// where that lasts. It returns the score as it is, and as it lasts.
func (r *rebuild) closely(out []int) (plain, lasting Score) {
	for _, i := range out {
		plain = r.put(i, out, (*own).at, r.s.without(i))
	}
	return r.settle(out[len(out)-1], plain)
}

// settle moves a peer from its best place, of which the score is known, to where it lasts best, among places that are nearly
// as good. What turns out to last no better than the best so far is not looked at to the end.
func (r *rebuild) settle(i int, best Score) (plain, lasting Score) {
	s := r.s
	if s.risk == 0 {
		return best, best
	}
	to, most := s.at[i], int64(never)
	for k, c := range r.nearly(i, best) {
		s.at[i] = c.span
		moves := len(differences(r.begin, s.at))
		if k == 0 && r.best.Gaps <= c.score.Gaps {
			most = r.best.J
		}
		l := r.priced(s.lasting(c.score, (most/(1000+r.cost*int64(moves))+1)*1000), moves)
		if k == 0 || l.Compare(lasting) < 0 {
			to, plain, lasting, most = c.span, r.priced(c.score, moves), l, l.J
		}
	}
	s.at[i] = to
	return plain, lasting
}

// nearly lists the places of a peer that are nearly as good as where it is, which is the best: that first, and where it was
// at the beginning.
func (r *rebuild) nearly(i int, best Score) (good []choice) {
	s := r.s
	o, at := s.without(i), s.at[i]
	best.J += best.J / 1000 * nearlyBest
	for _, sp := range append([]protocol.Span{at, r.begin[i]}, s.choices(i)...) {
		if s.at[i] = sp; sp.Len() == 0 {
			continue
		}
		score := o.at(sp)
		if r.priced(score, len(differences(r.begin, s.at))).Compare(best) <= 0 {
			good = append(good, choice{sp, score})
		}
	}
	s.at[i] = at
	return good
}

// put puts a peer where it does the most good; of equal places the first, but where it was at the beginning before all.
func (r *rebuild) put(i int, out []int, rate func(*own, protocol.Span) Score, o *own) (score Score) {
	s := r.s
	s.at[i] = r.begin[i]
	moves := len(differences(r.begin, s.at)) - r.emptied(out)
	score = r.priced(rate(o, s.at[i]), moves)
	for _, sp := range s.choices(i) {
		if c := r.priced(rate(o, sp), moves+1); c.Compare(score) < 0 {
			s.at[i], score = sp, c
		}
	}
	return score
}

// emptied counts the peers that are still out.
func (r *rebuild) emptied(out []int) (n int) {
	for _, i := range out {
		if r.s.at[i].Len() == 0 {
			n++
		}
	}
	return n
}

// free lists the peers that could be elsewhere and are not on the way.
func (s *swarm) free() (free []int) {
	for i, p := range s.peers {
		if len(s.choices(i)) > 1 && s.at[i].Len() > 0 && p.Held == p.Target {
			free = append(free, i)
		}
	}
	return free
}

// some takes one to four of them.
func some(free []int, rng *rand.Rand) []int {
	rng.Shuffle(len(free), func(a, b int) { free[a], free[b] = free[b], free[a] })
	return free[:min(len(free), 1+rng.IntN(4))]
}

// ruin takes a few peers out and puts them back where they do the most good, again and again, and keeps what is better.
func (s *swarm) ruin(best Score, rng *rand.Rand, rounds int) Score {
	free, from := s.free(), make([]protocol.Span, len(s.at))
	for range rounds {
		if len(free) == 0 {
			break
		}
		copy(from, s.at)
		if score := s.recreate(some(free, rng)); score.Compare(best) < 0 {
			best = score
			continue
		}
		copy(s.at, from)
	}
	return best
}

// recreate puts peers back, each where it does the most good, and again, as the others may have changed what that is.
func (s *swarm) recreate(out []int) (score Score) {
	for _, i := range out {
		s.at[i] = protocol.Span{}
	}
	for range 2 {
		for _, i := range out {
			c, _ := s.best(i, s.choices(i))
			s.at[i], score = c.span, c.score
		}
	}
	return score
}

// Search looks for the best placement by (gaps, J) from several beginnings: where the peers are, where [Place] puts them,
// and where they come to one by one. It is what rules are measured by, and far too slow for a node. It returns where each
// peer of the view would be, in the view's order, and the score.
func Search(v View, starts, rounds int) ([]protocol.Span, Score) {
	s := newSwarm(v, "")
	placed := Place(v)
	best, where := Score{Gaps: v.Layers + 1}, []protocol.Span(nil)
	for n := range starts {
		rng := rand.New(rand.NewPCG(jointSeed, uint64(n)))
		switch n {
		case 0:
			for k, p := range v.Peers {
				s.at[s.index(p.ID)] = placed[k]
			}
		case 1:
			for i, p := range s.peers {
				s.at[i] = clip(p.Target, s.layers)
			}
		default:
			clear(s.at)
		}
		if score := s.improve(rng, rounds); score.Compare(best) < 0 {
			best, where = score, slices.Clone(s.at)
		}
	}
	spans := make([]protocol.Span, len(v.Peers))
	for k, p := range v.Peers {
		spans[k] = where[s.index(p.ID)]
	}
	return spans, best
}

// improve puts those who are nowhere somewhere, and searches on.
func (s *swarm) improve(rng *rand.Rand, rounds int) Score {
	for _, i := range rng.Perm(len(s.peers)) {
		if s.at[i].Len() == 0 {
			if c, any := s.best(i, s.choices(i)); any {
				s.at[i] = c.span
			}
		}
	}
	return s.ruin(s.measure().Score, rng, rounds)
}

// ordered lists the moves from one placement to where the peers are, in an order in which each is safe by what is
// announced; of those that are, the one that leaves the swarm best. None may leave it worse than most. Not all placements can be reached so.
func (s *swarm) ordered(begin []protocol.Span, most Score) (moves []Move, ok bool) {
	end := s.at
	s.at = slices.Clone(begin)
	defer func() { s.at = end }()
	for left := differences(begin, end); len(left) > 0; {
		best, score := -1, Score{}
		for k, i := range left {
			if from := s.at[i]; s.spared(i, end[i]) {
				s.at[i] = end[i]
				if after := s.measure().Score; best < 0 || after.Compare(score) < 0 {
					best, score = k, after
				}
				s.at[i] = from
			}
		}
		if best < 0 || score.Compare(most) > 0 {
			return nil, false
		}
		i := left[best]
		s.at[i] = end[i]
		moves = append(moves, Move{s.peers[i].ID, begin[i], end[i]})
		left = slices.Delete(left, best, best+1)
	}
	return moves, true
}

// differences lists the peers that are elsewhere.
func differences(a, b []protocol.Span) (out []int) {
	for i := range a {
		if a[i] != b[i] {
			out = append(out, i)
		}
	}
	return out
}

// fingerprint tells placements of a swarm apart.
func (s *swarm) fingerprint() uint64 {
	const prime = 1099511628211
	h := uint64(14695981039346656037)
	for _, sp := range s.at {
		h = (h^uint64(sp.Start))*prime ^ uint64(sp.End)
		h *= prime
	}
	return h
}
