package measure

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/baichuan-node/baichuan-node/kernels"
	"github.com/baichuan-node/baichuan-node/kernels/probe"
	"github.com/baichuan-node/baichuan-node/shard"
	"github.com/baichuan-node/baichuan-node/shard/checkpoint/synthetic"
	"github.com/baichuan-node/baichuan-node/shard/store"
)

// tiny is a shape of either kind, small enough for any machine.
func tiny(t testing.TB, position string) synthetic.Spec {
	t.Helper()
	name := map[string]string{store.Rope: "small-7b", store.Alibi: "small-13b"}[position]
	shape, err := synthetic.Preset(name)
	if err != nil {
		t.Fatal(err)
	}
	shape.Layers, shape.Context, shape.Vocab = 3, 300, 512
	return shape
}

// load makes a shard of a synthetic model.
func load(t testing.TB, shape synthetic.Spec, weights string, span store.Span, cfg StepsConfig) *shard.Shard {
	t.Helper()
	m, err := Synthetic("tiny", shape, weights)
	if err != nil {
		t.Fatal(err)
	}
	dev := kernels.NewCPU(2)
	t.Cleanup(func() { dev.Close() })
	s, err := shard.Load(t.Context(), m, span, dev, shard.Config{CacheTokens: cfg.CacheTokens(m.Manifest)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func newProbe() *probe.Probe { return probe.New("cpu/generic", 2) }

// What is made up passes the checks of a load, and gives finite numbers that are not all alike.
func TestSynthetic_ModelsComputeInEveryFormat(t *testing.T) {
	for _, position := range []string{store.Rope, store.Alibi} {
		for _, weights := range []string{"nf4", "int8", "bf16", "f16"} {
			s := load(t, tiny(t, position), weights, store.Span{Start: 0, End: 3}, StepsConfig{})
			p, err := newPass(s, 20, 1, 5, true)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := p.run(); err != nil {
				t.Errorf("%s %s: %v", position, weights, err)
			}
			logits := p.asks[0].Dst
			if most, least := slices.Max(logits), slices.Min(logits); !(most-least > 0.1) || most > 1e3 {
				t.Errorf("%s %s: logits from %v to %v", position, weights, least, most)
			}
			p.close()
		}
	}
}

func TestSynthetic_RefusesWhatNoModelCanBe(t *testing.T) {
	shape := tiny(t, store.Rope)
	shape.Hidden = 100
	if _, err := Synthetic("odd", shape, "nf4"); err == nil || !strings.Contains(err.Error(), "hidden") {
		t.Errorf("hidden 100: %v", err)
	}
	if _, err := Synthetic("odd", tiny(t, store.Rope), "nf5"); err == nil || !strings.Contains(err.Error(), "nf5") {
		t.Errorf("nf5: %v", err)
	}
}

func TestNoise_PartIsTheSameInPieces(t *testing.T) {
	m, err := Synthetic("tiny", tiny(t, store.Rope), "nf4")
	if err != nil {
		t.Fatal(err)
	}
	n := newNoise()
	for i, part := range m.Manifest.Parts {
		r := n.reader(part).(*partReader)
		whole, err := io.ReadAll(&partReader{sections: r.sections, size: r.size})
		if err != nil || int64(len(whole)) != part.Size {
			t.Fatalf("part %d: %d bytes, %v", i, len(whole), err)
		}
		var pieces bytes.Buffer
		if _, err := io.CopyBuffer(struct{ io.Writer }{&pieces}, struct{ io.Reader }{r}, make([]byte, 1003)); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(whole, pieces.Bytes()) {
			t.Errorf("part %d differs when it is read in pieces", i)
		}
	}
}

func tinyKernels() KernelsConfig {
	return KernelsConfig{
		Hidden: 128, Intermediate: 192, Heads: 2, Vocab: 320, Formats: []kernels.Format{kernels.NF4, kernels.F16},
		Rows: []int{1, 3}, HeadRows: []int{1}, Contexts: []int{64, 200}, Prompt: 16, Stream: 1 << 20, Rounds: 2,
		Groups: DefaultKernels().Groups,
	}
}

func TestKernels_GivesEachOperationAFigure(t *testing.T) {
	dev := kernels.NewCPU(2)
	defer dev.Close()
	count := make(map[string]int)
	err := Kernels(t.Context(), dev, newProbe(), tinyKernels(), func(f KernelFigure) {
		count[f.Kernel]++
		if !(f.Seconds > 0 && f.Share > 0 && f.Bytes > 0 && f.Limits.Read > 0 && f.Rounds > 0) || f.Bound == "" || f.Shape == "" {
			t.Errorf("%+v", f)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, kernel := range []string{
		"nf4 w_pack", "nf4 o_proj", "nf4 gate+up", "nf4 down", "nf4 layer", "f16 layer", "attention", "attention, prompt",
		"append", "rms_norm", "quantise", "round",
	} {
		if count[kernel] != 2 {
			t.Errorf("%d figures of %s, want 2", count[kernel], kernel)
		}
	}
	if count["int8 head"] != 1 {
		t.Errorf("%d figures of the head", count["int8 head"])
	}
}

func TestKernels_RefuseAGroupThatIsNone(t *testing.T) {
	dev := kernels.NewCPU(1)
	defer dev.Close()
	cfg := tinyKernels()
	cfg.Groups = []string{"chorus"}
	if err := Kernels(t.Context(), dev, newProbe(), cfg, nil); err == nil || !strings.Contains(err.Error(), "chorus") {
		t.Errorf("%v", err)
	}
}

func TestKernels_EndWithTheContext(t *testing.T) {
	dev := kernels.NewCPU(1)
	defer dev.Close()
	ctx, cancel := context.WithCancel(t.Context())
	err := Kernels(ctx, dev, newProbe(), tinyKernels(), func(KernelFigure) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestSteps_GivesEachKindOfPassAFigure(t *testing.T) {
	cfg := StepsConfig{Contexts: []int{0, 70, 5000, 300}, Batch: []int{1, 2, 4}, Prompts: []int{32, 1000}, Rounds: 2}
	for _, span := range []store.Span{{Start: 0, End: 3}, {Start: 1, End: 2}} {
		s := load(t, tiny(t, store.Rope), "nf4", span, cfg)
		free := s.CacheFree()
		figures, err := Steps(t.Context(), s, newProbe(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		var got []kind
		for _, f := range figures {
			got = append(got, kind{f.Kind, f.Context, f.Sequences, f.Rows})
			if !(f.Tokens > 0 && f.Read > 0 && f.Arithmetic > 0 && f.Ratio > 0 && f.Beside > 0) {
				t.Errorf("%+v", f)
			}
		}
		want := []kind{
			{Decode, 0, 1, 1}, {Decode, 70, 1, 1}, {Decode, 299, 1, 1}, {Decode, 0, 2, 1}, {Decode, 0, 4, 1},
			{Verify, 0, 1, 2}, {Verify, 0, 1, 4}, {Prefill, 0, 1, 32}, {Prefill, 0, 1, 300},
		}
		if !slices.Equal(got, want) {
			t.Errorf("measured %v, want %v", got, want)
		}
		if s.CacheFree() != free {
			t.Errorf("room for %d tokens, %d before", s.CacheFree(), free)
		}
	}
}

// The work of the 7B is what everyone counts: 4.25 bits for each weight of the layers, 8.25 for the head's, two
// operations for each.
func TestWork_IsThatOfTheShapes(t *testing.T) {
	shape, err := synthetic.Preset("baichuan2-7b")
	if err != nil {
		t.Fatal(err)
	}
	m, err := Synthetic("7b", shape, "nf4")
	if err != nil {
		t.Fatal(err)
	}
	const inLayer, inHead = 4*4096*4096 + 3*4096*11008, 125696 * 4096
	got := layersWork(m.Manifest, store.Span{Start: 0, End: 32}, 3).plus(headWork(m.Manifest, 1))
	want := Work{Bytes: 32*inLayer*17/32 + inHead*33/32, Integer: 2*3*32*inLayer + 2*inHead}
	if got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestFigure_BindsByTheLargerLimit(t *testing.T) {
	l := probe.Limits{Read: 10, Integer: 100, Float: 20}
	for _, c := range []struct {
		work  Work
		share float64
		bound string
	}{
		{Work{Bytes: 10}, 0.5, ByMemory},
		{Work{Bytes: 5, Integer: 100}, 0.5, ByArithmetic},
		{Work{Bytes: 5, Integer: 50, Float: 10}, 0.5, ByArithmetic},
		{Work{Bytes: 15, Integer: 50, Float: 10}, 0.75, ByMemory},
	} {
		f := figure(c.work, []sample{{2, l}, {2, l}, {9, l}})
		if math.Abs(f.Share-c.share) > 1e-9 || f.Bound != c.bound || f.Seconds != 2 {
			t.Errorf("%+v: %+v", c.work, f)
		}
	}
}

func TestHog_DecodesBesideWhatItStarts(t *testing.T) {
	s := load(t, tiny(t, store.Rope), "nf4", store.Span{Start: 0, End: 3}, StepsConfig{})
	started, stopped := 0, 0
	f, err := Hog(t.Context(), s, time.Millisecond, func() (func() error, error) {
		started++
		return func() error { stopped++; return nil }, nil
	})
	if err != nil || !(f.Quiet > 0 && f.Busy > 0 && f.Ratio > 0) || started != hogRounds || stopped != started {
		t.Errorf("%+v after %d starts and %d stops, %v", f, started, stopped, err)
	}
	failed := errors.New("no")
	if _, err := Hog(t.Context(), s, time.Millisecond, func() (func() error, error) { return nil, failed }); !errors.Is(err, failed) {
		t.Errorf("%v", err)
	}
}

func TestSpeedOf_MeasuresAnySpan(t *testing.T) {
	for _, span := range []store.Span{{Start: 0, End: 3}, {Start: 1, End: 2}, {Start: 2, End: 3}} {
		s := load(t, tiny(t, store.Alibi), "nf4", span, StepsConfig{})
		free := s.CacheFree()
		head, err := SelfTest(s)
		if err != nil || (head > 0) != (span.End == 3) {
			t.Errorf("layers %v: a head of %v tokens/s, %v", span, head, err)
		}
		speed, err := SpeedOf(s)
		if err != nil || speed.Decode <= 0 || speed.Prefill < speed.Decode || (speed.Head > 0) != (span.End == 3) {
			t.Errorf("layers %v: %+v, %v", span, speed, err)
		}
		if s.CacheFree() != free {
			t.Errorf("layers %v: room for %d tokens, %d before", span, s.CacheFree(), free)
		}
	}
}

func TestStoreSynthetic_IsFoundByOtherProcesses(t *testing.T) {
	home := t.TempDir()
	made, err := StoreSynthetic(home, "tiny", tiny(t, store.Rope), "nf4")
	if err != nil {
		t.Fatal(err)
	}
	st, err := store.Open(home)
	if err != nil {
		t.Fatal(err)
	}
	found, err := st.Model("tiny")
	if err != nil || found.ID != made.ID {
		t.Fatalf("the store has %v, %v", found, err)
	}
	if _, err := found.Tokenizer(); err != nil {
		t.Error(err)
	}
	dev := kernels.NewCPU(2)
	defer dev.Close()
	loaded, err := shard.Load(t.Context(), found, store.Span{Start: 0, End: 3}, dev, shard.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer loaded.Close()
	if _, err := SelfTest(loaded); err != nil {
		t.Error(err)
	}
	if _, err := StoreSynthetic(home, "odd", tiny(t, store.Rope), "nf5"); err == nil {
		t.Error("stored in a format that there is not")
	}
}
