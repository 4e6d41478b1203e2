package client_test

import (
	"testing"
	"time"

	"github.com/baichuan-node/baichuan-node/client"
)

// TestSwarm_TellsWhereTheTimeOfEachTokenWent has a hop die in the middle of an answer. Whatever happens, what is told of a step
// is what was seen of it.
func TestSwarm_TellsWhereTheTimeOfEachTokenWent(t *testing.T) {
	w := newSwarm(t, thirds...)
	c, _ := w.talk(client.SessionConfig{}, func(step int, chain []client.HopInfo) {
		if step == 6 {
			w.of(chain[1].Peer).kill()
		}
	})
	stalled, computed := -1, time.Duration(0)
	for chunk, err := range c.Generate(t.Context(), someIDs(100), drawn(12)) {
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range chunk.News.Steps {
			sum, layer := s.Stall, 0
			for _, h := range s.Hops {
				if h.Layers.Start != layer || h.Queue < 0 || h.Compute < 0 || h.Network < 0 {
					t.Errorf("token %d: hop %+v", s.Token, h)
				}
				layer = h.Layers.End
				sum += h.Queue + h.Compute + h.Network
				computed += h.Compute
			}
			if off := s.Took - sum; layer != 4 || off < 0 || off > time.Microsecond {
				t.Errorf("token %d: it took %v, and its parts %v (%v)", s.Token, s.Took, sum, s.Hops)
			}
			if s.Stall > 0 {
				stalled = s.Token
			}
		}
	}
	if stalled != 5 || computed <= 0 {
		t.Errorf("token %d was held up, want 5; computing took %v", stalled, computed)
	}
}
