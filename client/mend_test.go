package client

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
	"github.com/baichuan-node/baichuan-node/shard/sample"
)

func TestSession_ErrorWhenNobodyComesSaysWhatToDo(t *testing.T) {
	none := &routing.NoChainError{Missing: []protocol.Span{span(2, 4)}}
	busy := &BusyError{Layers: []protocol.Span{span(2, 4)}}
	failed := &HopError{Peer: "p", Layers: span(2, 4), Err: unreached(fmt.Errorf("dial:\n * [/ip4/1.2.3.4]: %w", syscall.ECONNREFUSED))}
	tests := []struct {
		name   string
		err    error
		last   *HopError
		waited time.Duration
		want   string
	}{
		{"nobody ever", none, nil, 0, "model toy: no peer serves layers 2:4: start a node for these layers"},
		{"nobody for long", none, nil, time.Second, "model toy: no peer serves layers 2:4, and nobody came for 1s: start a node for these layers and ask again"},
		{"somebody failed", none, failed, 30 * time.Second, "model toy: no peer serves layers 2:4: peer " + peer.ID("p").String() +
			" failed (it refuses connections), and for 30s nobody took its place: start a node for these layers and ask again"},
		{"no room", busy, nil, 30 * time.Second, "model toy: the peers of layers 2:4 have no room now, and had none for 30s: start another node for these layers, or ask again later"},
		{"no room, as one said", busy, failed, 30 * time.Second, "model toy: the peers of layers 2:4 have no room now, and had none for 30s (peer " +
			peer.ID("p").String() + ": it refuses connections): start another node for these layers, or ask again later"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := &session{client: &Client{model: toyModel()}, mind: newMind()}
			s.mind.last = tt.last
			err := s.hopeless(tt.err, tt.waited)
			if err.Error() != tt.want || strings.Contains(err.Error(), "\n") || !errors.Is(err, tt.err) {
				t.Errorf("the error is\n%v, want\n%s", err, tt.want)
			}
		})
	}
}

// Who has announced to come is waited for, in a session that has had nobody there yet.
func TestComing_KnowsWhoHasAnnouncedTheMissingLayers(t *testing.T) {
	missing := []protocol.Span{span(2, 4), span(6, 8)}
	for name, c := range map[string]struct {
		offer protocol.Offer
		want  bool
	}{
		"it is loading them":        {protocol.Offer{State: protocol.Joining, Span: span(7, 9), Target: span(7, 9)}, true},
		"it is moving there":        {protocol.Offer{State: protocol.Online, Span: span(0, 2), Target: span(3, 5)}, true},
		"it serves others":          {protocol.Offer{State: protocol.Online, Span: span(4, 6), Target: span(4, 6)}, false},
		"it takes no more sessions": {protocol.Offer{State: protocol.Draining, Span: span(2, 4), Target: span(2, 4)}, false},
	} {
		if got := coming([]protocol.Offer{c.offer}, missing); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// A peer says that it is leaving while nobody asks, and the next turn begins before anybody has seen to it.
func TestSession_BeginsATurnAlthoughAPeerIsLeaving(t *testing.T) {
	w := newToySwarm(t, newHost, span(0, 2), span(2, 4), span(2, 4))
	w.client.sealed = func(peer.ID) []byte { return []byte("offer") }
	c, s := w.session(t)
	if _, _, err := answer(t, c.Generate(t.Context(), prompt(20), Options{MaxTokens: 2, Sampling: seeded})); err != nil {
		t.Fatal(err)
	}
	s.rouse()
	for _, a := range s.link.chain.Handle(s.link.now(), s.ids[1], protocol.Parting{WithinMS: 5000}) {
		s.note(a)
	}
	if s.mind.parting == nil {
		t.Fatal("nobody is leaving")
	}
	if err := s.Begin(t.Context(), Run{Keep: 10, Expect: 20, Sampling: sample.Params{Penalty: 1}}); err != nil {
		t.Fatal(err)
	}
	if s.Len() != 10 {
		t.Errorf("%d tokens are left, want 10", s.Len())
	}
	s.rouse()
	if s.mind.parting == nil && s.mind.moving == nil {
		t.Error("the chain has not said again who is leaving")
	}
}

// A peer that has failed gets no second chance while there is a chain without it, though that has the others compute anew.
func TestSession_RatherBeginsAnewThanWithAPeerThatHasFailed(t *testing.T) {
	w := newToySwarm(t, newHost, span(2, 4), span(0, 3), span(3, 4))
	w.spares = 1
	w.hops[0].spoil = spoilStep(3, failure(protocol.CodeInternal))
	c, _ := w.session(t)
	o := Options{MaxTokens: 8, Sampling: seeded, Seed: 9, IgnoreEOS: true}
	_, out, err := answer(t, c.Generate(t.Context(), prompt(20), o))
	if err != nil {
		t.Fatal(err)
	}
	sameAnswer(t, out, oracle(t, prompt(20), o))
	if len(out.Failovers) != 1 || out.Failovers[0].Peer != w.hops[0].host.ID() || out.Failovers[0].Layers != span(2, 4) {
		t.Errorf("failovers: %v", out.Failovers)
	}
	if len(out.Chain) != 2 || out.Chain[0].Peer != w.hops[1].host.ID() || out.Chain[0].Layers != span(0, 3) || out.Chain[1].Peer != w.hops[2].host.ID() {
		t.Errorf("the chain is %v", out.Chain)
	}
}
