package crowd

import (
	"testing"
	"time"
)

func TestX(t *testing.T) {
	sum := map[string]float64{}
	for seed := range uint64(8) {
		base := Trial{Seed: seed, Servers: 24, Layers: 32, Clients: 100, Within: 8 * time.Second}
		run := func(name string, change func(*Trial)) float64 {
			x := base
			change(&x)
			v := x.TokensPerSecond()
			sum[name] += v
			return v
		}
		t.Logf("%d: stale %.0f  1: %.0f 2: %.0f 4: %.0f oracle %.0f settled %.0f", seed,
			run("stale", func(*Trial) {}), run("1", func(x *Trial) { x.Rounds = 1 }), run("2", func(x *Trial) { x.Rounds = 2 }),
			run("4", func(x *Trial) { x.Rounds = 4 }), run("oracle", func(x *Trial) { x.Oracle = true }), run("settled", func(x *Trial) { x.Oracle = true; x.Settle = true }))
	}
	t.Log(sum)
}
