package shard_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/baichuan-node/baichuan-node/kernels"
	"github.com/baichuan-node/baichuan-node/shard"
	"github.com/baichuan-node/baichuan-node/shard/checkpoint"
	"github.com/baichuan-node/baichuan-node/shard/checkpoint/synthetic"
	"github.com/baichuan-node/baichuan-node/shard/reference"
	"github.com/baichuan-node/baichuan-node/shard/store"
)

// fixture is a random checkpoint and the store that its models go to.
type fixture struct {
	t      testing.TB
	dir    string
	source *checkpoint.Checkpoint
	models *store.Store
	dev    *kernels.CPU
}

// newFixture makes a checkpoint of a preset, which changes may alter.
func newFixture(t testing.TB, preset string, seed uint64, dtype synthetic.DType, changes ...func(*synthetic.Spec)) *fixture {
	t.Helper()
	spec, err := synthetic.Preset(preset)
	if err != nil {
		t.Fatal(err)
	}
	spec.Seed, spec.DType, spec.Tokenizer = seed, dtype, synthetic.Tokenizer()
	for _, change := range changes {
		change(&spec)
	}
	f := &fixture{t: t, dir: t.TempDir(), dev: kernels.NewCPU(0)}
	t.Cleanup(func() { f.dev.Close() })
	if err := synthetic.Write(filepath.Join(f.dir, "hf"), spec); err != nil {
		t.Fatal(err)
	}
	if f.source, err = checkpoint.Open(filepath.Join(f.dir, "hf")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.source.Close() })
	if f.models, err = store.Open(filepath.Join(f.dir, "home")); err != nil {
		t.Fatal(err)
	}
	return f
}

