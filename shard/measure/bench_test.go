package measure

import (
	"fmt"
	"testing"

	"github.com/baichuan-node/baichuan-node/kernels"
	"github.com/baichuan-node/baichuan-node/shard"
	"github.com/baichuan-node/baichuan-node/shard/checkpoint/synthetic"
	"github.com/baichuan-node/baichuan-node/shard/store"
)

// The products of a layer of the 7B, of memory that is gone through in turn, on all cores with the fastest kernels:
//
//	go test ./shard/measure -run '^$' -bench Products -count 10 >new && benchstat old new
func BenchmarkProducts(b *testing.B) {
	dev := kernels.NewCPU(0)
	defer dev.Close()
	cfg := DefaultKernels()
	for _, f := range cfg.Formats {
		for _, n := range cfg.Rows {
			b.Run(fmt.Sprintf("%v/rows=%d", f, n), func(b *testing.B) {
				t := &bench{dev: dev, cfg: cfg, noise: newNoise()}
				layers, err := t.layers(f)
				if err != nil {
					b.Fatal(err)
				}
				ops, err := t.layerOperations(f, n, layers)
				if err != nil {
					b.Fatal(err)
				}
				var work Work
				for _, op := range ops {
					work = work.plus(op.work)
				}
				b.SetBytes(work.Bytes)
				turn := 0
				for b.Loop() {
					runAll(ops, turn)
					turn++
				}
				b.ReportMetric(float64(work.ops())*float64(b.N)/b.Elapsed().Seconds()/1e9, "GOPS")
			})
		}
	}
}

// Passes through some layers of the 7B and its head: a token, eight sequences, a prompt.
func BenchmarkPasses(b *testing.B) {
	shape, err := synthetic.Preset("baichuan2-7b")
	if err != nil {
		b.Fatal(err)
	}
	shape.Layers = 4
	m, err := Synthetic("7b", shape, "nf4")
	if err != nil {
		b.Fatal(err)
	}
	dev := kernels.NewCPU(0)
	defer dev.Close()
	s, err := shard.Load(b.Context(), m, store.Span{Start: 0, End: shape.Layers}, dev, shard.Config{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	for _, k := range []kind{{Decode, 0, 1, 1}, {Decode, 2048, 1, 1}, {Decode, 0, 8, 1}, {Verify, 0, 1, 4}, {Prefill, 0, 1, 128}} {
		b.Run(fmt.Sprintf("%s/context=%d/sequences=%d/rows=%d", k.name, k.context, k.sequences, k.rows), func(b *testing.B) {
			p, err := newPass(s, k.context, k.sequences, k.rows, k.name == Verify)
			if err != nil {
				b.Fatal(err)
			}
			defer p.close()
			b.ReportAllocs()
			b.SetBytes(p.work().Bytes)
			for b.Loop() {
				if _, err := p.run(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(p.rows)*float64(b.N)/b.Elapsed().Seconds(), "tokens/s")
			b.ReportMetric(float64(p.work().ops())*float64(b.N)/b.Elapsed().Seconds()/1e9, "GOPS")
		})
	}
}
