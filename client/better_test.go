package client

import (
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"

	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/shard/sample"
)

// busyHop says that it is busy, to whoever opens a session.
func busyHop(busy uint32) func(int, network.Stream, any) any {
	return func(_ int, _ network.Stream, a any) any {
		if o, ok := a.(protocol.Opened); ok {
			o.Busy = busy
			return o
		}
		return a
	}
}

func TestSession_LeavesPeersThatSayTheyAreBusy(t *testing.T) {
	w := newToySwarm(t, newHost, span(0, 2), span(2, 4), span(2, 4), span(2, 4))
	w.hops[1].spoil, w.hops[2].spoil = busyHop(990), busyHop(980)
	c, _ := w.session(t)
	o := Options{MaxTokens: 8, Sampling: sample.Params{Penalty: 1}, IgnoreEOS: true}
	_, got, err := answer(t, c.Generate(t.Context(), prompt(40), o))
	if err != nil {
		t.Fatal(err)
	}
	sameAnswer(t, got, oracle(t, prompt(40), o))
	if got.Chain[0].Peer != w.hops[0].host.ID() || got.Chain[1].Peer != w.hops[3].host.ID() || len(got.Failovers) != 0 {
		t.Errorf("the chain is %v, failovers %v", got.Chain, got.Failovers)
	}
	for _, h := range w.hops[1:3] {
		if _, _, tokens, _ := h.counts(); tokens != 0 {
			t.Errorf("%d tokens were computed by a peer that was left", tokens)
		}
	}
	if busy := w.client.directory.Measures().Busy[w.hops[1].host.ID()]; busy != 990 {
		t.Errorf("for other sessions it is %d thousandths busy", busy)
	}
	c2, _ := w.session(t) // knows it from the first
	_, got, err = answer(t, c2.Generate(t.Context(), prompt(30), o))
	if err != nil || got.Chain[1].Peer != w.hops[3].host.ID() {
		t.Errorf("the next session's chain is %v, %v", got.Chain, err)
	}
	if opens, _, _, _ := w.hops[1].counts(); opens != 1 {
		t.Errorf("the busy peer was asked %d times", opens)
	}
}

func TestSession_GoesOverToABetterChainBetweenTwoSteps(t *testing.T) {
	for _, busy := range []uint32{0, 950} {
		w := newToySwarm(t, newHost, span(0, 2), span(2, 4), span(2, 4))
		s := w.client.NewSession(SessionConfig{Private: true, Grace: w.grace}).(*session) // which meets nobody
		t.Cleanup(func() { s.Close() })
		c := NewConversation(w.client.model, s)
		o := Options{MaxTokens: 8, Sampling: sample.Params{Penalty: 1}, IgnoreEOS: true}
		_, first, err := answer(t, c.Generate(t.Context(), prompt(100), o))
		if err != nil {
			t.Fatal(err)
		}
		if first.Chain[1].Peer != w.hops[1].host.ID() {
			t.Fatalf("the chain is %v", first.Chain)
		}
		offers, err := w.client.offers(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		offers[1].Sequence, offers[1].Busy = 2, busy
		for i := range offers {
			offers[i].CacheFree = 1 << 20
		}
		w.client.known = func() []protocol.Offer { return offers }
		s.pace.look, s.pace.token = time.Now().Add(-time.Second), time.Second
		time.Sleep(10 * time.Millisecond)
		w.client.directory.Told(w.hops[1].host.ID(), busy)
		next := slices.Concat(prompt(100), first.IDs, []uint32{400, 401})
		_, second, err := answer(t, c.Generate(t.Context(), next, o))
		if err != nil {
			t.Fatal(err)
		}
		sameAnswer(t, second, oracle(t, next, o))
		want := w.hops[1]
		if busy > 0 {
			want = w.hops[2]
		}
		if second.Chain[1].Peer != want.host.ID() || len(second.Failovers) != 0 {
			t.Errorf("busy %d: the chain is %v, failovers %v", busy, second.Chain, second.Failovers)
		}
		if _, _, tokens, _ := w.hops[0].counts(); tokens != len(next)+7 {
			t.Errorf("busy %d: the hop that stayed has computed %d tokens, want %d", busy, tokens, len(next)+7)
		}
	}
}