// model imports the checkpoint in the formats of weights and cache.
func (f *fixture) model(weights, kv string) *store.Model {
	f.t.Helper()
	m, err := store.Import(context.Background(), f.models, f.source, store.ImportOptions{
		Name: weights + "-" + kv, Weights: weights, KV: kv, Force: true,
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return m
}

// reference is the checkpoint in float64.
func (f *fixture) reference() *reference.Sequence {
	f.t.Helper()
	m, err := reference.New(f.source)
	if err != nil {
		f.t.Fatal(err)
	}
	return m.NewSequence()
}

func (f *fixture) load(m *store.Model, start, end int) *shard.Shard {
	f.t.Helper()
	s, err := shard.Load(context.Background(), m, store.Span{Start: start, End: end}, f.dev, shard.Config{CacheTokens: 1024})
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() {
		if err := s.Close(); err != nil {
			f.t.Error(err)
		}
	})
	return s
}

// prompt makes n ids that look unlike each other: the ones that the golden logits were made from.
func prompt(n int) []uint32 {
	ids := make([]uint32, n)
	for i := range ids {
		ids[i] = uint32((i*i*31 + 7*i + 5) % 4096)
	}
	return ids
}

// chain is shards that together hold a model, with a cache each.
type chain struct {
	shards []*shard.Shard
	caches []*shard.Cache
}

func newChain(shards ...*shard.Shard) *chain {
	c := &chain{shards: shards}
	for _, s := range shards {
		c.caches = append(c.caches, s.NewCache(s.Span()))
	}
	return c
}

func (c *chain) close() {
	for _, cache := range c.caches {
		cache.Close()
	}
}

// forward computes ids through the chain and gives the last layer's rows.
func (c *chain) forward(t testing.TB, ids []uint32) kernels.Rows {
	t.Helper()
	step := &shard.Step{IDs: ids}
	for i, s := range c.shards {
		step = &shard.Step{Cache: c.caches[i], IDs: ids, In: step.Out}
		if i > 0 {
			step.IDs = nil
		}
		if s.Forward(step); step.Err != nil {
			t.Fatal(step.Err)
		}
		if err := step.Out.CheckCanonical(); err != nil {
			t.Fatalf("rows of shard %d: %v", i, err)
		}
	}
	return step.Out
}

// rows computes ids in batches of the given sizes (the last one repeated) and gives the last layer's rows of all tokens.
func (c *chain) rows(t testing.TB, ids []uint32, batches ...int) kernels.Rows {
	t.Helper()
	defer c.close()
	all := kernels.Rows{N: len(ids), Width: c.shards[0].Manifest().Hidden}
	for i := 0; len(ids) > 0; i++ {
		n := min(batches[min(i, len(batches)-1)], len(ids))
		out := c.forward(t, ids[:n])
		ids = ids[n:]
		all.Exp, all.Half = append(all.Exp, out.Exp...), append(all.Half, out.Half...)
	}
	return all
}

// run is rows, and their logits.
func (c *chain) run(t testing.TB, ids []uint32, batches ...int) []float32 {
	t.Helper()
	rows := c.rows(t, ids, batches...)
	last := c.shards[len(c.shards)-1]
	logits := make([]float32, rows.N*last.Manifest().Vocab)
	if err := last.Logits(logits, rows, 0, rows.N); err != nil {
		t.Fatal(err)
	}
	return logits
}

func maxError(got []float32, want []float64) float64 {
	worst := 0.0
	for i, v := range got {
		worst = math.Max(worst, math.Abs(float64(v)-want[i]))
	}
	return worst
}

func TestForward_AgreesWithFloat64Arithmetic(t *testing.T) {
	ids := prompt(96)
	for _, preset := range []string{"small-7b", "small-13b"} {
		for weights, dtype := range map[string]synthetic.DType{"bf16": synthetic.BF16, "f16": synthetic.F16} {
			f := newFixture(t, preset, 11, dtype)
			want := slices.Concat(f.reference().Append(ids...)...)
			for kv, limit := range map[string]float64{"f16": 1e-2, "int8": 0.15} {
				t.Run(preset+"/"+weights+"/kv-"+kv, func(t *testing.T) {
					s := f.load(f.model(weights, kv), 0, f.source.Config.Layers)
					got := newChain(s).run(t, ids, 64, 1)
					worst := maxError(got, want)
					t.Logf("maximal logit error %.2g (logits of absmax %.2g)", worst, maxError(make([]float32, len(want)), want))
					if !(worst <= limit) { // a NaN fails too
						t.Errorf("maximal logit error %g, want at most %g", worst, limit)
					}
				})
			}
		}
	}
}

// The golden logits come from baichuan_reference.py (float64, weights not rounded): rows 0, 11 and 23 of prompt(24) on
// its presets with seed 11. That they agree says that the made-up checkpoints hold the same weights, too.
func TestForward_AgreesWithGoldenLogits(t *testing.T) {
	for _, tc := range []struct {
		preset, file string
		limit        float64
	}{
		{"small-7b", "logits-rope.f32", 2e-2},
		{"small-13b", "logits-alibi.f32", 2e-2},
		{"small-1-7b", "logits-v1.f32", 1}, // no NormHead: logits reach 218
	} {
		t.Run(tc.preset, func(t *testing.T) {
			f := newFixture(t, tc.preset, 11, synthetic.F32)
			s := f.load(f.model("f16", "f16"), 0, f.source.Config.Layers)
			got := newChain(s).run(t, prompt(24), 24)
			raw, err := os.ReadFile(filepath.Join("testdata", tc.file))
			if err != nil {
				t.Fatal(err)
			}
			vocab := f.source.Config.Vocab
			for i, row := range []int{0, 11, 23} {
				want := make([]float64, vocab)
				for j := range want {
					want[j] = float64(math.Float32frombits(binary.LittleEndian.Uint32(raw[4*(i*vocab+j):])))
				}
				if worst := maxError(got[row*vocab:(row+1)*vocab], want); !(worst <= tc.limit) {
					t.Errorf("row %d: maximal logit error %g, want at most %g", row, worst, tc.limit)
				}
			}
		})
	}
}

func TestForward_AnyCutAndAnyBatchesGiveTheSameBits(t *testing.T) {
	ids := prompt(140)
	for _, preset := range []string{"small-7b", "small-13b"} {
		f := newFixture(t, preset, 5, synthetic.F32)
		layers := f.source.Config.Layers
		formats := [][2]string{{"nf4", "int8"}, {"int8", "f16"}, {"bf16", "f16"}, {"f16", "int8"}}
		if preset == "small-13b" {
			formats = [][2]string{{"nf4", "int8"}, {"bf16", "f16"}} // with 16 cuts the others would add 10 s and no other code
		}
		for _, format := range formats {
			t.Run(fmt.Sprintf("%s/%s/kv-%s", preset, format[0], format[1]), func(t *testing.T) {
				m := f.model(format[0], format[1])
				whole := f.load(m, 0, layers)
				want := newChain(whole).rows(t, ids, len(ids))
				for _, batches := range [][]int{{1}, {17, 2, 64}, {63, 65, 1}, {139, 1}} {
					sameRows(t, fmt.Sprintf("batches of %v", batches), newChain(whole).rows(t, ids, batches...), want)
				}
				for cuts := 1; cuts < 1<<(layers-1); cuts++ {
					sameRows(t, fmt.Sprintf("cuts %b", cuts), newChain(f.cut(m, cuts)...).rows(t, ids[:20], 17, 1), want)
				}
			})
		}
	}
}

func TestLogits_ManyRowsGiveTheBitsOfEach(t *testing.T) {
	f := newFixture(t, "small-7b", 5, synthetic.F32)
	for _, weights := range []string{"nf4", "bf16"} {
		s := f.load(f.model(weights, "int8"), 0, 4)
		rows := newChain(s).rows(t, prompt(21), 21)
		vocab := s.Manifest().Vocab
		all, one := make([]float32, 21*vocab), make([]float32, vocab)
		if err := s.Logits(all, rows, 0, 21); err != nil {
			t.Fatal(err)
		}
		for i := range 21 {
			if err := s.Logits(one, rows, i, 1); err != nil {
				t.Fatal(err)
			}
			sameBits(t, fmt.Sprintf("%s: row %d", weights, i), one, all[i*vocab:(i+1)*vocab])
		}
	}
}

// sameRows wants got to be the first rows of want.
func sameRows(t *testing.T, what string, got, want kernels.Rows) {
	t.Helper()
	if !bytes.Equal(got.Exp, want.Exp[:got.N]) || !bytes.Equal(got.Half, want.Half[:2*got.N*got.Width]) {
		t.Errorf("%s: other rows", what)
	}
}

// cut loads a model in spans: bit i of cuts parts layer i from layer i+1.
func (f *fixture) cut(m *store.Model, cuts int) []*shard.Shard {
	var shards []*shard.Shard
	start := 0
	for i := 1; i <= m.Manifest.Layers; i++ {
		if i == m.Manifest.Layers || cuts>>(i-1)&1 == 1 {
			shards = append(shards, f.load(m, start, i))
			start = i
		}
	}
	return shards
}

func sameBits(t *testing.T, what string, got, want []float32) {
	t.Helper()
	for i := range want {
		if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
			t.Fatalf("%s: logit %d is %g (%08x), want %g (%08x)", what, i, got[i], math.Float32bits(got[i]), want[i], math.Float32bits(want[i]))
		}
	}
}

