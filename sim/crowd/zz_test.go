package crowd

import (
	"slices"
	"testing"
	"time"
)

func TestY(t *testing.T) {
	for _, n := range []int{0, 5, 20, 50, 100} {
		var r []float64
		for seed := range uint64(40) {
			p, took := Trial{Seed: seed, Servers: 24, Layers: 32, Clients: n, Within: 8 * time.Second, Rounds: 4}.Prediction()
			r = append(r, float64(p)/float64(took))
		}
		slices.Sort(r)
		t.Logf("%d clients: %.2f %.2f %.2f %.2f %.2f", n, r[0], r[4], r[20], r[35], r[39])
	}
}
