package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/baichuan-node/baichuan-node/shard"
	"github.com/baichuan-node/baichuan-node/shard/bundled"
	"github.com/baichuan-node/baichuan-node/shard/store"
)

func TestByteSize_ReadsWhatPeopleWrite(t *testing.T) {
	for text, want := range map[string]byteSize{
		"1": 1, "8GiB": 8 << 30, "8gib": 8 << 30, "1.5 GiB": 3 << 29, "500MB": 500e6, "64KiB": 64 << 10, "2TB": 2e12, "7b": 7,
	} {
		var got byteSize
		if err := got.Set(text); err != nil || got != want {
			t.Errorf("%q is %d (%v), want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "GiB", "0", "-1GiB", "8XB", "8GiBs", "1e3GiB2", "NaN", "inf", "9e18TB"} {
		var got byteSize
		if err := got.Set(text); err == nil || !strings.Contains(err.Error(), "8GiB") {
			t.Errorf("%q became %d, error %v", text, got, err)
		}
	}
}

func TestFit_HoldsWhatFits(t *testing.T) {
	newHome(t)
	model, err := storedModel(bundled.Chat)
	if err != nil {
		t.Fatal(err)
	}
	m := model.Manifest
	whole := store.Span{Start: 0, End: m.Layers}
	need := func(span store.Span, tokens int) byteSize {
		weights, perToken := shard.Need(m, span)
		return byteSize(weights + int64(tokens)*perToken + restBytes)
	}
	for _, c := range []struct {
		name       string
		span       store.Span
		auto       bool
		tokens     int
		memory     byteSize
		wantSpan   store.Span
		wantTokens int
		refusal    string
	}{
		{"no bound", whole, true, 0, 0, whole, 4 * m.Context, ""},
		{"more than enough", whole, true, 0, 8 << 30, whole, 4 * m.Context, ""},
		{"room for one context", whole, false, 0, need(whole, m.Context), whole, m.Context, ""},
		{"room for two and a half", whole, false, 0, need(whole, m.Context*5/2), whole, m.Context * 5 / 2, ""},
		{"a byte less than the wish", whole, false, 100, need(whole, 100) - 1, whole, 0, "serve --layers 0:5"},
		{"the wish", whole, false, 100, need(whole, 100), whole, 100, ""},
		{"auto takes what fits", whole, true, 0, need(whole, m.Context) - 1, store.Span{Start: 0, End: 5}, 0, ""},
		{"one layer", whole, true, 64, need(store.Span{Start: 0, End: 1}, 64), store.Span{Start: 0, End: 1}, 64, ""},
		{"no layer", whole, true, 64, need(store.Span{Start: 0, End: 1}, 64) - 1, whole, 0, "no layer fits"},
		{"the last layers", store.Span{Start: 4, End: 6}, false, 64, need(store.Span{Start: 4, End: 6}, 64) - 1, whole, 0, "serve --layers 4:5"},
	} {
		got, err := fit(m, c.span, c.auto, c.tokens, c.memory)
		if c.refusal != "" {
			var usage usageError
			if !errors.As(err, &usage) || !strings.Contains(err.Error(), c.refusal) {
				t.Errorf("%s: got %+v, error %v", c.name, got, err)
			}
			continue
		}
		if err != nil || got.span != c.wantSpan || c.wantTokens != 0 && got.tokens != c.wantTokens {
			t.Errorf("%s: got %+v (%v), want layers %v and %d tokens", c.name, got, err, c.wantSpan, c.wantTokens)
			continue
		}
		if weights, perToken := shard.Need(m, got.span); c.memory > 0 && weights+int64(got.tokens)*perToken+got.rest != int64(c.memory) {
			t.Errorf("%s: %d bytes of weights, %d tokens and %d bytes left are not %d", c.name, weights, got.tokens, got.rest, int64(c.memory))
		}
	}
}

func TestFitsMachine_TellsWhatIsNeededAndWhatIsThere(t *testing.T) {
	newHome(t)
	model, err := storedModel(bundled.Chat)
	if err != nil {
		t.Fatal(err)
	}
	span := store.Span{Start: 0, End: 2}
	bytes, _ := need(model.Manifest, span, 64)
	for _, total := range []int64{0, bytes, bytes + 1} {
		if err := fitsMachine(model.Manifest, span, 64, total); err != nil {
			t.Errorf("%d bytes on a machine of %d: %v", bytes, total, err)
		}
	}
	err = fitsMachine(model.Manifest, span, 64, bytes-1)
	if err == nil || !strings.Contains(err.Error(), "needs "+humanBytes(bytes)) || !strings.Contains(err.Error(), "--layers") {
		t.Errorf("a byte too little: %v", err)
	}
}