func TestForward_SequencesInOnePassKeepTheirBits(t *testing.T) {
	f := newFixture(t, "small-7b", 3, synthetic.F32)
	s := f.load(f.model("nf4", "int8"), 0, 4)
	a, b := prompt(70), prompt(90)[20:]
	wantA, wantB := newChain(s).rows(t, a, 70), newChain(s).rows(t, b, 70)

	steps := []*shard.Step{{Cache: s.NewCache(s.Span()), IDs: a}, {Cache: s.NewCache(s.Span()), IDs: b}}
	s.Forward(steps...)
	for i, want := range []kernels.Rows{wantA, wantB} {
		st := steps[i]
		if st.Err != nil {
			t.Fatal(st.Err)
		}
		sameRows(t, fmt.Sprintf("sequence %d beside another", i), st.Out, want)
		st.Cache.Close()
	}
}

func TestForward_PartOfTheSpan(t *testing.T) {
	f := newFixture(t, "small-7b", 3, synthetic.F32)
	m := f.model("int8", "int8")
	whole, first, last := f.load(m, 0, 4), f.load(m, 0, 3), f.load(m, 2, 4)
	want := newChain(whole).run(t, prompt(20), 20)

	head := &shard.Step{Cache: first.NewCache(store.Span{Start: 0, End: 2}), IDs: prompt(20)}
	first.Forward(head)
	if head.Err != nil {
		t.Fatal(head.Err)
	}
	tail := &shard.Step{Cache: last.NewCache(last.Span()), In: head.Out}
	last.Forward(tail)
	if tail.Err != nil {
		t.Fatal(tail.Err)
	}
	got := make([]float32, len(want))
	if err := last.Logits(got, tail.Out, 0, 20); err != nil {
		t.Fatal(err)
	}
	sameBits(t, "layers 0:2 of 0:3, then 2:4", got, want)
}

