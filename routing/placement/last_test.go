package placement

import (
	"math/rand/v2"
	"testing"
)

func TestLasting_EqualsRatingEachDeath(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 3))
		v := made(rng, 1+rng.IntN(20), 1+rng.IntN(14))
		s := newSwarm(v, "")
		s.risk = deathShare
		m := s.measure()
		const one = 1 << 62
		sum, n := int64(0), int64(0)
		for i := range s.at {
			if s.at[i].Len() == 0 {
				continue
			}
			n++
			w := v
			w.Peers = nil
			for k, p := range s.peers {
				if k != i {
					w.Peers = append(w.Peers, p)
				}
			}
			if after := newSwarm(w, "").measure(); after.Gaps <= m.Gaps {
				sum += one / after.J
			}
		}
		want := m.Score
		if n > 0 {
			want.J = one / max(1, one/m.J/100*(100-deathShare)+sum/n/100*deathShare)
		}
		if got := s.lasting(m.Score, never); got != want {
			t.Errorf("seed %d: %v, want %v (now %v)", seed, got, want, m.Score)
		}
	}
}
