//go:build !race

// Go's race detector itself crashes on timers in a synctest bubble (golang/go#78156). The code under test runs under it
// in directory_test.go, in real time.

package routing

import (
	"crypto/rand"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	mocknet "github.com/libp2p/go-libp2p/p2p/net/mock"
	ma "github.com/multiformats/go-multiaddr"
)

// simulated starts n serving peers and then a client in a simulated network.
func simulated(t *testing.T, net mocknet.Mocknet, n int) (members []member) {
	t.Helper()
	for i := range n + 1 {
		key, _, err := crypto.GenerateEd25519Key(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		h, err := net.AddPeer(key, ma.StringCast(fmt.Sprintf("/ip4/10.0.0.%d/tcp/4001", i+1)))
		if err != nil {
			t.Fatal(err)
		}
		d, err := NewDirectory(t.Context(), h, DirectoryConfig{Serving: i < n})
		if err != nil {
			t.Fatal(err)
		}
		members = append(members, member{h, d})
	}
	if err := net.LinkAll(); err != nil {
		t.Fatal(err)
	}
	return members
}

// With more peers than are all told of each other, the keepers are found in the DHT, and by a client through hints.
func TestDirectory_FindsAllOfALargerSwarmThroughItsKeepers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		net := mocknet.New()
		defer net.Close()
		const serving = smallSwarm + 8
		members := simulated(t, net, serving)
		client := members[serving]
		for i, m := range members[:serving] {
			if i > 0 {
				m.mustJoin(t, members[0])
			}
			m.mustAnnounce(t, layers(0, 6))
		}
		time.Sleep(2 * offerLife) // what the small swarm had told everyone is over
		last := members[serving-1]
		client.mustJoin(t, last)
		hints, err := client.askAll(t.Context(), testModel, []peer.ID{last.ID()})
		if err != nil || len(hints) < keeperCount-1 || len(hints) > keeperCount {
			t.Errorf("hints at %d keepers, %v", len(hints), err)
		}
		seen, err := client.Offers(t.Context(), testModel)
		if err != nil || len(seen) != serving {
			t.Errorf("the client sees %d of %d peers, %v", len(seen), serving, err)
		}
		for _, m := range members {
			m.shut(t)
		}
	})
}

// Minutes of a swarm in a moment: time is simulated, and so is the network.
func TestDirectory_RenewsTheLivingAndDropsTheDead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		net := mocknet.New()
		defer net.Close()
		members := simulated(t, net, 3)
		boot, dying, third, client := members[0], members[1], members[2], members[3]
		dying.mustJoin(t, boot)
		third.mustJoin(t, boot)
		boot.mustAnnounce(t, layers(0, 2))
		dying.mustAnnounce(t, layers(2, 4))
		third.mustAnnounce(t, layers(4, 6))
		client.mustJoin(t, boot)
		time.Sleep(10 * time.Minute)
		if got := client.spans(t); got != "0:2, 2:4, 4:6" {
			t.Errorf("after ten minutes: %q", got)
		}
		for _, m := range members { // a crash: no word any more
			if m.ID() != dying.ID() {
				if err := net.UnlinkPeers(m.ID(), dying.ID()); err != nil {
					t.Fatal(err)
				}
				_ = net.DisconnectPeers(m.ID(), dying.ID())
			}
		}
		time.Sleep(offerLife + renewEvery)
		for _, m := range []member{boot, third, client} {
			if got := m.spans(t); got != "0:2, 4:6" {
				t.Errorf("after the crash: %q", got)
			}
		}
		for _, m := range members {
			m.shut(t)
		}
	})
}
