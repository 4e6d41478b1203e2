package session

import (
	"slices"
	"testing"
	"time"

	"github.com/baichuan-node/baichuan-node/protocol"
)

func TestHistory_IsNeverOverwritten(t *testing.T) {
	now := time.Unix(0, 0)
	table := New(Config{Layers: 2, Context: 64, Tokens: 64})
	s, err := table.Open(now, "alice", protocol.Open{Epoch: 1, Span: protocol.Span{Start: 1, End: 2}})
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
	if _, err := table.Open(now, "alice", protocol.Open{Epoch: 2, Span: protocol.Span{Start: 1, End: 2}, Position: 2}); err != nil {
		t.Fatal(err)
	}
	rolled := step(2, 2, 2, 8, 9)
	if !slices.Equal(held, []uint32{1, 2, 3, 4}) || !slices.Equal(rolled, []uint32{1, 2, 8, 9}) {
		t.Errorf("ids that were handed out are %v now, the new ones %v", held, rolled)
	}
}
