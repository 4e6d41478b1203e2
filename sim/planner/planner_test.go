package planner

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// TestWorld_NoMoveOpensAGap: in small swarms that are hardly enough for the model, whose members come and go and half of
// whose views are wrong, what moves give up is held by somebody else.
func TestWorld_NoMoveOpensAGap(t *testing.T) {
	moves := 0
	for seed := range uint64(16) {
		rng := rand.New(rand.NewPCG(seed, 11))
		d := NewDraw(8+rng.IntN(17), 3+rng.IntN(4), seed)
		w := newWorld(d, seed)
		w.wrong = 50
		for _, p := range d.Peers {
			w.join(p, protocol.Span{})
			w.run(40*time.Second, nil)
		}
		for range 4 {
			w.run(4*time.Minute, nil)
			w.event(len(d.Peers))
		}
		if w.opened > 0 {
			t.Errorf("seed %d: %d gaps", seed, w.opened)
		}
		moves += w.moves
	}
	if moves < 20 {
		t.Errorf("only %d moves: that shows little", moves)
	}
}

// TestWorld_ComesToRest: where nothing happens any more, nobody moves any more, and what could be served is.
func TestWorld_ComesToRest(t *testing.T) {
	for seed := range uint64(6) {
		d := NewDraw(16, 5, seed)
		w := newWorld(d, seed)
		capacity := 0
		for _, p := range d.Peers {
			w.join(p, protocol.Span{})
			capacity += p.Layers
		}
		w.run(2*time.Hour, nil)
		moves := w.moves
		w.run(time.Hour, nil)
		if w.moves != moves {
			t.Errorf("seed %d: %d moves in the third hour", seed, w.moves-moves)
		}
		if w.gaps() > 0 && capacity >= 2*d.Layers {
			t.Errorf("seed %d: %d layers lack a holder", seed, w.gaps())
		}
	}
}

// TestWorld_HealsWithinAMinute: when the only holder of some layers dies, others go there as soon as its offer has ended.
func TestWorld_HealsWithinAMinute(t *testing.T) {
	d := NewDraw(8, 4, 1)
	for i, k := range []int{4, 4, 4, 4} {
		d.Peers[i].Layers, d.Peers[i].Rate = k, 400
	}
	w := newWorld(d, 1)
	for i, a := range []int{0, 0, 0, 4} {
		w.join(d.Peers[i], protocol.Span{Start: a, End: a + 4})
	}
	w.run(time.Minute, nil)
	moved := w.moves
	for _, n := range w.nodes {
		if n.self.Held.Start == 4 {
			w.kill(n)
			break
		}
	}
	w.run(offerLife+readAge+quickest(4)+slotsOf(3), nil)
	if w.gaps() > 0 || w.moves > moved+1 || w.opened > 0 {
		t.Errorf("%d layers lack a holder after %d moves", w.gaps(), w.moves-moved)
	}
}

// quickest is what loading so many layers takes; slotsOf the turns of so many peers.
func quickest(layers int) time.Duration { return loadFirst + time.Duration(layers)*loadLayer }
func slotsOf(peers int) time.Duration   { return time.Duration(peers) * 5 * time.Second }

// TestPlacement_MeetsItsBarsInAFewDraws plays a little of the report; all of it is a benchmark.
func TestPlacement_MeetsItsBarsInAFewDraws(t *testing.T) {
	r := newReport(context.Background(), Config{Draws: 2})
	r.fromScratch(32, 10)
	r.timePerToken(32, 16)
	for _, f := range r.figures {
		if f.Missed() && f.Name != "ms" {
			t.Error(f)
		}
	}
	if len(r.figures) != 8 {
		t.Errorf("%d figures", len(r.figures))
	}
}

func TestFigure_SaysOnWhichSideOfItsBarItIs(t *testing.T) {
	for _, c := range []struct {
		f    Figure
		want string
	}{
		{Figure{Trial: "a", Name: "b", Value: 0.5, Bar: 0.4}, ">= 0.40  ok"},
		{Figure{Value: 0.5, Bar: 0.6}, "MISSED"},
		{Figure{Value: 0.5, Bar: 0.6, Most: true}, "<= 0.60  ok"},
		{Figure{Value: 1, Most: true}, "<= 0.00  MISSED"},
		{Figure{Value: 0.5, Free: true}, "0.500"},
	} {
		if got := c.f.String(); !strings.HasSuffix(got, c.want) {
			t.Errorf("%q, want %q at its end", got, c.want)
		}
	}
}

// The benchmarks print the report's figures beside their bars, and fail where all draws miss one:
//
//	go test -run none -bench 'Place|Joins|TimePerToken|Churn' -benchtime 1x -timeout 2h ./sim/planner [-draws 5] [-events 12]

func BenchmarkPlace(b *testing.B)        { playSizes(b, Sizes(), (*report).fromScratch) }
func BenchmarkJoins(b *testing.B)        { playSizes(b, joinSizes(), (*report).oneByOne) }
func BenchmarkTimePerToken(b *testing.B) { playSizes(b, tokenSizes(), (*report).timePerToken) }

func BenchmarkChurn(b *testing.B) {
	fates := newReport(b.Context(), config()).fates()
	for _, every := range churnTimes() {
		b.Run(every.String(), func(b *testing.B) { play(b, func(r *report) { r.churn(fates, every) }) })
	}
}

func playSizes(b *testing.B, sizes [][2]int, trial func(r *report, layers, servers int)) {
	for _, size := range sizes {
		name := fmt.Sprintf("%dlayers-%dservers", size[0], size[1])
		b.Run(name, func(b *testing.B) { play(b, func(r *report) { trial(r, size[0], size[1]) }) })
	}
}

func config() Config { return Config{Draws: *drawsFlag, Events: *eventsFlag} }

func play(b *testing.B, trial func(*report)) {
	for b.Loop() {
		r := newReport(b.Context(), config())
		trial(r)
		for _, f := range r.figures {
			b.ReportMetric(f.Value, strings.ReplaceAll(f.Name, " ", "_"))
			if f.Missed() && r.cfg.Draws == drawsEach {
				b.Error(f)
				continue
			}
			b.Log(f)
		}
	}
}

var (
	drawsFlag  = flag.Int("draws", 0, "swarms of each size in the benchmarks; 0: all 25")
	eventsFlag = flag.Int("events", 0, "of churn in each swarm; 0: 24")
)
