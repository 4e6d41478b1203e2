package placement

import (
	"math/rand/v2"
	"slices"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// Move is one step of a plan.
type Move struct {
	Peer string
	To   protocol.Span
}

// Plan finds moves of several peers that together make a swarm better where no single one does: ruin and recreate on J.
// They come in an order in which each is safe by what is announced. Its gain is in thousandths of J.
func Plan(v View) (moves []Move, gain int64) {
	s := newSwarm(v.coarse(), "")
	return s.plan()
}

func (s *swarm) plan() ([]Move, int64) {
	begin := slices.Clone(s.at)
	now := s.measure().Score
	s.ruin(now, rand.New(rand.NewPCG(jointSeed, uint64(s.layers))), jointRounds)
	s.undo(begin)
	moves := s.ordered(begin)
	end := s.measure().Score
	s.at = begin
	if len(moves) == 0 {
		return nil, 0
	}
	return moves, now.gain(end)
}

// ruin takes a few peers out and puts them back where they do the most good, again and again, and keeps what is better.
func (s *swarm) ruin(best Score, rng *rand.Rand, rounds int) Score {
	var free []int
	for i := range s.peers {
		if len(s.choices(i)) > 1 && s.at[i].Len() > 0 {
			free = append(free, i)
		}
	}
	if len(free) == 0 {
		return best
	}
	from := make([]protocol.Span, len(s.at))
	for range rounds {
		copy(from, s.at)
		rng.Shuffle(len(free), func(a, b int) { free[a], free[b] = free[b], free[a] })
		if score := s.recreate(free[:min(len(free), 1+rng.IntN(4))]); score.Compare(best) < 0 {
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
			c, _ := s.best(i, s.choices(i), nil)
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
			if c, any := s.best(i, s.choices(i), nil); any {
				s.at[i] = c.span
			}
		}
	}
	return s.ruin(s.measure().Score, rng, rounds)
}

// undo takes back what is not worth a reload.
func (s *swarm) undo(begin []protocol.Span) {
	score := s.measure().Score
	for i, to := range s.at {
		if to == begin[i] {
			continue
		}
		s.at[i] = begin[i]
		if back := s.measure().Score; back.gain(score) < jointWorth {
			score = back
			continue
		}
		s.at[i] = to
	}
}

// ordered goes back to the beginning and moves one by one, each time the peer whose move is safe and leaves the swarm best.
// Moves that never become safe are left out.
func (s *swarm) ordered(begin []protocol.Span) (moves []Move) {
	end := s.at
	s.at = slices.Clone(begin)
	for {
		best, score := -1, Score{}
		for i, to := range end {
			if from := s.at[i]; from != to && s.spared(i, to) {
				s.at[i] = to
				if after := s.measure().Score; best < 0 || after.Compare(score) < 0 {
					best, score = i, after
				}
				s.at[i] = from
			}
		}
		if best < 0 {
			return moves
		}
		s.at[best] = end[best]
		moves = append(moves, Move{s.peers[best].ID, end[best]})
	}
}
