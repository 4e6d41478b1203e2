package crowd

import (
	"math"
	"slices"
	"testing"
	"time"
)

// A hundred clients come within 8 s to 24 servers, with offers that are up to 15 s old. Those that repair their chains by what
// their peers say when they are opened get what clients get who know at any moment how busy everybody is, and nearly what
// clients get that go over to better chains for nothing besides.
func TestTrial_ACrowdThatRepairsGetsWhatPerfectKnowledgeGives(t *testing.T) {
	const seeds = 4
	var stale, repaired, oracle, settled float64
	for seed := range uint64(seeds) {
		get := func(change func(*Trial)) float64 {
			x := Trial{Seed: seed, Servers: 24, Layers: 32, Clients: 100, Within: 8 * time.Second}
			change(&x)
			return x.TokensPerSecond() / seeds
		}
		stale += get(func(*Trial) {})
		repaired += get(func(x *Trial) { x.Rounds = 4 })
		oracle += get(func(x *Trial) { x.Oracle = true })
		settled += get(func(x *Trial) { x.Oracle, x.Settle = true, true })
	}
	t.Logf("%.0f tokens/s by offers alone, %.0f with four rounds of repair, %.0f with a live oracle, %.0f if clients settle for nothing besides",
		stale, repaired, oracle, settled)
	if repaired < 0.95*oracle {
		t.Errorf("%.0f tokens/s are %.3f of the oracle's", repaired, repaired/oracle)
	}
	if repaired < 0.92*settled {
		t.Errorf("%.0f tokens/s are %.3f of what there is at best", repaired, repaired/settled)
	}
	if stale > 0.95*repaired {
		t.Errorf("by offers alone it is %.0f: the trial shows nothing", stale)
	}
}

// What a token is predicted to take is within a fifth of what it takes then, alone and in a crowd.
func TestTrial_PredictionsComeTrue(t *testing.T) {
	var off []float64
	for _, clients := range []int{0, 5, 20, 60} {
		for seed := range uint64(12) {
			x := Trial{Seed: 100 + seed, Servers: 24, Layers: 32, Clients: clients, Within: 8 * time.Second, Rounds: 4}
			predicted, took := x.Prediction()
			off = append(off, math.Abs(predicted.Seconds()/took.Seconds()-1))
		}
	}
	slices.Sort(off)
	n := len(off)
	t.Logf("predictions are off by %.0f %% (median), %.0f %% (nine in ten), %.0f %% (at most)", 100*off[n/2], 100*off[n*9/10], 100*off[n-1])
	if off[n/2] > 0.1 || off[n*9/10] > 0.2 {
		t.Errorf("predictions are off by more than they may be: %.2f", off)
	}
}

func TestTrial_IsTheSameEachTime(t *testing.T) {
	x := Trial{Seed: 3, Servers: 12, Layers: 32, Clients: 20, Within: 4 * time.Second, Rounds: 4}
	if a, b := x.TokensPerSecond(), x.TokensPerSecond(); a != b {
		t.Errorf("%v tokens/s, and then %v", a, b)
	}
}

func TestLonger_FollowsWhatWasMeasured(t *testing.T) {
	for _, c := range []struct{ rows, gain, want float64 }{{1, 0.19, 1}, {8, 0.19, 1.85}, {48, 0.19, 9.24}, {1, 0.03, 1}, {8, 0.03, 1.045}} {
		if got := longer(c.rows, c.gain); math.Abs(got-c.want) > 0.01 {
			t.Errorf("%v rows at a gain of %v take %.3f, want %.3f", c.rows, c.gain, got, c.want)
		}
	}
}
