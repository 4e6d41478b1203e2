package routing

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// why gives the reason of a peer.
func why(t *testing.T, e Explanation, id string) string {
	t.Helper()
	for _, r := range e.Others {
		if string(r.Peer) == id {
			return r.Why
		}
	}
	t.Fatalf("nothing is said of %s", id)
	return ""
}

func TestExplain_SaysWhatKeepsEachPeerOut(t *testing.T) {
	offers := []protocol.Offer{
		offered("a", 0, 4, 8, 1000), offered("b", 4, 8, 8, 1000),
		told(offered("draining", 0, 8, 8, 9000), func(o *protocol.Offer) { o.State = protocol.Draining }),
		told(offered("joining", 0, 8, 8, 9000), func(o *protocol.Offer) { o.State = protocol.Joining }),
		told(offered("leaving", 0, 8, 8, 9000), func(o *protocol.Offer) { o.State = protocol.Leaving }),
		told(offered("other", 0, 8, 8, 9000), func(o *protocol.Offer) { o.Model, o.ModelName = protocol.ModelID{9}, "another" }),
		offered("deep", 0, 8, 40, 9000), offered("failed", 0, 8, 8, 9000), offered("blocked", 0, 8, 8, 9000), offered("unlisted", 0, 8, 8, 9000),
		offered("slow", 0, 4, 8, 100), offered("far", 4, 8, 8, 1000), offered("equal", 4, 8, 8, 1000),
		told(offered("relayed", 4, 8, 8, 1000), func(o *protocol.Offer) { o.Relayed = true }),
		told(offered("moving", 0, 4, 8, 500), func(o *protocol.Offer) { o.Target = protocol.Span{Start: 2, End: 6} }),
		told(offered("busy", 0, 4, 8, 1000), func(o *protocol.Offer) { o.Busy = 900 }),
		told(offered("full", 0, 8, 8, 9000), func(o *protocol.Offer) { o.CacheFree = 100 }),
	}
	m := Measures{RTT: map[peer.ID]time.Duration{}, Banned: map[peer.ID]bool{"failed": true}, Block: map[peer.ID]bool{"blocked": true},
		Why: map[peer.ID]string{"failed": "it refuses connections"}, Allow: map[peer.ID]bool{}, Affinity: Affinity{Room: 600}}
	for i := range offers {
		o := &offers[i]
		if o.CacheFree == 0 {
			o.CacheFree = 5000
		}
		if o.Model == (protocol.ModelID{}) {
			o.Model = protocol.ModelID{1}
		}
		m.RTT[o.Peer], m.Allow[o.Peer] = 10*time.Millisecond, string(o.Peer) != "unlisted"
	}
	m.RTT["far"] = 80 * time.Millisecond
	e := Explain(offers, m, protocol.ModelID{1}, 8)
	if e.Err != nil || len(e.Chain) != 2 || e.Chain[0].Peer != "a" || e.Chain[1].Peer != "b" {
		t.Fatalf("the chain is %v, %v", e.Chain, e.Err)
	}
	// Ways of 5 ms to, between and back, 0.15 ms a hop, 8 layers of 1 ms.
	if want := 23300 * time.Microsecond; e.Token != want || e.Chain[0].Cost.Compute != 4*time.Millisecond || e.Chain[1].Cost.Network != 10150*time.Microsecond {
		t.Errorf("a token takes %v, want %v: %+v", e.Token, want, e.Chain)
	}
	name := func(id string) string { return peer.ID(id).String() }
	for id, want := range map[string]string{
		"draining": "it is draining: it takes no new sessions",
		"joining":  "it is joining with layers 0:8, which are not ready yet",
		"leaving":  "it is leaving the swarm",
		"other":    "it serves another model (another)",
		"deep":     "it serves a model of 40 layers, this one has 8",
		"failed":   "it refuses connections",
		"blocked":  "it is on your block list",
		"unlisted": "it is not on your allow list",
		"full":     "it has cache for 100 tokens more, and the session may reach 600",
		"slow":     "layers 0:4: through it a token would take 10 ms longer than through " + name("a") + " (computing 9.0 ms more, on the way 0.7 ms more)",
		"far":      "layers 4:8: through it a token would take 70 ms longer than through " + name("b") + " (on the way 70 ms more)",
		"equal":    "it is as good as " + name("b") + " for layers 4:8, which comes first by its id",
		"relayed":  "layers 4:8: through it, which is behind a relay, a token would take 25 ms longer than through " + name("b") + " (on the way 25 ms more)",
		"moving":   "layers 0:4: through it a token would take 4.0 ms longer than through " + name("a") + " (computing 4.0 ms more); it is moving to layers 2:6",
		"busy":     "layers 0:4: through it a token would take 37 ms longer than through " + name("a") + " (waiting for other sessions 37 ms more)",
	} {
		if got := why(t, e, id); got != want && id != "slow" {
			t.Errorf("%s: %s\nwant: %s", id, got, want)
		}
	}
	if got := why(t, e, "slow"); !strings.Contains(got, "longer than through "+name("a")) || !strings.Contains(got, "computing") {
		t.Errorf("slow: %s", got)
	}
	m.Block["a"] = true
	e = Explain(offers[:2], m, protocol.ModelID{1}, 8)
	if e.Err == nil || !strings.Contains(why(t, e, "b"), "no peer serves layers 0:4 that may be asked (1 on the block list)") {
		t.Errorf("without layers 0:4: %v, %v", e.Err, e.Others)
	}
}

