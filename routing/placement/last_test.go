package placement

import (
	"math/rand/v2"
	"testing"
)

// TestLasting_EqualsRatingEachDeath: that only some chains are timed anew changes nothing.
func TestLasting_EqualsRatingEachDeath(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 3))
		v := made(rng, 1+rng.IntN(20), 1+rng.IntN(14))
		s := newSwarm(v, "")
		s.risk = deathShare
		now := s.measure().Score
		sum := int64(0)
		for i := range s.peers {
			dead := v
			dead.Peers = nil
			for k, p := range s.peers {
				if k != i {
					dead.Peers = append(dead.Peers, p)
				}
			}
			if after := newSwarm(dead, "").measure().Score; after.Gaps <= now.Gaps {
				sum += whole / after.J
			}
		}
		worth := whole/now.J/100*(100-deathShare) + sum/int64(len(s.peers))/100*deathShare
		want := Score{Gaps: now.Gaps, J: whole / max(1, worth)}
		if got := s.lasting(now, never); got != want {
			t.Errorf("seed %d: %v, want %v (now %v)", seed, got, want, now)
		}
		if got := s.lasting(now, want.J/2); got.J <= want.J/2 || got.J > want.J {
			t.Errorf("seed %d: of at most %d it makes %d, of %d", seed, want.J/2, got.J, want.J)
		}
	}
}
