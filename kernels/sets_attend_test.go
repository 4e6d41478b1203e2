package kernels

import (
	"fmt"
	"math"
	"math/rand"
	"slices"
	"testing"
)

// storeUnits tries whole units of 32.
func (tr *trial) storeUnits(what string, x []float32) {
	tr.t.Helper()
	wantCodes, wantScales := make([]byte, len(x)), make([]byte, len(x)/CacheUnit*2)
	tr.rng.Read(wantCodes)
	tr.rng.Read(wantScales)
	codes, scales, src := output(tr.mem, wantCodes), output(tr.mem, wantScales), input(tr.mem, x)
	var ok bool
	tr.mem.call(what, func() { ok = tr.set.storeUnits(codes, scales, src) })
	wantOK := storeUnits(wantCodes, wantScales, x)
	sameList(tr.t, what+": finite", []bool{ok}, []bool{wantOK})
	if ok { // else what is stored may be anything
		sameList(tr.t, what+": codes", codes, wantCodes)
		sameList(tr.t, what+": scales", scales, wantScales)
	}
}

// quantiseQuery tries query i of n; the others are to stay as they are.
func (tr *trial) quantiseQuery(what string, x []float32, i, n int) {
	tr.t.Helper()
	want := queriesOf(tr.rng, n, len(x))
	q := tr.hand(want, false)
	src := input(tr.mem, x)
	var ok bool
	tr.mem.call(what, func() { ok = tr.set.quantiseQuery(&q, i, src) })
	wantOK := quantiseQuery(&want, i, x)
	sameList(tr.t, what+": finite", []bool{ok}, []bool{wantOK})
	if !ok { // then its own part may hold anything
		units := len(x) / CacheUnit
		for _, a := range []queries{q, want} {
			clear(a.codes[i*len(x):][:len(x)])
			clear(a.scales[i*units:][:units])
			clear(a.starts[i*units:][:units])
		}
	}
	sameList(tr.t, what+": codes", q.codes, want.codes)
	tr.same(what+": scales", q.scales, want.scales)
	sameList(tr.t, what+": starts", q.starts, want.starts)
}

// queriesOf makes n quantised queries.
func queriesOf(rng *rand.Rand, n, size int) queries {
	q := queries{}
	q.reset(n, size, rootScale(size))
	for i := range n {
		quantiseQuery(&q, i, sample(rng, oneOf(rng, kinds()...), size))
	}
	return q
}

// hand puts queries into watched memory.
func (tr *trial) hand(q queries, fixed bool) queries {
	if fixed {
		q.codes, q.scales, q.starts = input(tr.mem, q.codes), input(tr.mem, q.scales), input(tr.mem, q.starts)
	} else {
		q.codes, q.scales, q.starts = output(tr.mem, q.codes), output(tr.mem, q.scales), output(tr.mem, q.starts)
	}
	return q
}

// stored is keys or values of some tokens, as a page has them from a head's first code on.
type stored struct {
	codes, scales []byte
	width, tokens int
}

// storedOf makes tokens of a head of some size; between them lies what other heads have.
func storedOf(rng *rand.Rand, size, tokens int) stored {
	s := stored{width: size * (1 + rng.Intn(3)), tokens: tokens}
	for _, q := range codes(rng, oneOf(rng, codeKinds()...), (tokens-1)*s.width+size) {
		s.codes = append(s.codes, byte(q))
	}
	s.scales = halves(rng, oneOf(rng, scaleKinds()...), len(s.codes)/CacheUnit)
	return s
}

// scores tries the products of queries with keys.
func (tr *trial) scores(what string, q queries, keys stored, stride int) {
	tr.t.Helper()
	want := tr.garbage((q.n-1)*stride + keys.tokens)
	got, own := output(tr.mem, want), tr.hand(q, true)
	codes, scales := input(tr.mem, keys.codes), input(tr.mem, keys.scales)
	tr.mem.call(what, func() { tr.set.scores(got, stride, &own, codes, scales, keys.width, keys.tokens, tr.rng.Intn(1<<16)) })
	scores(want, stride, &q, keys.codes, keys.scales, keys.width, keys.tokens, 0)
	tr.same(what, got, want)
}

// values tries the sums of values for n queries with the weights p.
func (tr *trial) values(what string, total []float32, n int, p []float32, stride int, v stored) {
	tr.t.Helper()
	want, got, weights := slices.Clone(total), output(tr.mem, total), input(tr.mem, p)
	codes, scales := input(tr.mem, v.codes), input(tr.mem, v.scales)
	tr.mem.call(what, func() { tr.set.values(got, n, weights, stride, codes, scales, v.width, v.tokens, tr.rng.Intn(1<<16)) })
	values(want, n, p, stride, v.codes, v.scales, v.width, v.tokens, 0)
	tr.same(what, got, want)
}