// Where nobody has room, the session would wait for it: that is no part of what a token takes, and no reason to take another.
func TestExplain_WhereNobodyHasRoom(t *testing.T) {
	small := func(id string, rate uint32) protocol.Offer {
		return told(offered(id, 0, 8, 8, rate), func(o *protocol.Offer) { o.CacheFree = 100 })
	}
	m := Measures{RTT: map[peer.ID]time.Duration{"a": 10 * time.Millisecond, "b": 10 * time.Millisecond}, Affinity: Affinity{Room: 600}}
	e := Explain([]protocol.Offer{small("a", 1000), small("b", 500)}, m, protocol.ModelID{}, 8)
	if want := 18150 * time.Microsecond; e.Token != want || len(e.Chain) != 1 || e.Chain[0].Peer != "a" || e.Chain[0].Cost.Lacking == 0 {
		t.Errorf("a token takes %v, want %v: %+v", e.Token, want, e.Chain)
	}
	if got := why(t, e, "b"); !strings.Contains(got, "computing 8.0 ms more") {
		t.Error(got)
	}
}

// What a chain through a peer is said to cost more is what the cheapest chain with that peer costs more, as the exhaustive
// search has it, or less where that would need a peer twice.
func TestExplain_TellsTheTrueDifference(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 9))
	same := 0
	for range 300 {
		layers := 1 + rng.IntN(5)
		offers, m := someSwarm(rng, layers)
		m.Prefer = nil
		e := Explain(offers, m, protocol.ModelID{}, layers)
		if e.Err != nil {
			continue
		}
		if p := Predict(bare(e.Chain), m); p.Takes() != e.Token || p.Total().Microseconds() != cost(bare(e.Chain), m, layers) {
			t.Fatalf("a token is said to take %v, and %v", e.Token, p)
		}
		through := newThrough(offers, m, layers, e)
		for _, r := range e.Others {
			got := int64(never)
			if q, known := through.index[r.Peer]; known {
				_, got = through.best(q)
			}
			want := cheapestWith(offers, m, layers, r.Peer)
			if got == want {
				same++
			}
			if want >= 0 && got > want {
				t.Fatalf("through %s: %d us, but %d is possible", string(r.Peer), got, want)
			}
		}
	}
	if same < 200 {
		t.Errorf("only %d differences are exact", same)
	}
}

func bare(chain []PlannedHop) (hops []Hop) {
	for _, h := range chain {
		hops = append(hops, h.Hop)
	}
	return hops
}
