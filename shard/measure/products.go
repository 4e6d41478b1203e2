package measure

import (
	"context"
	"fmt"
	"time"

	"github.com/baichuan-node/baichuan-node/kernels"
)

// layer is the matrices of a layer on a device.
type layer struct {
	wPack, oProj, gate, up, down kernels.Weights
	stored                       [][]byte
}

// allProducts measures those of each format.
func (b *bench) allProducts(ctx context.Context) error {
	for _, f := range b.cfg.Formats {
		if err := b.products(ctx, f); err != nil {
			return err
		}
	}
	return nil
}

// products measures the four products of a layer in a format.
func (b *bench) products(ctx context.Context, f kernels.Format) error {
	layers, err := b.layers(f)
	if err != nil {
		return err
	}
	var stored [][]byte
	for i := range layers {
		stored = append(stored, layers[i].stored...)
	}
	b.meter = &meter{probe: b.probe.Over(stored...)}
	return b.growing(ctx, b.cfg.Rows, func(n int) (time.Duration, error) {
		ops, err := b.layerOperations(f, n, layers)
		if err != nil {
			return 0, err
		}
		return b.measure(f.String()+" layer", ops...)
	})
}

// layers makes as many layers as do not fit a cache.
func (b *bench) layers(f kernels.Format) ([]layer, error) {
	h, m := b.cfg.Hidden, b.cfg.Intermediate
	size, _ := f.MatrixSize(4*h+2*m, h)
	down, _ := f.MatrixSize(h, m)
	layers := make([]layer, b.cfg.Stream/(size+down)+1)
	for i := range layers {
		l := &layers[i]
		for _, w := range []struct {
			to      *kernels.Weights
			rows, k int
		}{{&l.wPack, 3 * h, h}, {&l.oProj, h, h}, {&l.gate, m, h}, {&l.up, m, h}, {&l.down, h, m}} {
			m := b.noise.matrix(f, w.rows, w.k)
			l.stored = append(l.stored, m.Data)
			var err error
			if *w.to, err = b.dev.Matrix(m); err != nil {
				return nil, err
			}
		}
	}
	return layers, nil
}

// growing measures with more and more rows, until the next ones would take too long.
func (b *bench) growing(ctx context.Context, rows []int, do func(n int) (time.Duration, error)) error {
	var took time.Duration
	for i, n := range rows {
		if err := ctx.Err(); err != nil {
			return err
		}
		if i > 0 && took*time.Duration(n)/time.Duration(rows[i-1]) > kernelPatience {
			return nil
		}
		var err error
		if took, err = do(n); err != nil {
			return err
		}
	}
	return nil
}

// layerOperations are the products of a layer with n rows.
func (b *bench) layerOperations(f kernels.Format, n int, layers []layer) ([]operation, error) {
	h, m := b.cfg.Hidden, b.cfg.Intermediate
	buffers, err := b.buffers(n, h, m, 3*h, h, m)
	if err != nil {
		return nil, err
	}
	x, inner, qkv, out, gated := buffers[0], buffers[1], buffers[2], buffers[3], buffers[4]
	at := func(turn int) *layer { return &layers[turn%len(layers)] }
	op := func(name string, rows, k int, run func(turn int)) operation {
		return operation{
			kernel: f.String() + " " + name, shape: fmt.Sprintf("%dx%d", rows, k), rows: n,
			work: product(f, rows, k, n), run: run,
		}
	}
	return []operation{
		op("w_pack", 3*h, h, func(turn int) { b.dev.MatMul(qkv, x, n, at(turn).wPack, place) }),
		op("o_proj", h, h, func(turn int) { b.dev.AddMatMul(out, x, n, at(turn).oProj, place) }),
		op("gate+up", 2*m, h, func(turn int) { b.dev.GatedMatMul(gated, x, n, at(turn).gate, at(turn).up, place) }),
		op("down", h, m, func(turn int) { b.dev.AddMatMul(out, inner, n, at(turn).down, place) }),
	}, nil
}

// head measures the product with the head, which no cache holds.
func (b *bench) head(ctx context.Context) error {
	v, h := b.cfg.Vocab, b.cfg.Hidden
	m := b.noise.matrix(kernels.Int8, v, h)
	w, err := b.dev.Matrix(m)
	if err != nil {
		return err
	}
	b.meter = &meter{probe: b.probe.Over(m.Data)}
	return b.growing(ctx, b.cfg.HeadRows, func(n int) (time.Duration, error) {
		buffers, err := b.buffers(n, h, v)
		if err != nil {
			return 0, err
		}
		return b.measure("", operation{
			kernel: "int8 head", shape: fmt.Sprintf("%dx%d", v, h), rows: n, work: product(kernels.Int8, v, h, n),
			run: func(int) { b.dev.MatMul(buffers[1], buffers[0], n, w, place) },
		})
	})
}

// rows measures what is done to each row of activations, which lie in a cache of the processor: their share of the
// memory's speed says little.
func (b *bench) rows(ctx context.Context) error {
	h := b.cfg.Hidden
	ones := make([]byte, 4*h)
	repeat(ones, b.noise.gains(), 0)
	gain, err := b.dev.Gain(ones)
	if err != nil {
		return err
	}
	narrow, err := b.dev.Matrix(b.noise.matrix(kernels.Int8, kernels.PanelRows, h))
	if err != nil {
		return err
	}
	for _, n := range []int{1, b.cfg.Prompt} {
		if err := ctx.Err(); err != nil {
			return err
		}
		buffers, err := b.buffers(n, h, h, kernels.PanelRows)
		if err != nil {
			return err
		}
		x, y, few := buffers[0], buffers[1], buffers[2]
		for _, op := range []operation{
			{kernel: "rms_norm", work: Work{Bytes: 8, Float: 4}, run: func(int) { b.dev.RMSNorm(y, x, n, gain, 1e-6, place) }},
			{kernel: "quantise", work: Work{Bytes: 5, Float: 2, Integer: 2 * kernels.PanelRows}, run: func(int) { b.dev.MatMul(few, x, n, narrow, place) }},
			{kernel: "round", work: Work{Bytes: 8, Float: 2}, run: func(int) { b.dev.Round(nil, y, n, place) }},
		} {
			op.shape, op.rows, op.work = fmt.Sprintf("%d wide", h), n, op.work.times(n*h)
			if _, err := b.measure("", op); err != nil {
				return err
			}
		}
	}
	return nil
}
