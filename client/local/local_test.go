package local

import (
	"bytes"
	"context"
	"errors"
	"math"
	"os"
	"slices"
	"testing"

	"github.com/baichuan-node/baichuan-node/client"
	"github.com/baichuan-node/baichuan-node/kernels"
	"github.com/baichuan-node/baichuan-node/shard"
	"github.com/baichuan-node/baichuan-node/shard/checkpoint"
	"github.com/baichuan-node/baichuan-node/shard/checkpoint/synthetic"
	"github.com/baichuan-node/baichuan-node/shard/sample"
	"github.com/baichuan-node/baichuan-node/shard/store"
)

const layers, vocab = 2, 2048

// tiny imports a made-up model of two layers.
func tiny(t *testing.T, position, weights string) *store.Model {
	t.Helper()
	spm, err := os.ReadFile("../../shard/tokenizer/testdata/bpe-2048.model")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := synthetic.Write(dir, synthetic.Spec{
		Vocab: vocab, Hidden: 64, Intermediate: 128, Layers: layers, Heads: 2, Context: 700,
		Position: position, NormHead: true, Seed: 1, Tokenizer: spm,
	}); err != nil {
		t.Fatal(err)
	}
	c, err := checkpoint.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	m, err := store.Import(t.Context(), s, c, store.ImportOptions{Name: "tiny", Weights: weights})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// load loads layers of a model, until the test ends.
func load(t *testing.T, m *store.Model, start, end int) *shard.Shard {
	t.Helper()
	dev := kernels.NewCPU(1)
	s, err := shard.Load(t.Context(), m, store.Span{Start: start, End: end}, dev, shard.Config{CacheTokens: 2048})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(s.Close(), dev.Close()); err != nil {
			t.Error(err)
		}
	})
	return s
}

func stepper(t *testing.T, s *shard.Shard) *Stepper {
	t.Helper()
	x, err := New(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Close() })
	return x
}

// prompt is n ids.
func prompt(n int) []uint32 {
	ids := make([]uint32, n)
	for i := range ids {
		ids[i] = uint32(300 + i*i*7%1500)
	}
	return ids
}

var seeded = sample.Params{Temperature: 0.9, TopK: 50, TopP: 0.95, Penalty: 1.1}

var wanted = client.Want{Candidates: true}

func begin(t *testing.T, s *Stepper, keep int) {
	t.Helper()
	if err := s.Begin(t.Context(), client.Run{Keep: keep, Sampling: seeded}); err != nil {
		t.Fatal(err)
	}
}