// halfCache tries scoresHalf and valuesHalf on float16 tokens.
func (tr *trial) halfCache(what string, x, p []float32, codes []byte, width int) {
	tr.t.Helper()
	tokens, root := len(p), rootScale(len(x))
	want := tr.garbage(tokens)
	got, src, keys := output(tr.mem, want), input(tr.mem, x), input(tr.mem, codes)
	tr.mem.call(what, func() { tr.set.scoresHalf(got, src, root, keys, width, tokens) })
	scoresHalf(want, x, root, codes, width, tokens)
	tr.same(what+": scores", got, want)
	want = slices.Clone(x)
	total, weights, vals := output(tr.mem, want), input(tr.mem, p), input(tr.mem, codes)
	tr.mem.call(what, func() { tr.set.valuesHalf(total, weights, vals, width, tokens) })
	valuesHalf(want, p, codes, width, tokens)
	tr.same(what+": values", total, want)
}

// bias tries scores.
func (tr *trial) bias(what string, s []float32, slope float32, first int) {
	tr.t.Helper()
	want, got := slices.Clone(s), output(tr.mem, s)
	tr.mem.call(what, func() { tr.set.bias(got, slope, first) })
	bias(want, slope, first)
	tr.same(what, got, want)
}

// softWeights tries largest and softWeights on scores.
func (tr *trial) softWeights(what string, s []float32) {
	tr.t.Helper()
	src, most := input(tr.mem, s), float32(0)
	tr.mem.call(what, func() { most = tr.set.largest(src) })
	want := largest(s)
	// Which of several zeros it is makes no difference: v - 0 and v - -0 are the same but for v = 0, and Exp of both zeros
	// is 1.
	tr.same(what+": largest", []float32{most + 0}, []float32{want + 0})
	tr.weigh(what, s, want)
}

// weigh tries softWeights with a maximum.
func (tr *trial) weigh(what string, s []float32, most float32) {
	tr.t.Helper()
	want, got, sum := slices.Clone(s), output(tr.mem, s), float32(0)
	tr.mem.call(what, func() { sum = tr.set.softWeights(got, most) })
	wantSum := softWeights(want, most)
	tr.same(what+": weights", got, want)
	tr.same(what+": their sum", []float32{sum}, []float32{wantSum})
}

// weightsOf makes weights of tokens, as softWeights gives them and beyond.
func weightsOf(rng *rand.Rand, kind string, n int) []float32 {
	p := make([]float32, n)
	for i := range p {
		switch kind {
		case "any":
			p[i] = rng.Float32()
		case "few":
			p[i] = rng.Float32() * float32(rng.Intn(5)/4)
		case "one":
			p[i] = 1
		case "small":
			p[i] = Exp(-41.5 * rng.Float32())
		case "denormal":
			p[i] = math.Float32frombits(rng.Uint32() >> 9)
		case "holes":
			p[i] = oneOf(rng, 0, 0.5, float32(math.NaN()))
		case "zero":
		}
	}
	return p
}

func weightKinds() []string {
	return []string{"any", "few", "one", "small", "denormal", "holes", "zero"}
}

func headSizes() []int { return []int{32, 64, 96, 128, 160} }

func TestSets_StoreUnits(t *testing.T) {
	everyPlace(t, func(tr *trial) {
		for _, n := range []int{32, 64, 96, 128, 160, 256, 320, 4096, 5120} {
			for _, kind := range wildKinds() {
				x := wild(tr.rng, kind, n)
				tr.storeUnits(fmt.Sprintf("%s, %d", kind, n), x)
				for i := range x { // what a float16 scale can hold
					x[i] = min(max(x[i], -60000), 60000)
				}
				tr.storeUnits(fmt.Sprintf("%s within bounds, %d", kind, n), x)
			}
		}
		// Scales about the least and the largest that float16 has, and where they turn to zero and to infinity.
		for _, m := range []float32{127 * 0x1p-25, 127 * 0x1p-24, 127 * 0x1.8p-25, 127 * 0x1p-14, 127 * 65504, 127 * 65520, 0x1p-60} {
			for d := range uint32(9) {
				x := sample(tr.rng, "normal", 32*4)
				top := math.Float32frombits(math.Float32bits(m) + d - 4)
				for i := range x {
					x[i] = min(max(x[i]*top, -top), top)
				}
				x[tr.rng.Intn(32)] = -top
				tr.storeUnits(fmt.Sprintf("about %v", top), x)
			}
		}
	})
}

