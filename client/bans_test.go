package client

import (
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/protocol"
)

func TestBans_GrowWithFailuresAndShrinkWithSuccesses(t *testing.T) {
	left := func(b *bans, p peer.ID, now time.Time) time.Duration {
		d, _ := b.left(p, now)
		return d
	}
	for class, lengths := range map[protocol.Class][]time.Duration{
		protocol.Elsewhere: {15 * time.Second, 30 * time.Second, time.Minute},
		protocol.Again:     {250 * time.Millisecond, 500 * time.Millisecond, time.Second},
	} {
		var b bans
		now := time.Unix(0, 0)
		for i, want := range lengths {
			b.strike("a", class, now)
			if got := left(&b, "a", now); got != want {
				t.Errorf("%v: ban %d lasts %v, want %v", class, i, got, want)
			}
			if now = now.Add(want); left(&b, "a", now) != 0 {
				t.Errorf("%v: ban %d does not end", class, i)
			}
		}
		b.success("a") // three strikes become one
		b.strike("a", class, now)
		if got := left(&b, "a", now); got != lengths[1] {
			t.Errorf("%v: after a success a ban lasts %v, want %v", class, got, lengths[1])
		}
		b.success("a")
		b.success("a")
		b.success("a")
		b.strike("a", class, now)
		if got := left(&b, "a", now); got != lengths[0] {
			t.Errorf("%v: after successes a ban lasts %v, want %v", class, got, lengths[0])
		}
		for range 99 {
			b.strike("a", class, now)
		}
		longest := map[protocol.Class]time.Duration{protocol.Elsewhere: banLongest, protocol.Again: pauseLongest}[class]
		if got := left(&b, "a", now); got != longest {
			t.Errorf("%v: the longest ban lasts %v, want %v", class, got, longest)
		}
	}
}

func TestBans_AreEachPeersOwn(t *testing.T) {
	var b bans
	now := time.Unix(0, 0)
	b.strike("a", protocol.Elsewhere, now)
	if _, mercy := b.left("a", now); !mercy {
		t.Error("no mercy after the first failure")
	}
	b.strike("a", protocol.Again, now)
	if got, mercy := b.left("a", now); got != banFirst || mercy {
		t.Errorf("after a pause the ban lasts %v, want %v (mercy: %t)", got, banFirst, mercy)
	}
	if _, mercy := b.left("a", now.Add(mercyFirst)); !mercy {
		t.Error("no mercy some time after the second failure")
	}
	b.success("b")
	if got, _ := b.left("b", now); got != 0 {
		t.Errorf("a peer without a failure is banned for %v", got)
	}
}
