package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/baichuan-node/baichuan-node/shard"
	"github.com/baichuan-node/baichuan-node/shard/store"
)

// byteSize is a flag's number of bytes: 8GiB, 500MB, or bytes alone.
type byteSize int64

// sizeUnits are the units that a size may have.
func sizeUnits() map[string]float64 {
	return map[string]float64{
		"": 1, "b": 1, "kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12,
		"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40,
	}
}

// Set is part of pflag.Value.
func (b *byteSize) Set(text string) error {
	digits := strings.TrimRight(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ")
	n, err := strconv.ParseFloat(digits, 64)
	unit, ok := sizeUnits()[strings.ToLower(strings.TrimSpace(text[len(digits):]))]
	if err != nil || !ok || !(n > 0) || n*unit >= math.MaxInt64 {
		return fmt.Errorf("%q is not a size: want one like 8GiB or 500MB", text)
	}
	*b = byteSize(n * unit)
	return nil
}

// Type is part of pflag.Value.
func (b *byteSize) Type() string { return "size" }

// String gives the size as it is printed everywhere.
func (b byteSize) String() string {
	if b == 0 {
		return "" // no default to show in the help
	}
	return humanBytes(int64(b))
}

// budget is what a node may hold: layers, and tokens of cache.
type budget struct {
	span   store.Span
	tokens int
	rest   int64 // what is left for everything else, at least restBytes
}

// fit finds what a node holds of a span within memory (0: as much as it takes): as many tokens of cache as are wanted, or
// without a wish from one context of the model to defaultContexts of them.
func fit(m *store.Manifest, span store.Span, tokens int, memory byteSize) (budget, error) {
	if held, fits := afford(m, span, tokens, memory); fits {
		return held, nil
	}
	least, _ := cacheWish(m, tokens)
	for fewer := span; fewer.End > fewer.Start+1; {
		fewer.End--
		if _, fits := afford(m, fewer, tokens, memory); fits {
			return budget{}, usagef("%s: serve --layers %v, or give it more", tooLarge(m, span, least, memory), fewer)
		}
	}
	return budget{}, noLayerFits(m, span.Start, least, memory)
}

// choices finds the spans that a node may choose from, by their start: from each layer on as many as fit into memory
// (0: all), at most so many (0: any number). Those that are part of another are left out. With the ends, which are large,
// fewer layers fit than elsewhere.
func choices(m *store.Manifest, most, tokens int, memory byteSize) ([]budget, error) {
	if most == 0 {
		most = m.Layers
	}
	var all []budget
	end := 0
	for start := range m.Layers {
		span := store.Span{Start: start, End: min(start+most, m.Layers)}
		held, fits := afford(m, span, tokens, memory)
		for !fits && span.End > max(end, start+1) {
			span.End--
			held, fits = afford(m, span, tokens, memory)
		}
		if fits && span.End > end {
			all, end = append(all, held), span.End
		}
	}
	if len(all) == 0 {
		least, _ := cacheWish(m, tokens)
		return nil, noLayerFits(m, 0, least, memory)
	}
	return all, nil
}

// afford is what a node holds of a span within memory, if the span fits.
func afford(m *store.Manifest, span store.Span, tokens int, memory byteSize) (held budget, fits bool) {
	least, most := cacheWish(m, tokens)
	if memory == 0 {
		return budget{span: span, tokens: most}, true
	}
	weights, perToken := shard.Need(m, span)
	left := int64(memory) - weights - restBytes
	if left < int64(least)*perToken {
		return budget{}, false
	}
	tokens = int(min(int64(most), left/perToken))
	return budget{span: span, tokens: tokens, rest: left + restBytes - int64(tokens)*perToken}, true
}

// cacheWish is how many tokens of cache a node is to have at least, and at most.
func cacheWish(m *store.Manifest, tokens int) (least, most int) {
	if tokens > 0 {
		return tokens, tokens
	}
	return m.Context, defaultContexts * m.Context
}

// noLayerFits says that not even the first layer of a span does.
func noLayerFits(m *store.Manifest, first, tokens int, memory byteSize) error {
	one := store.Span{Start: first, End: first + 1}
	return usagef("%s: no layer fits, give it more or a smaller --kv-tokens", tooLarge(m, one, tokens, memory))
}

// tooLarge says what a span would take.
func tooLarge(m *store.Manifest, span store.Span, tokens int, memory byteSize) string {
	_, text := need(m, span, tokens)
	return fmt.Sprintf("--memory %v: layers %v need %s", memory, span, text)
}

// need is what a span and so many tokens of cache take, and what of it is for what.
func need(m *store.Manifest, span store.Span, tokens int) (bytes int64, text string) {
	weights, perToken := shard.Need(m, span)
	cache := int64(tokens) * perToken
	bytes = weights + cache + restBytes
	return bytes, fmt.Sprintf("%v (weights %v, cache of %d tokens %v, %v for the rest)",
		byteSize(bytes), byteSize(weights), tokens, byteSize(cache), byteSize(restBytes))
}

// fitsMachine tells whether a machine with so much memory in all (0: unknown) can hold weights that come from no file. The
// system would end a program that took more.
func fitsMachine(m *store.Manifest, span store.Span, tokens int, total int64) error {
	if bytes, text := need(m, span, tokens); total > 0 && bytes > total {
		return fmt.Errorf("that needs %s, and this machine has %v: take fewer --layers, smaller --weights, or less of --context and --batch", text, byteSize(total))
	}
	return nil
}
