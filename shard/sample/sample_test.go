package sample

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/baichuan-node/baichuan-node/kernels"
)

// vector is a case that a separate program (numpy, from NUMERICS alone) worked out.
type vector struct {
	Logits      []float32
	History     []uint32
	Temperature float32
	TopK        int     `json:"top_k"`
	TopP        float64 `json:"top_p"`
	Penalty     float32
	Candidates  []Candidate
	Draws       []struct {
		Seed     string
		Position int
		ID       uint32
	}
}

func (v vector) params() Params {
	return Params{Temperature: v.Temperature, TopK: v.TopK, TopP: v.TopP, Penalty: v.Penalty}
}

func TestCandidatesAndDraw_EqualVectorsMadeFromTheText(t *testing.T) {
	raw, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []vector
	if err := json.Unmarshal(raw, &vectors); err != nil {
		t.Fatal(err)
	}
	for i, v := range vectors {
		got := Candidates(v.Logits, v.History, v.params())
		if !slices.Equal(got, v.Candidates) {
			t.Errorf("vector %d: candidates\n got %v\nwant %v", i, got, v.Candidates)
		}
		for _, d := range v.Draws {
			seed, err := strconv.ParseUint(d.Seed, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			if id := Draw(got, v.params(), seed, d.Position); id != d.ID {
				t.Errorf("vector %d: seed %d, position %d: drew %d, want %d", i, seed, d.Position, id, d.ID)
			}
		}
	}
}

func TestUniform_IsSplitmix64(t *testing.T) {
	for _, c := range []struct {
		seed     uint64
		position int
		times53  uint64
	}{
		{0, 0, 2537880150861722},
		{0, 1, 5876733520225071},
		{1, 17, 8848061550497062},
		{42, 4095, 2350958116634632},
		{math.MaxUint64, 0, 2403545779318817},
		{0x0123456789abcdef, 1, 74290486869934},
	} {
		if got := uniform(c.seed, c.position); got != float64(c.times53)/(1<<53) {
			t.Errorf("seed %d, position %d: %v, want %d / 2^53", c.seed, c.position, got, c.times53)
		}
	}
	// The published first outputs of splitmix64 for the seed 1234567.
	state := uint64(1234567)
	for _, want := range []uint64{6457827717110365317, 3203168211198807973, 9817491932198370423} {
		state += golden
		if got := mix(state); got != want {
			t.Errorf("mix(%d) = %d, want %d", state, got, want)
		}
	}
}

func TestCandidates_OrderAndEdges(t *testing.T) {
	negZero := float32(math.Copysign(0, -1))
	all := Params{Temperature: 1, TopP: 1, Penalty: 1}
	with := func(change func(*Params)) Params {
		p := all
		change(&p)
		return p
	}
	for _, c := range []struct {
		name    string
		logits  []float32
		history []uint32
		params  Params
		want    []uint32
	}{
		{"no logits", nil, nil, all, nil},
		{"best first", []float32{1, 3, 2}, nil, all, []uint32{1, 2, 0}},
		{"equal logits: the lower id first", []float32{2, 1, 2, 1}, nil, all, []uint32{0, 2, 1, 3}},
		{"-0 equals +0", []float32{negZero, 0, negZero}, nil, all, []uint32{0, 1, 2}},
		{"temperature 0 keeps the best", []float32{1, 3, 3}, nil, Params{TopP: 1, Penalty: 1}, []uint32{1}},
		{"temperature under 2^-10 keeps the best", []float32{1, 3, 3}, nil,
			with(func(p *Params) { p.Temperature = 0x1.fffffep-11 }), []uint32{1}},
		{"temperature of 2^-10 samples", []float32{3, 3, 2.99}, nil,
			with(func(p *Params) { p.Temperature = 0x1p-10 }), []uint32{0, 1, 2}},
		{"top_k cuts ties by id", []float32{1, 1, 1, 1}, nil, with(func(p *Params) { p.TopK = 2 }), []uint32{0, 1}},
		{"top_k beyond the vocabulary", []float32{1, 2}, nil, with(func(p *Params) { p.TopK = 9 }), []uint32{1, 0}},
		{"top_p 0 keeps the best", []float32{1, 1}, nil, with(func(p *Params) { p.TopP = 0 }), []uint32{0}},
		{"top_p tiny keeps the best", []float32{1, 1}, nil, with(func(p *Params) { p.TopP = 1e-300 }), []uint32{0}},
		{"top_p met exactly", []float32{1, 1, 1, 1}, nil, with(func(p *Params) { p.TopP = 0.5 }), []uint32{0, 1}},
		{"top_p just missed", []float32{1, 1, 1, 1}, nil, with(func(p *Params) { p.TopP = 0.51 }), []uint32{0, 1, 2}},
		{"top_p 1 drops what weighs nothing", []float32{0, -100}, nil, all, []uint32{0}},
		{"top_p is of what top_k kept", []float32{1, 1, 1, 1}, nil,
			with(func(p *Params) { p.TopK, p.TopP = 2, 0.5 }), []uint32{0}},
		{"penalty divides what is positive", []float32{4, 3}, []uint32{0}, with(func(p *Params) { p.Penalty = 2 }), []uint32{1, 0}},
		{"penalty multiplies what is negative", []float32{-1, -1.5}, []uint32{0}, with(func(p *Params) { p.Penalty = 2 }), []uint32{1, 0}},
		{"penalty counts an id once", []float32{4, 1.5}, []uint32{0, 0, 0}, with(func(p *Params) { p.Penalty = 2 }), []uint32{0, 1}},
		{"history beyond the vocabulary", []float32{4, 3}, []uint32{2, math.MaxUint32}, with(func(p *Params) { p.Penalty = 2 }), []uint32{0, 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []uint32
			for _, x := range Candidates(c.logits, c.history, c.params) {
				got = append(got, x.ID)
				if x.Raw != c.logits[x.ID] {
					t.Errorf("token %d: raw logit %v, want %v", x.ID, x.Raw, c.logits[x.ID])
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("kept %v, want %v", got, c.want)
			}
		})
	}
}

func TestCandidates_KeepAtMost1024(t *testing.T) {
	logits := make([]float32, 5000)
	for _, k := range []int{0, -1, 1024, 1025, 100_000} {
		if n := len(Candidates(logits, nil, Params{Temperature: 1, TopK: k, TopP: 1, Penalty: 1})); n != MaxCandidates {
			t.Errorf("top_k %d kept %d, want %d", k, n, MaxCandidates)
		}
	}
}

// naive is Candidates with a full sort, written from NUMERICS without thought for speed.
func naive(logits []float32, history []uint32, p Params) []Candidate {
	all := make([]Candidate, len(logits))
	for i, l := range logits {
		all[i] = Candidate{uint32(i), l, l}
		if slices.Contains(history, uint32(i)) {
			all[i].Penalised = penalise(l, p.Penalty)
		}
	}
	slices.SortStableFunc(all, func(a, b Candidate) int {
		switch {
		case a.Penalised > b.Penalised:
			return -1
		case a.Penalised < b.Penalised:
			return 1
		}
		return 0
	})
	if p.Temperature < 0x1p-10 {
		return all[:min(1, len(all))]
	}
	k := p.TopK
	if k <= 0 || k > 1024 {
		k = 1024
	}
	all = all[:min(k, len(all))]
	total := 0.0
	for _, c := range all {
		total += weight(c, all[0], p)
	}
	sum := 0.0
	for i, c := range all {
		if sum += weight(c, all[0], p); sum >= p.TopP*total {
			return all[:i+1]
		}
	}
	return all
}

func weight(c, first Candidate, p Params) float64 {
	return float64(kernels.Exp(c.Penalised/p.Temperature - first.Penalised/p.Temperature))
}

func TestCandidates_EqualAFullSort(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 400 {
		logits := make([]float32, r.IntN(3000))
		coarse := r.IntN(2) == 0
		for i := range logits {
			logits[i] = float32(r.NormFloat64() * 4)
			if coarse {
				logits[i] = float32(math.Round(float64(logits[i])))
			}
		}
		history := make([]uint32, r.IntN(60))
		for i := range history {
			history[i] = r.Uint32N(uint32(len(logits)) + 2)
		}
		p := Params{
			Temperature: []float32{0, 0.3, 1, 2}[r.IntN(4)],
			TopK:        []int{0, 1, 5, 40, 1024, 2000}[r.IntN(6)],
			TopP:        []float64{0, 0.5, 0.85, 1}[r.IntN(4)],
			Penalty:     []float32{0.9, 1, 1.05, 1.5}[r.IntN(4)],
		}
		got, want := Candidates(logits, history, p), naive(logits, history, p)
		if !slices.Equal(got, want) {
			t.Fatalf("%d logits, %+v:\n got %v\nwant %v", len(logits), p, got, want)
		}
	}
}

func TestCandidates_ChangesNothingItIsGiven(t *testing.T) {
	logits, history := []float32{1, 5, 3}, []uint32{2, 1, 2}
	Candidates(logits, history, Params{Temperature: 1, TopP: 1, Penalty: 1.5})
	if !slices.Equal(logits, []float32{1, 5, 3}) || !slices.Equal(history, []uint32{2, 1, 2}) {
		t.Errorf("logits %v, history %v", logits, history)
	}
}

func TestDraw_FollowsTheWeights(t *testing.T) {
	p := Params{Temperature: 0.5, TopP: 1, Penalty: 1}
	c := Candidates([]float32{0, 0.5, -0.5, 0.25}, nil, p)
	total := 0.0
	for _, x := range c {
		total += weight(x, c[0], p)
	}
	const draws = 40_000
	count := map[uint32]int{}
	for position := range draws {
		count[Draw(c, p, 7, position)]++
	}
	for _, x := range c {
		share, want := float64(count[x.ID])/draws, weight(x, c[0], p)/total
		if math.Abs(share-want) > 0.01 { // 4 standard deviations
			t.Errorf("token %d was drawn %.3f of the time, want %.3f", x.ID, share, want)
		}
	}
}

func TestDraw_GreedyTakesTheFirst(t *testing.T) {
	c := []Candidate{{ID: 9, Penalised: 1}, {ID: 3, Penalised: 1}}
	for position := range 20 {
		if id := Draw(c, Params{Temperature: 0.0005, Penalty: 1, TopP: 1}, 3, position); id != 9 {
			t.Fatalf("drew %d, want 9", id)
		}
	}
}

func TestCandidatesAndDraw_SurviveWhatIsNotFinite(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	values := []float32{nan, inf, -inf, 0, math.MaxFloat32, -math.MaxFloat32, math.SmallestNonzeroFloat32}
	r := rand.New(rand.NewPCG(3, 4))
	for range 2000 {
		logits := make([]float32, 1+r.IntN(9))
		for i := range logits {
			logits[i] = values[r.IntN(len(values))]
		}
		p := Params{
			Temperature: values[r.IntN(len(values))], Penalty: values[r.IntN(len(values))],
			TopP: float64(values[r.IntN(len(values))]), TopK: r.IntN(4),
		}
		if c := Candidates(logits, []uint32{0, 2}, p); len(c) > 0 {
			Draw(c, p, r.Uint64(), r.IntN(100))
		}
	}
	if c := Candidates([]float32{nan, -inf, nan, 1}, nil, Params{Temperature: 1, TopK: 1, TopP: 1, Penalty: 1}); c[0].ID != 3 {
		t.Errorf("%d came before a number", c[0].ID)
	}
}

func TestValidate_NamesEveryFault(t *testing.T) {
	if err := (Params{Temperature: 0.3, TopK: 5, TopP: 0.85, Penalty: 1.05}).Validate(); err != nil {
		t.Error(err)
	}
	nan := math.NaN()
	for _, p := range []Params{{}, {Temperature: -1, TopP: 2, Penalty: 0}, {Temperature: float32(nan), TopP: nan, Penalty: float32(nan)}} {
		err := p.Validate()
		if err == nil {
			t.Errorf("%+v was accepted", p)
			continue
		}
		if p.TopP != 0 {
			for _, name := range []string{"temperature", "top_p", "penalty"} {
				if !strings.Contains(err.Error(), name) {
					t.Errorf("%+v: %v does not name %s", p, err, name)
				}
			}
		}
	}
}

func BenchmarkCandidates(b *testing.B) {
	r := rand.New(rand.NewPCG(5, 6))
	logits := make([]float32, 125_696)
	for i := range logits {
		logits[i] = float32(r.NormFloat64())
	}
	history := make([]uint32, 2000)
	for i := range history {
		history[i] = r.Uint32N(125_696)
	}
	for _, k := range []int{1, 5, 1024} {
		b.Run(strconv.Itoa(k), func(b *testing.B) {
			for b.Loop() {
				Candidates(logits, history, Params{Temperature: 0.3, TopK: k, TopP: 0.85, Penalty: 1.05})
			}
		})
	}
}
