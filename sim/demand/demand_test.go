package demand

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/baichuan-node/baichuan-node/kernels/probe"
	"github.com/baichuan-node/baichuan-node/shard/checkpoint/synthetic"
	"github.com/baichuan-node/baichuan-node/shard/measure"
)

func TestQuantile_IsTheSmallestValueThatAShareDoesNotExceed(t *testing.T) {
	var hundred []float64
	for i := range 100 {
		hundred = append(hundred, float64(100-i))
	}
	for _, tc := range []struct {
		values []float64
		share  float64
		want   float64
	}{{nil, 0.5, 0}, {[]float64{7}, 0.95, 7}, {hundred, 0.5, 50}, {hundred, 0.95, 95}, {hundred, 1, 100}, {[]float64{3, 1, 2}, 0.5, 2}} {
		if got := quantile(tc.values, tc.share); got != tc.want {
			t.Errorf("%v of %d values: %v, want %v", tc.share, len(tc.values), got, tc.want)
		}
	}
	if !slices.IsSortedFunc(hundred, func(a, b float64) int { return int(b - a) }) {
		t.Error("the values have been moved")
	}
}

func TestPasses_AreReadAndSubtracted(t *testing.T) {
	text := `# HELP baichuan_node_batch_rows Tokens computed in one pass.
baichuan_node_batch_rows_bucket{le="1"} 5
baichuan_node_batch_rows_bucket{le="2"} 5
baichuan_node_batch_rows_bucket{le="4"} 9
baichuan_node_batch_rows_bucket{le="+Inf"} 10
baichuan_node_batch_rows_sum 35
baichuan_node_batch_rows_count 10
baichuan_node_pass_seconds_sum 0.5
go_info{version="go1.26"} 1
`
	p, err := parsePasses(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	want := []Size{{"1", 5}, {"2", 0}, {"4", 4}, {"+Inf", 1}}
	if p.Passes != 10 || p.Tokens != 35 || p.Time != 0.5 || p.Mean() != 3.5 || !slices.Equal(p.Sizes, want) {
		t.Errorf("%+v", p)
	}
	if none := p.since(p); none.Passes != 0 || none.Tokens != 0 || none.Sizes[2].Passes != 0 || none.Sizes[2].UpTo != "4" {
		t.Errorf("nothing has happened since: %+v", none)
	}
	if two := (Passes{}).plus(p).plus(p); two.Passes != 20 || two.Sizes[0] != (Size{"1", 10}) {
		t.Errorf("of two nodes: %+v", two)
	}
	if _, err := parsePasses(strings.NewReader("go_goroutines 8\n")); err == nil {
		t.Error("metrics that tell nothing of passes were read")
	}
}

// answerOf is an answer that has ended, with tokens at some milliseconds after it was asked for.
func answerOf(a *asker, ids []uint32, at ...int) *answer {
	x := &answer{asker: a, prompt: a.prompt, ids: ids, begun: time.Unix(100, 0), ended: make(chan struct{})}
	for _, ms := range at {
		x.at = append(x.at, x.begun.Add(time.Duration(ms)*time.Millisecond))
	}
	close(x.ended)
	return x
}

func TestAnswer_GapsAreThoseOfATime(t *testing.T) {
	x := answerOf(&asker{}, nil, 100, 110, 130, 160, 200)
	after := func(ms int) time.Time { return x.begun.Add(time.Duration(ms) * time.Millisecond) }
	for _, tc := range []struct {
		from, until int
		want        []float64
	}{{0, 1000, []float64{0.01, 0.02, 0.03, 0.04}}, {115, 135, []float64{0.02, 0.03}}, {201, 300, nil}} {
		if got := x.gaps(after(tc.from), after(tc.until)); !slices.Equal(got, tc.want) {
			t.Errorf("from %d until %d: %v, want %v", tc.from, tc.until, got, tc.want)
		}
	}
	if got := pace(x.gaps(x.begun, after(1000))); math.Abs(got-40) > 1e-9 {
		t.Errorf("%v tokens/s, want 40", got)
	}
	if got := x.first(); got != 0.1 {
		t.Errorf("the first token came after %v s", got)
	}
}

func TestAnswer_ThatDependsOnOthersIsAnError(t *testing.T) {
	a := &asker{number: 3, prompt: []uint32{1}}
	for _, tc := range []struct {
		ids []uint32
		ok  bool
	}{{[]uint32{5, 6}, true}, {[]uint32{5, 6, 7, 8}, true}, {[]uint32{5}, true}, {[]uint32{5, 6, 7, 9, 10}, false}} {
		if err := answerOf(a, tc.ids, 1).end(); (err == nil) != tc.ok || err != nil && !strings.Contains(err.Error(), "client 3") {
			t.Errorf("ids %v: %v", tc.ids, err)
		}
	}
	other := answerOf(a, []uint32{9}, 1)
	other.prompt = []uint32{2}
	if err := other.end(); err != nil {
		t.Errorf("another question: %v", err)
	}
	if err := answerOf(a, nil).end(); err == nil {
		t.Error("an answer without tokens is none")
	}
}

func TestFigure_StandsBesideTheLimitOfOnePass(t *testing.T) {
	shape, err := synthetic.Preset("small-7b")
	if err != nil {
		t.Fatal(err)
	}
	m, err := measure.Synthetic("tiny", shape, "nf4")
	if err != nil {
		t.Fatal(err)
	}
	w := measure.DecodeWork(m.Manifest, 8)
	// Reading takes 1/10 s, computing 1/100 s of the peak.
	limits := probe.Limits{Read: 10 * float64(w.Bytes), Integer: 100 * float64(w.Integer), Float: 1}
	c := &course{cfg: Config{Probe: probe.New("cpu/generic", 1), Swarm: &Swarm{Model: m}}}
	of := func(tokens float64) turn {
		return turn{clients: 8, tokens: tokens, first: []float64{1}, gaps: []float64{0.1}, limits: limits}
	}
	one := turn{clients: 1, tokens: 10, limits: limits}
	f := c.figure([]turn{of(40), of(20), of(50)}, []turn{one, one, one})
	near := func(got, want float64) bool { return math.Abs(got-want) < 1e-6*want }
	if !near(f.Limit, 80) || f.By != measure.ByMemory || !near(f.Memory, 80) || !near(f.Compute, 600) {
		t.Errorf("limits %+v", f)
	}
	if f.Tokens != 40 || f.Times != 4 || !near(f.Below, 2) || f.First != 1 || f.Gap != 0.1 {
		t.Errorf("figure %+v", f)
	}
	limits.Read = 1e18
	if f = c.figure([]turn{of(40)}, []turn{one}); f.By != measure.ByArithmetic || !near(f.Below, 15) {
		t.Errorf("where memory is fast: %+v", f)
	}
}

func TestSomeIDs_AreInTheVocabularyAndOfEachSeedOthers(t *testing.T) {
	for _, vocab := range []int{4096, 31424} {
		a, b := someIDs(2000, 1, vocab), someIDs(2000, 2, vocab)
		if slices.Max(a) >= uint32(vocab) || slices.Min(a) < 300 || slices.Equal(a[:32], b[:32]) {
			t.Errorf("vocabulary %d: ids %v and %v", vocab, a[:8], b[:8])
		}
	}
}
