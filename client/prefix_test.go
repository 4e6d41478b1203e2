package client

import (
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
)

// named makes n names, those from at on of another text.
func named(n, at int) []protocol.Digest {
	names := make([]protocol.Digest, n)
	for i := range names {
		names[i] = protocol.Digest{1, byte(i)}
		if i >= at {
			names[i][0] = 2
		}
	}
	return names
}

func TestHolders_RememberWhoComputedTheMost(t *testing.T) {
	var h holders
	if got := h.of(named(3, 9)); len(got) != 0 {
		t.Errorf("nobody holds anything, it says %v", got)
	}
	h.record(named(4, 9), []routing.Hop{{Peer: "a", Span: span(0, 2)}, {Peer: "b", Span: span(2, 4)}})
	h.record(named(2, 9), []routing.Hop{{Peer: "c", Span: span(0, 4)}})
	for _, c := range []struct {
		names []protocol.Digest
		want  map[peer.ID]int
	}{
		{named(4, 9), map[peer.ID]int{"a": 256, "b": 256, "c": 128}},
		{named(6, 3), map[peer.ID]int{"a": 192, "b": 192, "c": 128}},
		{named(6, 1), map[peer.ID]int{"c": 64}},
		{named(6, 0), nil},
	} {
		got := h.of(c.names)
		if len(got) != len(c.want) {
			t.Errorf("%d names are held by %v, want %v", len(c.names), got, c.want)
		}
		for p, tokens := range c.want {
			if got[p].Tokens != tokens {
				t.Errorf("%s holds %+v, want %d tokens", p, got[p], tokens)
			}
		}
	}
	h.forget(named(4, 9)[2:])
	if got := h.of(named(4, 9)); got["a"].Tokens != 0 || got["c"].Tokens != 128 {
		t.Errorf("what was not found is held by %v", got)
	}
}

func TestHolders_AreBounded(t *testing.T) {
	var h holders
	hops := []routing.Hop{{Peer: "a", Span: span(0, 4)}}
	for i := range 3 * maxHeldPages {
		h.record([]protocol.Digest{{byte(i), byte(i >> 8), byte(i >> 16)}}, hops)
	}
	if n := len(h.young) + len(h.old); n > 2*maxHeldPages || n < maxHeldPages {
		t.Errorf("%d names are remembered", n)
	}
}