func TestSets_QuantiseQuery(t *testing.T) {
	everyPlace(t, func(tr *trial) {
		for _, size := range headSizes() {
			for _, kind := range wildKinds() {
				for n := range tr.set.queries {
					tr.quantiseQuery(fmt.Sprintf("%s, query %d of size %d", kind, n, size), wild(tr.rng, kind, size), n, tr.set.queries)
				}
			}
		}
	})
}

func TestSets_Scores(t *testing.T) {
	everyPlace(t, func(tr *trial) {
		for _, size := range headSizes() {
			for n := range upTo(tr.set.queries) {
				for _, tokens := range few(append(upTo(34), 47, 63, 64, 100), 20) {
					stride := tokens + oneOf(tr.rng, 0, 1, 64-tokens%64, 13)
					what := fmt.Sprintf("size %d, %d queries, %d tokens, stride %d", size, n+1, tokens, stride)
					tr.scores(what, queriesOf(tr.rng, n+1, size), storedOf(tr.rng, size, tokens), stride)
				}
			}
		}
	})
}

func TestSets_Values(t *testing.T) {
	everyPlace(t, func(tr *trial) {
		for _, size := range headSizes() {
			for n := range upTo(tr.set.queries) {
				for _, tokens := range few(append(upTo(34), 47, 63, 64, 100), 20) {
					kind := oneOf(tr.rng, weightKinds()...)
					stride := tokens + oneOf(tr.rng, 0, 1, 64-tokens%64, 13)
					what := fmt.Sprintf("size %d, %d queries, %d tokens, stride %d, weights %s", size, n+1, tokens, stride, kind)
					total := sample(tr.rng, oneOf(tr.rng, "normal", "zero", "huge"), (n+1)*size)
					tr.values(what, total, n+1, weightsOf(tr.rng, kind, n*stride+tokens), stride, storedOf(tr.rng, size, tokens))
				}
			}
		}
	})
}

func TestSets_HalfCache(t *testing.T) {
	everyPlace(t, func(tr *trial) {
		for _, size := range headSizes() {
			for _, tokens := range few(append(upTo(34), 47, 63, 64, 100), 20) {
				for _, kind := range []string{"normal", "wide", "bits", "denormal", "zero", "equal"} {
					width := size * (1 + tr.rng.Intn(3))
					codes := wideWeights(tr.rng, F16, oneOf(tr.rng, "normal", "bits", "denormal", "equal"), (tokens-1)*width+size)
					weights := oneOf(tr.rng, weightKinds()...)
					what := fmt.Sprintf("size %d, %d tokens, query %s, weights %s", size, tokens, kind, weights)
					tr.halfCache(what, wild(tr.rng, kind, size), weightsOf(tr.rng, weights, tokens), codes, width)
				}
			}
		}
	})
}

func TestSets_Bias(t *testing.T) {
	everyPlace(t, func(tr *trial) {
		for _, n := range widths() {
			for _, kind := range []string{"normal", "wide", "bits", "zero", "minus zero"} {
				slope := oneOf(tr.rng, append(Slopes(40), 0, 0x1p-126, 3)...)
				first := oneOf(tr.rng, 1-n, -tr.rng.Intn(4096), -n/2, 0, -maxSide, maxSide-n)
				tr.bias(fmt.Sprintf("%s, %d from %d on by %v", kind, n, first, slope), wild(tr.rng, kind, n), slope, first)
			}
		}
	})
}

func TestSets_SoftWeights(t *testing.T) {
	everyPlace(t, func(tr *trial) {
		for _, n := range few(append(upTo(300), 4096), 70) {
			for _, kind := range append(wildKinds(), "scores") {
				s := wild(tr.rng, kind, n)
				if kind == "scores" {
					for i, v := range sample(tr.rng, "normal", n) {
						s[i] = 20 * v
					}
				}
				tr.softWeights(fmt.Sprintf("%s, %d", kind, n), s)
			}
		}
		var s []float32 // differences through the whole range, and beside the cut
		for d := float32(0); d > -90; d -= 0.0071 {
			s = append(s, d)
		}
		for i := range uint32(20) {
			s = append(s, math.Float32frombits(math.Float32bits(scoreCut)+i-10))
		}
		tr.weigh("a ramp", s, 0)
		for _, most := range []float32{float32(math.Inf(1)), float32(math.NaN()), math.MaxFloat32, 1e-40} {
			tr.weigh(fmt.Sprintf("at most %v", most), s, most)
		}
	})
}
