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
		tokens     int
		memory     byteSize
		wantSpan   store.Span
		wantTokens int
		refusal    string
	}{
		{"no bound", whole, 0, 0, whole, 4 * m.Context, ""},
		{"more than enough", whole, 0, 8 << 30, whole, 4 * m.Context, ""},
		{"room for one context", whole, 0, need(whole, m.Context), whole, m.Context, ""},
		{"room for two and a half", whole, 0, need(whole, m.Context*5/2), whole, m.Context * 5 / 2, ""},
		{"a byte less than the wish", whole, 100, need(whole, 100) - 1, whole, 0, "serve --layers 0:5"},
		{"the wish", whole, 100, need(whole, 100), whole, 100, ""},
		{"one layer", store.Span{Start: 0, End: 1}, 64, need(store.Span{Start: 0, End: 1}, 64), store.Span{Start: 0, End: 1}, 64, ""},
		{"no layer", whole, 64, need(store.Span{Start: 0, End: 1}, 64) - 1, whole, 0, "no layer fits"},
		{"the last layers", store.Span{Start: 4, End: 6}, 64, need(store.Span{Start: 4, End: 6}, 64) - 1, whole, 0, "serve --layers 4:5"},
	} {
		got, err := fit(m, c.span, c.tokens, c.memory)
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

// TestChoices_AreTheLongestSpansThatFit: fewer layers with the embedding or the head, and none that is part of another.
func TestChoices_AreTheLongestSpansThatFit(t *testing.T) {
	newHome(t)
	model, err := storedModel(bundled.Chat)
	if err != nil {
		t.Fatal(err)
	}
	m := model.Manifest
	need := func(start, end int) byteSize {
		weights, perToken := shard.Need(m, store.Span{Start: start, End: end})
		return byteSize(weights + 64*perToken + restBytes)
	}
	for _, c := range []struct {
		name    string
		memory  byteSize
		most    int
		want    string
		refusal string
	}{
		{"no bound", 0, 0, "0:6", ""},
		{"all fit", need(0, 6), 0, "0:6", ""},
		{"a byte less", need(0, 6) - 1, 0, "0:5 1:6", ""},
		{"two from the middle", need(2, 4), 0, "1:3 2:4 3:5", ""},
		{"three from the middle", need(2, 5), 0, "1:4 2:5", ""},
		{"at most two", 8 << 30, 2, "0:2 1:3 2:4 3:5 4:6", ""},
		{"at most nine", 8 << 30, 9, "0:6", ""},
		{"not even one", need(2, 3) - 1, 0, "", "no layer fits"},
	} {
		got, err := choices(m, c.most, 64, c.memory)
		if c.refusal != "" {
			if err == nil || !strings.Contains(err.Error(), c.refusal) {
				t.Errorf("%s: got %+v, error %v", c.name, got, err)
			}
			continue
		}
		var spans []string
		for _, b := range got {
			spans = append(spans, b.span.String())
			if weights, perToken := shard.Need(m, b.span); c.memory > 0 && weights+int64(b.tokens)*perToken+b.rest != int64(c.memory) {
				t.Errorf("%s: layers %v do not add up to %d bytes", c.name, b.span, int64(c.memory))
			}
		}
		if text := strings.Join(spans, " "); err != nil || text != c.want {
			t.Errorf("%s: got %s (%v), want %s", c.name, text, err, c.want)
		}
	}
}

func TestParseLayers_ReadsSpansAndBounds(t *testing.T) {
	for text, want := range map[string]wantedLayers{
		"auto": {auto: true}, "auto:5": {auto: true, most: 5}, "2:7": {span: store.Span{Start: 2, End: 7}},
	} {
		if got, err := parseLayers(text); err != nil || got != want {
			t.Errorf("%q is %+v (%v), want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "auto:", "auto:0", "auto:-1", "auto:x", "auto5", "automatic", "7", "3:3", "auto:1:2"} {
		if got, err := parseLayers(text); err == nil || !strings.Contains(err.Error(), "--layers") {
			t.Errorf("%q became %+v, error %v", text, got, err)
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
