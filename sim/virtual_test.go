//go:build !race

// Go's race detector itself crashes on timers in a synctest bubble (golang/go#78156). The code under test runs under it
// elsewhere, in real time.

package sim_test

import (
	"flag"
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/baichuan-node/baichuan-node/sim/virtual"
)

var (
	firstSeed = flag.Uint64("seed", 1, "of the first virtual swarm")
	seeds     = flag.Int("seeds", 5, "how many virtual swarms are played")
	nodes     = flag.Int("nodes", 12, "honest nodes of a virtual swarm")
	withKad   = flag.Bool("kad", false, "let the real DHT find the keepers of offers")
	notes     = flag.Bool("notes", false, "tell what happens")
	long      = flag.Bool("long", false, "measure larger swarms, too")
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

// The sizes of swarms whose directories' traffic is printed. Two of them are enough to see whether it grows.
func TestVirtual_DirectoryTrafficGrowsSlowerThanTheSquareOfTheLogarithm(t *testing.T) {
	t.Parallel()
	sizes := []int{10, 30}
	if *long {
		sizes = append(sizes, 100, 300)
	}
	var all []virtual.Traffic
	for _, n := range sizes {
		synctest.Test(t, func(t *testing.T) {
			traffic, err := virtual.MeasureDirectory(t.Context(), n, 3*time.Minute, trafficTime)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, traffic)
		})
	}
	t.Log("messages that a node sends in an hour, questions and answers")
	t.Log("| nodes | puts | lists | DHT | all | KiB | all / log2(n)^2 |")
	square := func(n int) float64 { return math.Log2(float64(n)) * math.Log2(float64(n)) }
	for i, x := range all {
		t.Logf("| %d | %.0f | %.0f | %.0f | %.0f | %.0f | %.0f |", x.Nodes, x.Puts, x.Lists, x.Kad, x.Messages(), x.KiB, x.Messages()/square(x.Nodes))
		for _, y := range all[:i] {
			if grows, bound := x.Messages()/y.Messages(), square(x.Nodes)/square(y.Nodes); grows > bound {
				t.Errorf("from %d to %d nodes the messages of a node grow %.1f times, log2(n)^2 grows %.1f times", y.Nodes, x.Nodes, grows, bound)
			}
		}
	}
}

// trafficTime is how long a swarm's traffic is counted: a whole number of the times after which lookups are made anew, which
// are 5 and 10 minutes.
const trafficTime = 10 * time.Minute
