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
	s := loadOf7B(b, 4)
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

// loadOf7B makes a shard of some layers of the 7B, and its head.
func loadOf7B(b *testing.B, layers int) *shard.Shard {
	b.Helper()
	shape, err := synthetic.Preset("baichuan2-7b")
	if err != nil {
		b.Fatal(err)
	}
	shape.Layers = layers
	m, err := Synthetic("7b", shape, "nf4")
	if err != nil {
		b.Fatal(err)
	}
	dev := kernels.NewCPU(0)
	b.Cleanup(func() { dev.Close() })
	s, err := shard.Load(b.Context(), m, store.Span{Start: 0, End: layers}, dev, shard.Config{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	return s
}

// What a pass of others is put off for while parts of a cache are read that is handed over (some MB of layers of pages), or
// rows that are replayed.
func BenchmarkCopies(b *testing.B) {
	s := loadOf7B(b, 4)
	c := s.NewCache(s.Span())
	defer c.Close()
	if err := c.Fill(2048); err != nil {
		b.Fatal(err)
	}
	for _, mib := range []int{1, 4, 16} {
		b.Run(fmt.Sprintf("pages/MiB=%d", mib), func(b *testing.B) {
			b.SetBytes(int64(mib) << 20)
			at := 0
			for b.Loop() {
				for read := 0; read < mib<<20; at++ {
					part := make([]byte, c.PageBytes(at%4, kernels.PageSize))
					c.ReadPage(part, at/4%32, at%4)
					read += len(part)
				}
			}
		})
	}
	for _, n := range []int{64, 256, 512} {
		b.Run(fmt.Sprintf("outputs/rows=%d", n), func(b *testing.B) {
			b.SetBytes(int64(n) * int64(c.PageBytes(-1, 1)))
			at := 0
			for b.Loop() {
				c.Outputs(kernels.Rows{}, at, n)
				at = (at + n) % 2048
			}
		})
	}
}
