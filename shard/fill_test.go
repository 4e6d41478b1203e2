package shard_test

import (
	"errors"
	"testing"

	"github.com/baichuan-node/baichuan-node/shard"
	"github.com/baichuan-node/baichuan-node/shard/checkpoint/synthetic"
	"github.com/baichuan-node/baichuan-node/shard/store"
)

// A cache that was filled is one like any other: it counts, it can be computed on, cut and closed.
func TestFill_MakesACacheThatCanBeComputedOn(t *testing.T) {
	for _, preset := range []string{"small-7b", "small-13b"} {
		f := newFixture(t, preset, 1, synthetic.F32)
		s := f.load(f.model("nf4", "int8"), 0, 4)
		free := s.CacheFree()
		c := s.NewCache(store.Span{Start: 0, End: 3})
		if err := c.Fill(150); err != nil {
			t.Fatal(err)
		}
		step := &shard.Step{Cache: c, IDs: prompt(3)}
		if s.Forward(step); step.Err != nil {
			t.Fatal(step.Err)
		}
		if c.Len() != 153 {
			t.Errorf("%s: %d tokens after 150 and 3", preset, c.Len())
		}
		again := s.NewCache(c.Span())
		if err := again.Fill(150); err != nil {
			t.Fatal(err)
		}
		other := &shard.Step{Cache: again, IDs: prompt(3)}
		if s.Forward(other); other.Err != nil || string(other.Out.Half) != string(step.Out.Half) {
			t.Errorf("%s: two caches filled alike differ (%v)", preset, other.Err)
		}
		c.Close()
		again.Close()
		if s.CacheFree() != free {
			t.Errorf("%s: room for %d tokens, %d before", preset, s.CacheFree(), free)
		}
		var memory *shard.NoMemoryError
		if err := c.Fill(free + 1); !errors.As(err, &memory) || c.Len() != 0 {
			t.Errorf("%s: filling beyond the room: %v", preset, err)
		}
	}
}

func TestStored_IsTheLayersAndTheHead(t *testing.T) {
	f := newFixture(t, "small-7b", 1, synthetic.F32)
	m := f.model("nf4", "int8")
	for _, c := range []struct{ start, end, parts int }{{0, 4, 5}, {0, 2, 2}, {1, 4, 4}} {
		stored := f.load(m, c.start, c.end).Stored()
		if len(stored) != c.parts || int64(len(stored[0])) != m.Manifest.Parts[c.start+1].Size {
			t.Errorf("layers %d:%d: %d parts, the first of %d bytes", c.start, c.end, len(stored), len(stored[0]))
		}
	}
}
