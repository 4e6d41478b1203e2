package shard_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/baichuan-node/baichuan-node/kernels"
	"github.com/baichuan-node/baichuan-node/shard"
	"github.com/baichuan-node/baichuan-node/shard/checkpoint/synthetic"
	"github.com/baichuan-node/baichuan-node/shard/pagename"
)

// compute appends a step's worth to a cache and gives a copy of what came out.
func compute(t *testing.T, s *shard.Shard, c *shard.Cache, ids []uint32, in kernels.Rows) kernels.Rows {
	t.Helper()
	st := &shard.Step{Cache: c, In: in}
	if c.Span().Start == 0 {
		st = &shard.Step{Cache: c, IDs: ids}
	}
	s.Forward(st)
	if st.Err != nil {
		t.Fatal(st.Err)
	}
	return st.Out
}

// head gives the first n rows, tail those from row n on.
func head(r kernels.Rows, n int) kernels.Rows {
	return kernels.Rows{N: n, Width: r.Width, Exp: r.Exp[:n], Half: r.Half[:2*n*r.Width]}
}

func tail(r kernels.Rows, n int) kernels.Rows {
	return kernels.Rows{N: r.N - n, Width: r.Width, Exp: r.Exp[n:], Half: r.Half[2*n*r.Width:]}
}

// pair is the two halves of a model, and what they make of a prompt.
type pair struct {
	first, last *shard.Shard
	ids         []uint32
	mid, out    kernels.Rows
}

func newPair(t *testing.T, preset string) *pair {
	t.Helper()
	f := newFixture(t, preset, 11, synthetic.BF16)
	m := f.model("nf4", "int8")
	p := &pair{first: f.load(m, 0, 2), last: f.load(m, 2, m.Manifest.Layers), ids: prompt(200)}
	a, b := p.first.NewCache(p.first.Span()), p.last.NewCache(p.last.Span())
	p.mid = compute(t, p.first, a, p.ids, kernels.Rows{})
	p.out = compute(t, p.last, b, nil, p.mid)
	a.Close()
	b.Close()
	return p
}

func TestAdopt_GoesOnFromPagesOfTheSameInput(t *testing.T) {
	for _, preset := range []string{"small-7b", "small-13b"} {
		p := newPair(t, preset)
		salt := pagename.Salt{1}
		a, b := p.first.NewSharedCache(p.first.Span(), salt), p.last.NewSharedCache(p.last.Span(), salt)
		compute(t, p.first, a, p.ids[:170], kernels.Rows{})
		compute(t, p.last, b, nil, head(p.mid, 170))
		free := p.first.CacheFree()

		names := pagename.Pages(p.first.Model(), salt, p.ids, kernels.PageSize)
		a2, b2 := p.first.NewSharedCache(p.first.Span(), salt), p.last.NewSharedCache(p.last.Span(), salt)
		if n := a2.Adopt(names); n != 128 || a2.Len() != 128 || p.first.CacheFree() != free {
			t.Fatalf("%s: adopted %d tokens, %d are held, %d tokens free of %d: want the two full pages, shared", preset, n, a2.Len(), p.first.CacheFree(), free)
		}
		if n := b2.Adopt(a2.OutputNames()); n != 128 {
			t.Fatalf("%s: the second span adopted %d tokens", preset, n)
		}
		mid := compute(t, p.first, a2, p.ids[128:], kernels.Rows{})
		if !bytes.Equal(mid.Half, tail(p.mid, 128).Half) {
			t.Fatalf("%s: the first span made other bits behind shared pages", preset)
		}
		if out := compute(t, p.last, b2, nil, mid); !bytes.Equal(out.Half, tail(p.out, 128).Half) || !bytes.Equal(out.Exp, tail(p.out, 128).Exp) {
			t.Fatalf("%s: the last span made other bits behind shared pages", preset)
		}
		if got := b2.Outputs(kernels.Rows{}, 60, 140); !bytes.Equal(got.Half, tail(p.out, 60).Half) || !bytes.Equal(got.Exp, tail(p.out, 60).Exp) {
			t.Errorf("%s: the kept outputs are not those of computing", preset)
		}
		for what, other := range map[string][]pagename.Name{
			"another salt":  pagename.Pages(p.first.Model(), pagename.Salt{2}, p.ids, kernels.PageSize),
			"another model": pagename.Pages([32]byte{1}, salt, p.ids, kernels.PageSize),
			"other ids":     pagename.Pages(p.first.Model(), salt, append([]uint32{9}, p.ids[1:]...), kernels.PageSize),
			"output names":  a2.OutputNames(),
		} {
			if n := p.first.NewSharedCache(p.first.Span(), salt).Adopt(other); n != 0 {
				t.Errorf("%s: %s found %d tokens", preset, what, n)
			}
		}
	}
}

