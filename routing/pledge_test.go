package routing

import (
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/protocol"
)

func TestAskPledge_GetsThePeersWord(t *testing.T) {
	holder, asker := newMember(t, true), newMember(t, true)
	asker.mustJoin(t, holder)
	p := protocol.Pledge{Model: testModel, Layers: protocol.Span{Start: 2, End: 4}, ForMS: 120_000}
	ask := func() bool {
		t.Helper()
		yes, err := asker.AskPledge(t.Context(), holder.ID(), p)
		if err != nil {
			t.Fatal(err)
		}
		return yes
	}
	if ask() {
		t.Error("a peer that nobody has taught to answer gives its word")
	}
	heard := make(chan protocol.Pledge, maxPledges)
	holder.OnPledge(func(from peer.ID, p protocol.Pledge) bool {
		heard <- p
		return from == asker.ID() && p.Layers.End == 4
	})
	if !ask() {
		t.Error("it does not get the peer's word")
	}
	if got := <-heard; got != p {
		t.Errorf("the peer was asked for %+v", got)
	}
	p.Layers.End = 5
	if ask() {
		t.Error("a no became a yes")
	}
	for range maxPledges {
		if _, err := asker.AskPledge(t.Context(), holder.ID(), p); err != nil {
			if !strings.Contains(err.Error(), "busy") {
				t.Error(err)
			}
			return
		}
	}
	t.Error("a peer may ask without end")
}

func TestQuota_CountsEachPeerForItself(t *testing.T) {
	q, now := newQuota(), time.Unix(1000, 0)
	for range maxPledges {
		if !q.take("a", now) {
			t.Fatal("it refuses too early")
		}
	}
	if q.take("a", now.Add(quotaWindow-1)) || !q.take("b", now) {
		t.Error("want no more from a, and the first from b")
	}
	if !q.take("a", now.Add(quotaWindow)) {
		t.Error("it never forgets")
	}
}
