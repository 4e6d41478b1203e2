//go:build !race

// Go's race detector itself crashes on timers in a synctest bubble (golang/go#78156). The code under test runs under it
// elsewhere, in real time.

package sim_test

import (
	"flag"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/baichuan-node/baichuan-node/sim/virtual"
)

var (
	firstSeed = flag.Uint64("seed", 1, "of the first virtual swarm")
	seeds     = flag.Int("seeds", 5, "how many virtual swarms are played")
	nodes     = flag.Int("nodes", 12, "honest nodes of a virtual swarm")
	withKad   = flag.Bool("kad", false, "let the real DHT find the keepers of offers")
	notes     = flag.Bool("notes", false, "tell what happens")
	calm      = flag.Bool("calm", false, "let nothing happen")
)

func TestVirtual(t *testing.T) {
	m, err := virtual.NewModel(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	shape := virtual.Shape{Nodes: *nodes, Clients: 2, Kad: *withKad, Calm: *calm}
	for i := range *seeds {
		plan := virtual.Draw(*firstSeed+uint64(i), shape)
		t.Run(fmt.Sprint("seed=", plan.Seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { playVirtual(t, m, plan) })
		})
	}
}

// playVirtual plays a plan. What it prints of one that went wrong is enough to play it again.
func playVirtual(t *testing.T, m *virtual.Model, plan virtual.Plan) {
	report, err := virtual.Play(t.Context(), m, plan)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d answers, %d failed, %d failovers, %d moves, the longest took %v, messages %v",
		report.Answers, report.Failed, report.Failovers, report.Moves, report.Longest, report.Messages)
	for _, wrong := range report.Wrong {
		t.Error(wrong)
	}
	if t.Failed() || *notes {
		t.Log(plan)
		t.Log(strings.Join(report.Notes, "\n"))
	}
}