func TestAdopt_WhoRollsBackChangesNobodyElsesPages(t *testing.T) {
	p := newPair(t, "small-7b")
	span, salt := p.first.Span(), pagename.Salt{}
	names := pagename.Pages(p.first.Model(), salt, p.ids, kernels.PageSize)
	a := p.first.NewSharedCache(span, salt)
	compute(t, p.first, a, p.ids, kernels.Rows{})
	b := p.first.NewSharedCache(span, salt)
	if n := b.Adopt(names); n != 192 {
		t.Fatalf("adopted %d tokens", n)
	}
	b.Truncate(100)
	other := slices.Clone(p.ids[100:180])
	other[0]++
	got := compute(t, p.first, b, other, kernels.Rows{})
	fresh := p.first.NewCache(span)
	compute(t, p.first, fresh, p.ids[:100], kernels.Rows{})
	if want := compute(t, p.first, fresh, other, kernels.Rows{}); !bytes.Equal(got.Half, want.Half) {
		t.Error("behind a rollback into a shared page: other bits")
	}
	a.Truncate(150)
	if again := compute(t, p.first, a, p.ids[150:], kernels.Rows{}); !bytes.Equal(again.Half, tail(p.mid, 150).Half) {
		t.Error("the pages' first owner makes other bits after somebody else rolled back in them")
	}
	c := p.first.NewSharedCache(span, salt)
	if n := c.Adopt(names); n != 192 {
		t.Errorf("%d tokens are found afterwards, want 192", n)
	}
	if rest := compute(t, p.first, c, p.ids[192:], kernels.Rows{}); !bytes.Equal(rest.Half, tail(p.mid, 192).Half) {
		t.Error("behind pages found afterwards: other bits")
	}
}

func TestPages_AreFoundUntilTheirMemoryIsNeeded(t *testing.T) {
	p := newPair(t, "small-7b")
	span, salt := p.first.Span(), pagename.Salt{}
	all := p.first.CacheFree()
	run := func(first uint32) []pagename.Name {
		ids := slices.Clone(p.ids[:129])
		ids[0] = first
		c := p.first.NewSharedCache(span, salt)
		compute(t, p.first, c, ids, kernels.Rows{})
		c.Close()
		return pagename.Pages(p.first.Model(), salt, ids, kernels.PageSize)
	}
	old, recent := run(1), run(2)
	if p.first.CacheFree() != all {
		t.Fatalf("%d tokens free of %d after all are closed", p.first.CacheFree(), all)
	}
	held := func(names []pagename.Name) int {
		c := p.first.NewSharedCache(span, salt)
		defer c.Close()
		return c.Adopt(names)
	}
	if held(old) != 128 || held(recent) != 128 {
		t.Fatal("pages of closed sequences are not found")
	}
	held(old) // used last: recent goes first
	big := p.first.NewCache(span)
	if err := big.Reserve(all - 128); err != nil {
		t.Fatal(err)
	}
	if held(recent) != 0 || held(old) != 128 {
		t.Errorf("with memory for two pages left, %d tokens of the older and %d of the recently used are found", held(recent), held(old))
	}
	var full *shard.NoMemoryError
	if err := p.first.NewCache(span).Reserve(129); !errors.As(err, &full) {
		t.Errorf("more than is free: %v", err)
	}
	private := p.first.NewCache(span)
	compute(t, p.first, private, p.ids[:65], kernels.Rows{})
	private.Close()
	if held(pagename.Pages(p.first.Model(), salt, p.ids[:65], kernels.PageSize)) != 0 {
		t.Error("a private page is found")
	}
}