// outgrow overwrites an id's embedding with numbers that no row of float16 with an exponent can hold.
func (f *fixture) outgrow(id int) {
	f.t.Helper()
	path := filepath.Join(f.dir, "hf", "model.safetensors")
	data, err := os.ReadFile(path)
	if err != nil {
		f.t.Fatal(err)
	}
	header := 8 + int(binary.LittleEndian.Uint64(data))
	var tensors map[string]struct {
		Offsets [2]int `json:"data_offsets"`
	}
	if err := json.Unmarshal(data[8:header], &tensors); err != nil {
		f.t.Fatal(err)
	}
	at := header + tensors["model.embed_tokens.weight"].Offsets[0] + 4*id*f.source.Config.Hidden
	binary.LittleEndian.PutUint32(data[at:], math.Float32bits(1e30))
	if err := os.WriteFile(path, data, 0o644); err != nil {
		f.t.Fatal(err)
	}
}

func TestForward_RowThatIsNotFiniteEndsItsSequenceAlone(t *testing.T) {
	f := newFixture(t, "small-7b", 3, synthetic.F32)
	f.outgrow(7)
	s := f.load(f.model("bf16", "int8"), 0, 4)
	wanted := newChain(s)
	want := wanted.forward(t, prompt(5))

	steps := []*shard.Step{
		{Cache: s.NewCache(s.Span()), IDs: []uint32{1, 2, 3, 7, 5}},
		{Cache: s.NewCache(s.Span()), IDs: prompt(5)},
	}
	s.Forward(steps...)
	var fault *shard.NotFiniteError
	if !errors.As(steps[0].Err, &fault) || fault.Position != 3 || fault.Where != "the embedding" {
		t.Errorf("the step with a token that outgrows float16: error %v", steps[0].Err)
	}
	if n := steps[0].Cache.Len(); n != 0 {
		t.Errorf("the failed step left %d tokens in its cache", n)
	}
	if steps[1].Err != nil || !bytes.Equal(steps[1].Out.Half, want.Half) {
		t.Errorf("the step beside it: error %v, or other bits", steps[1].Err)
	}
	steps[0].IDs = prompt(5)
	if s.Forward(steps[0]); steps[0].Err != nil || !bytes.Equal(steps[0].Out.Half, want.Half) {
		t.Errorf("the same cache after the fault: error %v, or other bits", steps[0].Err)
	}
}

func TestCache_TruncateAndGoOnGivesTheSameBits(t *testing.T) {
	f := newFixture(t, "small-13b", 3, synthetic.F32)
	s := f.load(f.model("nf4", "int8"), 0, 5)
	ids := prompt(200)
	want := newChain(s).run(t, ids, 200)

	c := newChain(s)
	c.forward(t, append(slices.Clone(ids[:130]), 1, 2, 3, 4, 5))
	free := s.CacheFree()
	c.caches[0].Truncate(100)
	if got := s.CacheFree() - free; got != kernels.PageSize {
		t.Errorf("going back from 135 to 100 tokens freed %d, want a page of %d", got, kernels.PageSize)
	}
	out := c.forward(t, ids[100:])
	got := make([]float32, 100*s.Manifest().Vocab)
	if err := s.Logits(got, out, 0, 100); err != nil {
		t.Fatal(err)
	}
	sameBits(t, "after a rollback", got, want[100*s.Manifest().Vocab:])
	c.close()
	if s.CacheFree() != 1024 {
		t.Errorf("%d tokens are free after all caches were closed, want 1024", s.CacheFree())
	}
}

