//go:build !race

// As in simulated_test.go.

package routing

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	mocknet "github.com/libp2p/go-libp2p/p2p/net/mock"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// Peers tell how far it is to those that may follow them in a chain, and to no others.
func TestDirectory_OffersTellTheWaysToThoseThatMayFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := mocknet.New()
		defer net.Close()
		const serving = smallSwarm + 4 // not all are told of each other, and so measured by the way
		members := simulated(t, net, serving)
		first := members[0]
		for i, m := range members[:serving] {
			if i > 0 {
				m.mustJoin(t, first)
			}
			m.mustAnnounce(t, []protocol.Offer{layers(0, 3), layers(3, 6), layers(2, 4)}[i%3])
		}
		time.Sleep(3 * time.Minute)
		told, wanted := 0, 0
		for i, m := range members[:serving] {
			o, err := protocol.Unseal(m.Sealed(m.ID()))
			if err != nil {
				t.Fatal(err)
			}
			may := map[protocol.PeerTail]bool{}
			for k, other := range members[:serving] {
				if i%3 == 0 && k%3 != 0 || i%3 == 2 && k%3 == 1 {
					may[protocol.TailOf(other.ID())] = true
				}
			}
			told, wanted = told+len(o.Near), wanted+min(len(may), protocol.MaxNear)
			for _, n := range o.Near {
				if !may[n.Peer] {
					t.Errorf("a peer with layers %v tells the way to one that can't follow it", o.Span)
				}
			}
		}
		if told < wanted*3/4 { // not everybody knows all others at any time
			t.Errorf("%d ways are told, of %d", told, wanted)
		}
		client := members[serving]
		client.mustJoin(t, members[5])
		if _, err := client.Offers(t.Context(), testModel); err != nil {
			t.Fatal(err)
		}
		client.MeasureEnds(t.Context(), testModel)
		begins, ends := 0, 0
		m := client.Measures()
		for i, other := range members[:serving] {
			if _, known := m.RTT[other.ID()]; known {
				begins, ends = begins+b2i(i%3 == 0), ends+b2i(i%3 == 1)
			}
		}
		if begins < endsEach || ends < endsEach {
			t.Errorf("a client knows the ways to %d who begin chains and to %d who end them", begins, ends)
		}
		for _, m := range members {
			m.shut(t)
		}
	})
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func TestRecord_ForgetsWhatIsOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecord()
		r.measured("a", time.Millisecond)
		if due := r.due([]peer.ID{"a", "b"}, 5); len(due) != 1 || due[0] != "b" {
			t.Errorf("to be asked: %q", due)
		}
		if _, fresh := r.fresh("a", time.Now()); !fresh {
			t.Error("a new round trip is old")
		}
		time.Sleep(nearAgain + time.Second)
		if due := r.due([]peer.ID{"a", "b"}, 1); len(due) != 1 || due[0] != "b" {
			t.Errorf("to be asked first: %q", due)
		}
		time.Sleep(nearLife)
		if _, fresh := r.fresh("a", time.Now()); fresh {
			t.Error("a round trip is told for ever")
		}
	})
}

// Steps that take longer than promised make a peer dearer, and it is forgiven when they don't.
func TestRecord_LearnsFromSteps(t *testing.T) {
	r := newRecord()
	now := time.Now()
	chain := []Hop{{Peer: "a"}, {Peer: "b"}}
	promised := Cost{Compute: 40 * time.Millisecond, Network: 60 * time.Millisecond}
	for range 20 {
		r.stepped(chain, promised, 110*time.Millisecond, now)
	}
	if pace := r.measures(now, nil).Pace["a"]; pace != 0 {
		t.Errorf("a tenth more is chance, and the pace is %d", pace)
	}
	for range 40 {
		r.stepped(chain, promised, 200*time.Millisecond, now)
	}
	if pace := r.measures(now, nil).Pace["a"]; pace < 2000 || pace > mostPace {
		t.Errorf("twice the time makes the pace %d", pace)
	}
	r.stepped(chain, promised, time.Hour, now)
	if pace := r.measures(now, nil).Pace["b"]; pace > mostPace {
		t.Errorf("an hour makes the pace %d", pace)
	}
	if pace := r.measures(now.Add(nearLife), nil).Pace["a"]; pace != 0 {
		t.Errorf("after minutes the pace is %d still", pace)
	}
	for range 100 {
		r.stepped(chain, promised, 10*time.Millisecond, now)
	}
	if pace := r.measures(now, nil).Pace["a"]; pace > 1000 {
		t.Errorf("steps are quick, and the pace is %d", pace)
	}
	r.stepped(nil, Cost{}, 0, now)
}
