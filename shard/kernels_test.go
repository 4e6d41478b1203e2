package shard_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/baichuan-node/baichuan-node/kernels"
	"github.com/baichuan-node/baichuan-node/shard/checkpoint/synthetic"
)

// on is the fixture with a device of some kernels and threads, for a subtest.
func (f *fixture) on(t *testing.T, name string, threads int) *fixture {
	t.Helper()
	dev, err := kernels.NewCPUWith(name, threads)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := dev.Close(); err != nil {
			t.Error(err)
		}
	})
	g := *f
	g.t, g.dev = t, dev
	return &g
}

// The whole promise at once: one prompt gives the same logits, and the same rows after the last layer, on each set of
// kernels that this machine has, with any number of threads, with the layers cut in every way and the prompt in batches.
func TestForward_EveryKernelGivesTheSameBits(t *testing.T) {
	ids := prompt(140)
	for i, model := range []struct {
		position, weights, kv string
		heads                 int // 256 elements together
	}{
		{"rope", "nf4", "int8", 2},
		{"rope", "bf16", "f16", 4},
		{"rope", "int8", "f16", 8},
		{"alibi", "nf4", "f16", 8},
		{"alibi", "int8", "int8", 4},
		{"alibi", "bf16", "int8", 2},
	} {
		name := fmt.Sprintf("%s/%s/kv-%s/%d heads", model.position, model.weights, model.kv, model.heads)
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, "small-7b", 23, synthetic.F32, func(s *synthetic.Spec) {
				s.Position, s.Heads = model.position, model.heads
			})
			m := f.model(model.weights, model.kv)
			layers := m.Manifest.Layers
			definition := f.on(t, "generic", 3).load(m, 0, layers)
			want := newChain(definition).rows(t, ids, len(ids))
			wantLogits := newChain(definition).run(t, ids[:30], 30)
			for _, kernel := range kernels.Sets() {
				for _, threads := range []int{1, 3} {
					if kernel == "generic" && (i > 0 || threads > 1) {
						continue // slow, and what the others are compared with
					}
					t.Run(fmt.Sprintf("%s/%d threads", kernel, threads), func(t *testing.T) {
						f := f.on(t, kernel, threads)
						whole := f.load(m, 0, layers)
						sameBits(t, "logits", newChain(whole).run(t, ids[:30], 30), wantLogits)
						sameBits(t, "logits one by one", newChain(whole).run(t, ids[:30], 1), wantLogits)
						for _, batches := range [][]int{{len(ids)}, {1}, {17, 2, 64}, {63, 65, 1}, {3, 4, 5, 6, 7, 8}} {
							sameRows(t, fmt.Sprintf("batches of %v", batches), newChain(whole).rows(t, ids, slices.Clone(batches)...), want)
						}
						for cuts := 1; cuts < 1<<(layers-1); cuts++ {
							sameRows(t, fmt.Sprintf("cuts %b", cuts), newChain(f.cut(m, cuts)...).rows(t, ids[:20], 13, 1), want)
						}
					})
				}
			}
		})
	}
}
