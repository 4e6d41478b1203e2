package shard_test

import (
	"fmt"
	"testing"

	"github.com/baichuan-node/baichuan-node/shard"
	"github.com/baichuan-node/baichuan-node/shard/checkpoint/synthetic"
)

// Decoding leaves nothing to the garbage collector: neither one sequence nor several in one pass, logits included.
func TestForward_ADecodedTokenAllocatesNothing(t *testing.T) {
	for _, preset := range []string{"small-7b", "small-13b"} {
		f := newFixture(t, preset, 3, synthetic.BF16)
		m := f.model("nf4", "int8")
		s := f.load(m, 0, m.Manifest.Layers)
		for _, sequences := range []int{1, 3} {
			t.Run(fmt.Sprintf("%s, %d sequences", preset, sequences), func(t *testing.T) {
				steps := make([]*shard.Step, sequences)
				for i := range steps {
					steps[i] = &shard.Step{Cache: s.NewCache(s.Span()), IDs: prompt(70)}
					defer steps[i].Cache.Close()
				}
				s.Forward(steps...)
				for i := range steps {
					steps[i].IDs = steps[i].IDs[:1]
				}
				logits := make([]float32, m.Manifest.Vocab)
				allocs := testing.AllocsPerRun(100, func() {
					s.Forward(steps...)
					for _, st := range steps {
						if st.Err != nil {
							t.Fatal(st.Err)
						}
						if err := s.Logits(logits, st.Out, 0, 1); err != nil {
							t.Fatal(err)
						}
					}
				})
				if allocs != 0 {
					t.Errorf("%v allocations in each step", allocs)
				}
			})
		}
	}
}
