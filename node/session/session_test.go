package session

import (
	"slices"
	"testing"
	"time"

	"github.com/baichuan-node/baichuan-node/protocol"
)

func TestHistory_IsNeverOverwritten(t *testing.T) {
	now := time.Unix(0, 0)
	table := New(Config{Layers: 2, Context: 64})
	cache := NewBudget(64)
	s, err := table.Open(now, "alice", protocol.Open{Epoch: 1, Span: protocol.Span{Start: 1, End: 2}}, cache)
	if err != nil {
		t.Fatal(err)
	}
	step := func(epoch uint32, number uint64, position int, ids ...uint32) []uint32 {
		in := Input{Epoch: epoch, Number: number, Position: position, N: len(ids), NewIDs: ids, Want: protocol.WantCandidates}
		if _, _, err := s.Begin(now, in); err != nil {
			t.Fatal(err)
		}
		s.Finish(now, in)
		return s.History(position + len(ids))
	}
	held := step(1, 1, 0, 1, 2, 3, 4)
	if _, err := table.Open(now, "alice", protocol.Open{Epoch: 2, Span: protocol.Span{Start: 1, End: 2}, Position: 2}, cache); err != nil {
		t.Fatal(err)
	}
	rolled := step(2, 2, 2, 8, 9)
	if !slices.Equal(held, []uint32{1, 2, 3, 4}) || !slices.Equal(rolled, []uint32{1, 2, 8, 9}) {
		t.Errorf("ids that were handed out are %v now, the new ones %v", held, rolled)
	}
}

func TestHistory_IsNotOverwrittenByAStepThatTellsOtherwise(t *testing.T) {
	now := time.Unix(0, 0)
	table := New(Config{Layers: 2, Context: 64})
	cache := NewBudget(64)
	s, err := table.Open(now, "alice", protocol.Open{Epoch: 1, Span: protocol.Span{Start: 1, End: 2}, IDs: []uint32{1, 2, 3, 4}}, cache)
	if err != nil {
		t.Fatal(err)
	}
	given := Input{Epoch: 1, Number: 1, N: 4, Want: protocol.WantCandidates, Hash: [32]byte{1}}
	if _, _, err := s.Begin(now, given); err != nil {
		t.Fatal(err)
	}
	held := s.History(4)
	s.Abandon(now, given, 0)
	other := Input{Epoch: 1, Number: 1, N: 2, NewIDs: []uint32{8, 9}, Want: protocol.WantCandidates, Hash: [32]byte{2}}
	if _, _, err := s.Begin(now, other); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(held, []uint32{1, 2, 3, 4}) || !slices.Equal(s.history, []uint32{8, 9}) {
		t.Errorf("ids that were handed out are %v now, the new ones %v", held, s.history)
	}
}

func TestOpen_ChangesSamplingWhenNothingRunsAndSharingWhenNothingIsHeld(t *testing.T) {
	now := time.Unix(0, 0)
	table := New(Config{Layers: 2, Context: 64})
	cache := NewBudget(64)
	var s *Session
	open := func(epoch uint32, position int, top int32, salt byte, private bool) {
		t.Helper()
		var err error
		s, err = table.Open(now, "alice", protocol.Open{
			Epoch: epoch, Span: protocol.Span{Start: 1, End: 2}, Position: uint32(position),
			Sampling: protocol.Sampling{TopK: top}, Salt: [16]byte{salt}, Private: private,
		}, cache)
		if err != nil {
			t.Fatal(err)
		}
	}
	is := func(when string, top int32, salt byte, private bool) {
		t.Helper()
		got, alone := s.Sharing()
		if s.Sampling().TopK != top || got != [16]byte{salt} || alone != private {
			t.Errorf("%s: sampling %+v, salt %v, private %v", when, s.Sampling(), got, alone)
		}
	}
	open(1, 0, 1, 1, false)
	is("at first", 1, 1, false)
	open(2, 0, 2, 2, true)
	is("of an empty cache", 2, 2, true)
	in := Input{Epoch: 2, Number: 1, N: 2}
	if _, _, err := s.Begin(now, in); err != nil {
		t.Fatal(err)
	}
	open(3, 2, 3, 3, false)
	is("while a step runs", 2, 2, true)
	s.Finish(now, in)
	is("when it is done", 3, 2, true) // its tokens lie in pages that are shared as they were
	open(3, 0, 4, 4, false)
	is("by an epoch that is not higher", 3, 2, true)
	open(4, 0, 5, 5, false)
	is("of a cache that is given up", 5, 5, false)
}

// TestBegin_WhateverOrderFramesComeInNothingIsComputedTwice plays recorded frames in every order, each of them twice, and
// again after an open in a newer epoch. Whatever comes when, the tokens of the sequence are computed one after the other,
// each once, and no frame of another epoch is executed.
func TestBegin_WhateverOrderFramesComeInNothingIsComputedTwice(t *testing.T) {
	frames := []Input{
		{Epoch: 2, Number: 0, Position: 0, N: 4, Hash: [32]byte{1}},
		{Epoch: 2, Number: 5, Position: 4, N: 2, Hash: [32]byte{2}},
		{Epoch: 2, Number: 6, Position: 6, N: 1, Hash: [32]byte{3}},
		{Epoch: 1, Number: 6, Position: 6, N: 1, Hash: [32]byte{4}}, // stale
		{Epoch: 3, Number: 6, Position: 6, N: 1, Hash: [32]byte{3}}, // to come
		{Epoch: 2, Number: 6, Position: 6, N: 1, Hash: [32]byte{5}}, // forged
	}
	orders := 0
	permute(frames, func(order []Input) {
		orders++
		now := time.Unix(0, 0)
		table := New(Config{Layers: 2, Context: 64})
		cache := NewBudget(64)
		open := protocol.Open{Epoch: 2, Span: protocol.Span{Start: 0, End: 1}, Position: 64}
		s, err := table.Open(now, "alice", open, cache)
		if err != nil {
			t.Fatal(err)
		}
		computed := 0
		play := func(order []Input, epoch uint32) {
			for _, in := range order {
				v, _, err := s.Begin(now, in)
				if v != Compute {
					if err == nil && (in.Epoch != epoch || in.Position+in.N > computed) {
						t.Fatalf("order %v: verdict %d of %+v", order, v, in)
					}
					continue
				}
				if in.Epoch != epoch || in.Position != computed {
					t.Fatalf("order %v: %+v is computed in epoch %d after %d tokens", order, in, epoch, computed)
				}
				computed += in.N
				s.Finish(now, in)
			}
		}
		play(order, 2)
		play(order, 2)
		open.Epoch = 3
		if _, err := table.Open(now, "alice", open, cache); err != nil {
			t.Fatal(err)
		}
		play(order, 3)
		if s.Length() != computed || computed > 7 {
			t.Fatalf("order %v: %d tokens computed, %d are held", order, computed, s.Length())
		}
	})
	if orders != 720 {
		t.Errorf("%d orders were played", orders)
	}
}

// permute calls do with every order of all.
func permute[T any](all []T, do func([]T)) {
	var rest func(k int)
	rest = func(k int) {
		if k == len(all) {
			do(slices.Clone(all))
			return
		}
		for i := k; i < len(all); i++ {
			all[k], all[i] = all[i], all[k]
			rest(k + 1)
			all[k], all[i] = all[i], all[k]
		}
	}
	rest(0)
}