func step(t *testing.T, s *Stepper, ids []uint32) []sample.Candidate {
	t.Helper()
	found, err := s.Step(t.Context(), ids, wanted)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestStepper_SameBitsHoweverThePromptIsCut(t *testing.T) {
	for position, weights := range map[string]string{"rope": "nf4", "alibi": "bf16"} {
		t.Run(position+" "+weights, func(t *testing.T) {
			s := load(t, tiny(t, position, weights), 0, layers)
			whole, cut := stepper(t, s), stepper(t, s)
			ids := prompt(520)
			begin(t, whole, 0)
			want := step(t, whole, ids)
			begin(t, cut, 0)
			var got []sample.Candidate
			for _, n := range []int{1, 63, 2, 454} {
				got = step(t, cut, ids[:n])
				ids = ids[n:]
			}
			if !slices.Equal(got, want) || cut.Len() != 520 {
				t.Error("pieces of the prompt give other candidates than the whole")
			}
		})
	}
}

func TestStepper_RollsBack(t *testing.T) {
	s := stepper(t, load(t, tiny(t, "rope", "int8"), 0, layers))
	begin(t, s, 0)
	want := step(t, s, prompt(100))
	begin(t, s, 70)
	if s.Len() != 70 {
		t.Fatalf("%d tokens are left, want 70", s.Len())
	}
	if got := step(t, s, prompt(100)[70:]); !slices.Equal(got, want) {
		t.Error("after a rollback the same tokens give other candidates")
	}
	begin(t, s, 500)
	if s.Len() != 100 {
		t.Errorf("%d tokens are left of 100, want all", s.Len())
	}
}

func TestStepper_ChoosesFromRowsWhatItChoosesItself(t *testing.T) {
	s := stepper(t, load(t, tiny(t, "alibi", "nf4"), 0, layers))
	ids := prompt(514)
	begin(t, s, 0)
	want := step(t, s, ids)
	begin(t, s, 0)
	next := 0
	var last []float32
	found, err := s.Step(t.Context(), ids, client.Want{Rows: func(position int, logits []float32) error {
		if position != next || len(logits) != vocab {
			t.Fatalf("row of token %d with %d logits, want token %d with %d", position, len(logits), next, vocab)
		}
		next++
		last = append(last[:0], logits...)
		return nil
	}})
	if err != nil || found != nil || next != len(ids) {
		t.Fatalf("%d rows, candidates %v, error %v", next, found, err)
	}
	if got := sample.Candidates(last, ids, seeded); !slices.Equal(got, want) {
		t.Error("the last row gives other candidates")
	}
}

func TestStepper_IsAsBeforeAfterAnError(t *testing.T) {
	s := stepper(t, load(t, tiny(t, "rope", "nf4"), 0, layers))
	begin(t, s, 0)
	step(t, s, prompt(10))
	cancelled, cancel := context.WithCancel(t.Context())
	broken := errors.New("broken")
	tests := []struct {
		name string
		ctx  context.Context
		ids  []uint32
		want client.Want
		err  error // nil: any
	}{
		{"nothing", t.Context(), nil, wanted, nil},
		{"an id beyond the vocabulary", t.Context(), []uint32{5, vocab}, wanted, nil},
		{"beyond the context", t.Context(), prompt(691), wanted, nil},
		{"rows that nobody takes", t.Context(), prompt(20), client.Want{Rows: func(p int, _ []float32) error {
			if p > 12 {
				return broken
			}
			return nil
		}}, broken},
		{"cancelled between two pieces", cancelled, prompt(520), client.Want{Rows: func(p int, _ []float32) error {
			if p == 10+511 {
				cancel()
			}
			return nil
		}}, context.Canceled},
		{"cancelled before", cancelled, prompt(3), wanted, context.Canceled},
	}
	for _, tt := range tests {
		if _, err := s.Step(tt.ctx, tt.ids, tt.want); err == nil || tt.err != nil && !errors.Is(err, tt.err) {
			t.Errorf("%s: the error is %v", tt.name, err)
		}
		if s.Len() != 10 {
			t.Fatalf("%s: %d tokens are left, want 10", tt.name, s.Len())
		}
	}
}

func TestNew_RefusesAPartOfTheModel(t *testing.T) {
	if _, err := New(load(t, tiny(t, "rope", "nf4"), 0, 1)); err == nil {
		t.Error("no error")
	}
}

func TestConversation_OverAWholeModel(t *testing.T) {
	m := tiny(t, "rope", "nf4")
	model, err := client.ModelOf(m)
	if err != nil {
		t.Fatal(err)
	}
	s := stepper(t, load(t, m, 0, layers))
	c := client.NewConversation(model, s)
	o := client.Options{MaxTokens: 12, Sampling: seeded, Seed: 7, IgnoreEOS: true}
	run := func() *client.Outcome {
		t.Helper()
		var out *client.Outcome
		for chunk, err := range c.Generate(t.Context(), prompt(30), o) {
			if err != nil {
				t.Fatal(err)
			}
			out = chunk.Outcome
		}
		return out
	}
	first := run()
	var rows bytes.Buffer
	o.Logits = &rows
	second := run()
	if !slices.Equal(first.IDs, second.IDs) || len(first.IDs) != 12 {
		t.Errorf("%v without logits, %v with them", first.IDs, second.IDs)
	}
	if rows.Len() != 4*vocab*(30+12-1) {
		t.Errorf("%d bytes of logits, want %d", rows.Len(), 4*vocab*(30+12-1))
	}
	hops := second.Chain
	if len(hops) != 1 || hops[0].Layers.End != layers || hops[0].Peer != "" || hops[0].Device == "" || len(second.Failovers) != 0 {
		t.Errorf("the chain is %+v", hops)
	}
	o.Sampling.TopP = math.Inf(1)
	for _, err := range c.Generate(t.Context(), prompt(3), o) {
		if err == nil {
			t.Error("no error for options that make no sense")
		}
	}
}