func TestCache_Refuses(t *testing.T) {
	f := newFixture(t, "small-7b", 3, synthetic.F32)
	s := f.load(f.model("nf4", "int8"), 0, 4)
	a, b := s.NewCache(s.Span()), s.NewCache(s.Span())
	if err := a.Reserve(900); err != nil {
		t.Fatal(err)
	}
	var memory *shard.NoMemoryError
	if err := b.Reserve(100); !errors.As(err, &memory) || memory.Free != 64 {
		t.Errorf("100 tokens beside 900 of 1024: %v", err)
	}
	var full *shard.ContextFullError
	if err := b.Reserve(4097); !errors.As(err, &full) {
		t.Errorf("4097 tokens: %v", err)
	}
	step := &shard.Step{Cache: b, IDs: prompt(100)}
	if s.Forward(step); !errors.As(step.Err, &memory) || b.Len() != 0 {
		t.Errorf("a step without room: %v, %d tokens", step.Err, b.Len())
	}
	step = &shard.Step{Cache: b, IDs: []uint32{4096}}
	if s.Forward(step); step.Err == nil {
		t.Error("an id outside the vocabulary was computed")
	}
}

func TestNeed_IsWhatTheFilesHold(t *testing.T) {
	f := newFixture(t, "small-7b", 3, synthetic.F32)
	m := f.model("nf4", "int8")
	var want int64
	for i, p := range m.Manifest.Parts {
		if i != 0 && i != 3 && i != 5 { // embed, layer 2, head
			want += p.Size
		}
	}
	layers, _ := shard.Need(m.Manifest, store.Span{Start: 0, End: 2})
	third, perToken := shard.Need(m.Manifest, store.Span{Start: 3, End: 4})
	if got := layers - m.Manifest.Parts[0].Size + third - m.Manifest.Parts[5].Size; got != want {
		t.Errorf("layers 0:2 and 3:4 need %d bytes without the ends, want %d", got, want)
	}
	if perToken != 2*(256+2*8)+(2*256+1+2*32) {
		t.Errorf("a token of one layer needs %d bytes, want 1.0625 per element of key and value, its output and two names", perToken)
	}
}

// BenchmarkQuality prints what a format costs against float64 arithmetic on the checkpoint's own weights: the mean
// Kullback-Leibler divergence of the next token's distribution, and how often the first choice is the same.
func BenchmarkQuality(b *testing.B) {
	for _, preset := range []string{"small-7b", "small-13b"} {
		f := newFixture(b, preset, 11, synthetic.F32)
		ids := prompt(64)
		want := f.reference().Append(ids...)
		for _, format := range [][2]string{{"f16", "f16"}, {"bf16", "f16"}, {"int8", "int8"}, {"nf4", "int8"}} {
			b.Run(preset+"/"+format[0]+"/kv-"+format[1], func(b *testing.B) {
				s := f.load(f.model(format[0], format[1]), 0, f.source.Config.Layers)
				var got []float32
				for b.Loop() {
					got = newChain(s).run(b, ids, len(ids))
				}
				kl, same, worst := 0.0, 0, 0.0
				vocab := f.source.Config.Vocab
				for i, w := range want {
					row := got[i*vocab : (i+1)*vocab]
					d, top := divergence(w, row)
					kl += d
					if top {
						same++
					}
					worst = math.Max(worst, maxError(row, w))
				}
				b.ReportMetric(kl/float64(len(want)), "KL/token")
				b.ReportMetric(100*float64(same)/float64(len(want)), "%top1")
				b.ReportMetric(worst, "maxerr")
			})
		}
	}
}

// divergence is KL(want || got) of the softmaxes, and whether both have the same first choice.
func divergence(want []float64, got []float32) (kl float64, sameTop bool) {
	lse := func(at func(int) float64) (float64, int) {
		top := 0
		for i := range want {
			if at(i) > at(top) {
				top = i
			}
		}
		s := 0.0
		for i := range want {
			s += math.Exp(at(i) - at(top))
		}
		return at(top) + math.Log(s), top
	}
	p := func(i int) float64 { return want[i] }
	q := func(i int) float64 { return float64(got[i]) }
	zp, topP := lse(p)
	zq, topQ := lse(q)
	for i := range want {
		kl += math.Exp(p(i)-zp) * ((p(i) - zp) - (q(i) - zq))
	}
	return kl, topP == topQ
}
