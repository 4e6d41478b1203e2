package main

import (
	"log/slog"
	"slices"
	"strconv"
	"strings"

	"github.com/pbnjay/memory"

	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/shard/store"
)

// wantedLayers is what --layers says.
type wantedLayers struct {
	auto bool
	most int        // with auto: layers at most; 0: as many as fit
	span store.Span // else
}

// parseLayers reads --layers: A:B, auto, or auto:N.
func parseLayers(text string) (wantedLayers, error) {
	rest, auto := strings.CutPrefix(text, "auto")
	if !auto {
		span, err := store.ParseSpan(text)
		if err != nil {
			return wantedLayers{}, usagef("--layers: %w; or auto, or auto:N for N layers at most", err)
		}
		return wantedLayers{span: span}, nil
	}
	if rest == "" {
		return wantedLayers{auto: true}, nil
	}
	n, err := strconv.Atoi(strings.TrimPrefix(rest, ":"))
	if err != nil || n < 1 || rest[0] != ':' {
		return wantedLayers{}, usagef("--layers %q: want auto:N with N layers at most, such as auto:8", text)
	}
	return wantedLayers{auto: true, most: n}, nil
}

// budgets finds what the node may hold of a model: one span, or those from which it is to choose.
func (f *serveFlags) budgets(m *store.Model, want wantedLayers, log *slog.Logger) (all []budget, err error) {
	if !want.auto {
		if whole := (store.Span{Start: 0, End: m.Manifest.Layers}); want.span.End > whole.End {
			return nil, usagef("--layers %v: %s has layers %v", want.span, m.Name, whole)
		}
		one, err := fit(m.Manifest, want.span, f.kvTokens, f.memory)
		return []budget{one}, err
	}
	within := f.memory
	if within == 0 {
		within = machineShare()
	}
	all, err = choices(m.Manifest, want.most, f.kvTokens, within)
	if err != nil {
		return nil, err
	}
	log.Info("so many layers fit", "layers", longestOf(all), "of", m.Manifest.Layers, "memory", within.String(),
		"given_by", map[bool]string{true: "--memory", false: "half of what this machine has"}[f.memory > 0])
	return all, nil
}

// machineShare is the memory that a node takes if it is not told: half of the machine's, as somebody works there; 0 where
// nobody knows how much that is.
func machineShare() byteSize { return byteSize(memory.TotalMemory() / 2) }

// longestOf is the layers of the longest of several spans.
func longestOf(all []budget) (n int) {
	for _, b := range all {
		n = max(n, b.span.End-b.span.Start)
	}
	return n
}

// spansOf lists the spans of what a node may hold.
func spansOf(all []budget) []protocol.Span {
	spans := make([]protocol.Span, len(all))
	for i, b := range all {
		spans[i] = protocol.Span(b.span)
	}
	return spans
}

// budgetOf is what the node holds of one of its spans.
func budgetOf(all []budget, span protocol.Span) budget {
	i := slices.IndexFunc(all, func(b budget) bool { return protocol.Span(b.span) == span })
	if i < 0 {
		panic("serve: no choice of layers is " + span.String()) // placement chooses among those alone
	}
	return all[i]
}