func TestWritePage_TheSuccessorGoesOnWithTheSameBits(t *testing.T) {
	for _, preset := range []string{"small-7b", "small-13b"} {
		p := newPair(t, preset)
		span := p.last.Span()
		a, b := p.last.NewSharedCache(span, pagename.Salt{}), p.last.NewCache(span)
		compute(t, p.last, a, nil, head(p.mid, 150))
		for index := 0; index*kernels.PageSize < a.Len(); index++ {
			tokens := min(a.Len()-index*kernels.PageSize, kernels.PageSize)
			for layer := span.Start; layer <= span.End; layer++ {
				layer := layer
				if layer == span.End {
					layer = -1
				}
				data := make([]byte, a.PageBytes(layer, tokens))
				a.ReadPage(data, index, layer)
				if err := b.WritePage(index, layer, tokens, data); err != nil {
					t.Fatal(err)
				}
			}
		}
		if b.Len() != 150 {
			t.Fatalf("%s: %d tokens were taken over", preset, b.Len())
		}
		if out := compute(t, p.last, b, nil, tail(p.mid, 150)); !bytes.Equal(out.Half, tail(p.out, 150).Half) {
			t.Errorf("%s: the successor makes other bits", preset)
		}
		if got := b.Outputs(kernels.Rows{}, 0, 200); !bytes.Equal(got.Half, p.out.Half) {
			t.Errorf("%s: the successor has other outputs to replay", preset)
		}
	}
}

func TestWritePage_RefusesWhatNoCacheHolds(t *testing.T) {
	p := newPair(t, "small-7b")
	span := p.last.Span()
	a := p.last.NewCache(span)
	compute(t, p.last, a, nil, head(p.mid, 70))
	layer, rows := make([]byte, a.PageBytes(2, 64)), make([]byte, a.PageBytes(-1, 64))
	a.ReadPage(layer, 0, 2)
	a.ReadPage(rows, 0, -1)
	spoil := func(b []byte, at int, v byte) []byte {
		b = slices.Clone(b)
		b[at] = v
		return b
	}
	hidden := p.mid.Width
	for name, c := range map[string]struct {
		index, layer, tokens int
		data                 []byte
		want                 string
	}{
		"a page too early":            {1, 2, 64, layer, "where 0 tokens"},
		"too many tokens":             {0, 2, 65, layer, "65 tokens"},
		"no token":                    {0, 2, 0, nil, "0 tokens"},
		"too few bytes":               {0, 2, 64, layer[1:], "layer 2"},
		"a layer of another span":     {0, 1, 64, layer, "layer 1"},
		"a code of -128":              {0, 2, 64, spoil(layer, 5, 0x80), "-128"},
		"a scale that is infinite":    {0, 2, 64, spoil(layer, 64*hidden+1, 0x7C), "number 0"},
		"a scale below 0":             {0, 2, 64, spoil(layer, 64*hidden+1, 0xAC), "number 0"},
		"an exponent above 24":        {0, -1, 64, spoil(rows, 0, 25), "exponent"},
		"an output that is no number": {0, -1, 64, spoil(spoil(rows, 64, 0xFF), 65, 0x7F), "not finite"},
	} {
		b := p.last.NewCache(span)
		if err := b.WritePage(c.index, c.layer, c.tokens, c.data); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v", name, err)
		}
		if b.Len() != 0 {
			t.Errorf("%s: %d tokens were taken over", name, b.Len())
		}
		b.Close()
	}
}
