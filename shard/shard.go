// Package shard is a span of a model's layers in memory: its weights on a device, its paged cache of keys and
// values, and the rows that move through them.
//
// A shard computes what NUMERICS defines: the same bits for a row whatever else is in the batch, however a prompt
// is split and wherever the layers are cut. It knows nothing of peers, streams or timeouts, and one goroutine at a
// time uses it: whoever serves several sessions queues their steps.
package shard

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/baichuan-node/baichuan-node/kernels"
	"github.com/baichuan-node/baichuan-node/shard/pagename"
	"github.com/baichuan-node/baichuan-node/shard/store"
)

// Config says how much of the machine a shard may use.
type Config struct {
	// CacheTokens is the room for keys and values, in tokens over all sessions, rounded up to whole pages. 0 means
	// one sequence of the model's context.
	CacheTokens int
	// Progress is told after each part that has been loaded; nil tells nobody.
	Progress func(done, total int64)
}

// Shard is a span ready to compute. Make one with Load.
type Shard struct {
	manifest *store.Manifest
	id       store.ID
	span     store.Span
	dev      kernels.Device
	eps      float32

	embed      kernels.Weights // with layer 0
	layers     []layer
	norm, head kernels.Weights // with the last layer

	parts []*store.Mapped // what the weights read from
	pages *pages
	namer *pagename.Namer
	work  *scratch

	progress atomic.Uint64
}

// layer is one transformer layer's weights. (out, in): wPack (3*hidden, hidden) with the rows of Q, K and V one after
// the other, oProj (hidden, hidden), gate and up (intermediate, hidden), down (hidden, intermediate).
type layer struct {
	norm1, wPack, oProj, norm2, gate, up, down kernels.Weights
}

// Need is what a span costs before a byte is read: the bytes of its weights, ends included, and the bytes of cache
// that one token takes, its keys, values and kept output.
func Need(m *store.Manifest, span store.Span) (weights, perToken int64) {
	for _, i := range m.PartsOf(span) {
		weights += m.Parts[i].Size
	}
	keys := int64(2 * m.Hidden) // bytes of one token in one layer; its values take as many
	if m.KV == kernels.Int8.String() {
		keys = int64(m.Hidden + 2*m.Hidden/kernels.CacheUnit)
	}
	record := int64(recordBytes(m.Hidden) / kernels.PageSize)
	return weights, 2*keys*int64(span.End-span.Start) + record
}

// Load maps the parts of span and makes them ready on dev, which stays the caller's to close, after the shard.
func Load(ctx context.Context, m *store.Model, span store.Span, dev kernels.Device, cfg Config) (*Shard, error) {
	mf := m.Manifest
	if span.Start < 0 || span.Start >= span.End || span.End > mf.Layers {
		return nil, fmt.Errorf("load layers %v of %s: the model has layers 0:%d", span, m.Name, mf.Layers)
	}
	s := &Shard{manifest: mf, id: m.ID, span: span, dev: dev, eps: mf.EpsValue(), namer: pagename.New()}
	if err := s.load(ctx, m, cfg); err != nil {
		return nil, errors.Join(fmt.Errorf("load layers %v of %s: %w", span, m.Name, err), s.Close())
	}
	return s, nil
}

func (s *Shard) load(ctx context.Context, m *store.Model, cfg Config) error {
	var done int64
	total, _ := Need(s.manifest, s.span)
	for _, i := range s.manifest.PartsOf(s.span) {
		if err := ctx.Err(); err != nil {
			return err
		}
		mapped, err := m.Part(i)
		if err != nil {
			return err
		}
		s.parts = append(s.parts, mapped)
		if err := s.loadPart(i, mapped.Bytes()); err != nil {
			return err
		}
		done += s.manifest.Parts[i].Size
		if cfg.Progress != nil {
			cfg.Progress(done, total)
		}
	}
	tokens := cfg.CacheTokens
	if tokens == 0 {
		tokens = s.manifest.Context
	}
	var err error
	if s.pages, err = newPages(s.dev, s.manifest, s.span, tokens); err != nil {
		return err
	}
	s.work, err = newScratch(s.dev, s.manifest, s.Last())
	return err
}

// loadPart gives the device each tensor of a part, after a look at what a damaged or hostile file could hold.
func (s *Shard) loadPart(index int, data []byte) error {
	loaded := make(map[string]kernels.Weights)
	for _, t := range s.manifest.Parts[index].Tensors {
		w, err := loadTensor(s.dev, t, data[t.Offset:t.Offset+t.Size])
		if err != nil {
			return fmt.Errorf("%s: tensor %s: %w", store.PartName(s.manifest, index), t.Name, err)
		}
		loaded[t.Name] = w
	}
	switch index {
	case 0:
		s.embed = loaded["embed"]
	case s.manifest.Layers + 1:
		s.norm, s.head = loaded["norm"], loaded["lm_head"]
	default:
		s.layers = append(s.layers, layer{
			norm1: loaded["norm1"], wPack: loaded["w_pack"], oProj: loaded["o_proj"],
			norm2: loaded["norm2"], gate: loaded["gate"], up: loaded["up"], down: loaded["down"],
		})
	}
	return nil
}

func loadTensor(dev kernels.Device, t store.Tensor, data []byte) (kernels.Weights, error) {
	f, err := kernels.ParseFormat(t.Format)
	if err != nil {
		return nil, err
	}
	switch {
	case t.Name == "embed":
		table := kernels.Table{Rows: t.Rows, K: t.Cols, Format: f, Data: data}
		if err := kernels.CheckTable(table); err != nil {
			return nil, err
		}
		return dev.Table(table)
	case f == kernels.F32:
		if err := kernels.CheckGain(data); err != nil {
			return nil, err
		}
		return dev.Gain(data)
	}
	matrix := kernels.Matrix{Rows: t.Rows, K: t.Cols, Format: f, Data: data}
	if err := kernels.CheckMatrix(matrix); err != nil {
		return nil, err
	}
	return dev.Matrix(matrix)
}

// Span is the layers that the shard holds.
func (s *Shard) Span() store.Span { return s.span }

// First says whether the shard begins at layer 0, and so embeds ids.
func (s *Shard) First() bool { return s.span.Start == 0 }

// Last says whether the shard ends with the model's last layer, and so has the head.
func (s *Shard) Last() bool { return s.span.End == s.manifest.Layers }

// Model is the model's id.
func (s *Shard) Model() store.ID { return s.id }

// Manifest is the model's; it must not be changed.
func (s *Shard) Manifest() *store.Manifest { return s.manifest }

// Device is what computes the shard.
func (s *Shard) Device() kernels.Device { return s.dev }

// Progress is a count that grows with each layer computed, whoever for. It may be read at any time, by any goroutine: who
// waits for a long computation learns from it that it goes on.
func (s *Shard) Progress() uint64 { return s.progress.Load() }

// Close frees the cache and unmaps the weights. No Cache of the shard may be used after it.
func (s *Shard) Close() error {
	var errs []error
	if s.pages != nil {
		errs = append(errs, s.pages.close())
		s.pages = nil
	}
	for _, p := range s.parts {
		errs = append(errs, p.Close())
	}
	s.parts = nil
	return errors.Join(errs...)
}
