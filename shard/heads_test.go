package shard_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/baichuan-node/baichuan-node/shard"
	"github.com/baichuan-node/baichuan-node/shard/checkpoint/synthetic"
)

func TestHeads_AsksInOneCallGetTheBitsOfEach(t *testing.T) {
	f := newFixture(t, "small-7b", 6, synthetic.BF16)
	for _, weights := range []string{"nf4", "bf16"} {
		s := f.load(f.model(weights, "int8"), 0, 4)
		rows, vocab := newChain(s).rows(t, prompt(33), 33), s.Manifest().Vocab
		var asks []*shard.Ask
		for i, part := range [][2]int{{32, 1}, {0, 5}, {3, 0}, {5, 14}, {31, 2}, {0, 1}} {
			asks = append(asks, &shard.Ask{Rows: rows, From: part[0], N: part[1], Dst: make([]float32, part[1]*vocab), Err: fmt.Errorf("old %d", i)})
		}
		s.Heads(asks...)
		for i, a := range asks {
			if a.Err != nil {
				t.Fatal(a.Err)
			}
			want := make([]float32, a.N*vocab)
			if err := s.Logits(want, rows, a.From, a.N); err != nil {
				t.Fatal(err)
			}
			sameBits(t, fmt.Sprintf("%s: ask %d", weights, i), a.Dst, want)
		}
	}
}

func TestHeads_AskThatIsNotFiniteFailsAlone(t *testing.T) {
	f := newFixture(t, "small-7b", 6, synthetic.BF16)
	s := f.load(f.model("nf4", "int8"), 0, 4)
	good, vocab := newChain(s).rows(t, prompt(3), 3), s.Manifest().Vocab
	bad := good
	bad.Exp = []uint8{good.Exp[0], 120, good.Exp[2]} // the norm's sum of squares is infinite
	asks := []*shard.Ask{
		{Rows: good, From: 0, N: 2, Dst: make([]float32, 2*vocab)},
		{Rows: bad, From: 0, N: 3, Dst: make([]float32, 3*vocab)},
		{Rows: good, From: 2, N: 1, Dst: make([]float32, vocab)},
	}
	s.Heads(asks...)
	var fault *shard.NotFiniteError
	if asks[0].Err != nil || asks[2].Err != nil || !errors.As(asks[1].Err, &fault) || fault.Row != 1 {
		t.Fatalf("errors %v, %v, %v", asks[0].Err, asks[1].Err, asks[2].Err)
	}
	want := make([]float32, vocab)
	if err := s.Logits(want, good, 2, 1); err != nil {
		t.Fatal(err)
	}
	sameBits(t, "the ask after it", asks[2].Dst, want)
}
