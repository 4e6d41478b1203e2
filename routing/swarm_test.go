//go:build !race

// Go's race detector itself crashes on timers in a synctest bubble (golang/go#78156). The code under test runs under it
// in directory_test.go, in real time.

package routing

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	libprotocol "github.com/libp2p/go-libp2p/core/protocol"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/sim/simnet"
)

// swarmOf is a swarm of directories over links of 10 to 60 ms, with the real DHT.
type swarmOf struct {
	t       *testing.T
	net     *simnet.Net
	members []*simulatedMember
	lossy   bool // three in ten replies are lost
	rng     *rand.Rand
	mu      sync.Mutex // guards lossy and rng
}

type simulatedMember struct {
	*Directory
	host *simnet.Host
}

func newSwarmOf(t *testing.T, n int) *swarmOf {
	s := &swarmOf{t: t, rng: rand.New(rand.NewPCG(1, 2))}
	s.net = simnet.New(simnet.Config{
		RTT: func(a, b peer.ID) time.Duration {
			return 10*time.Millisecond + 50*time.Millisecond*time.Duration(sha256.Sum256([]byte(min(a, b) + max(a, b)))[0])/255
		},
		Lose: func(_, _ peer.ID, id libprotocol.ID) bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.lossy && (id == protocol.DirectoryID || id == kadID) && s.rng.IntN(10) < 3
		},
	})
	for i := range n {
		m := s.member(i, true)
		if i > 0 {
			s.join(m, i/2) // whoever it is that somebody knows
		}
		o := layers(i%5, i%5+2)
		o.Model = testModel
		if err := m.Announce(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// member starts a process.
func (s *swarmOf) member(i int, serving bool) *simulatedMember {
	s.t.Helper()
	seed := sha256.Sum256([]byte(fmt.Sprint("member", i)))
	key, _, err := crypto.GenerateEd25519Key(strings.NewReader(string(seed[:])))
	if err != nil {
		s.t.Fatal(err)
	}
	h, err := s.net.Host(key, ma.StringCast(fmt.Sprintf("/ip4/10.0.%d.%d/tcp/4001", i/250, i%250+1)))
	if err != nil {
		s.t.Fatal(err)
	}
	d, err := NewDirectory(s.t.Context(), h, DirectoryConfig{Serving: serving})
	if err != nil {
		s.t.Fatal(err)
	}
	m := &simulatedMember{d, h}
	s.members = append(s.members, m)
	return m
}

func (s *swarmOf) join(m *simulatedMember, to int) {
	s.t.Helper()
	far := s.members[to].host
	if err := m.Join(s.t.Context(), []peer.AddrInfo{{ID: far.ID(), Addrs: far.Addrs()}}); err != nil {
		s.t.Fatal(err)
	}
}

// close ends all at once: one after the other they would look for keepers among the dead.
func (s *swarmOf) close() {
	var all sync.WaitGroup
	for _, m := range s.members {
		all.Go(func() {
			m.host.Kill()
			if err := m.Close(); err != nil {
				s.t.Error(err)
			}
			if err := m.host.Close(); err != nil {
				s.t.Error(err)
			}
		})
	}
	all.Wait()
}

func (s *swarmOf) lose(lossy bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lossy = lossy
}

func TestDirectory_AClientHasTheMapOf100PeersWithinASecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const n = 100
		s := newSwarmOf(t, n)
		defer s.close()
		time.Sleep(offerLife + renewEvery) // what the young swarm told everyone is over
		for i := range 3 {                 // three clients, each with another address
			client := s.member(n+i, false)
			began := time.Now()
			s.join(client, i*n/3)
			seen, err := client.Offers(t.Context(), testModel)
			took := time.Since(began)
			if err != nil || len(seen) != n || took >= time.Second {
				t.Errorf("client %d: %d of %d peers after %v, %v", i, len(seen), n, took, err)
			}
			t.Logf("%d peers after %v", len(seen), took)
		}
	})
}

// missing counts the offers that members lack in their own views, second by second, and the fewest that one had.
func (s *swarmOf) missing(members []*simulatedMember, n int, d time.Duration) (lacks, least int) {
	least = n
	for range d / time.Second {
		time.Sleep(time.Second)
		for _, m := range members {
			known := len(m.Known(testModel))
			lacks, least = lacks+n-known, min(least, known)
		}
	}
	return lacks, least
}

// TestDirectory_EveryNodeKnowsAllNodes, where nobody tells everyone any more: who chooses layers must see all the others, and a
// newcomer soon.
func TestDirectory_EveryNodeKnowsAllNodes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const n = smallSwarm + 12
		s := newSwarmOf(t, n)
		defer s.close()
		time.Sleep(30 * time.Second)
		if lacks, least := s.missing(s.members, n, time.Minute); lacks > 0 {
			t.Errorf("in a minute %d offers were missing; a member knew of %d of %d peers", lacks, least, n)
		}
		old := slices.Clone(s.members)
		newcomer := s.member(n, true)
		s.join(newcomer, n/2)
		o := layers(0, 6)
		if err := newcomer.Announce(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Second)
		for i, m := range old {
			if m.Sealed(newcomer.host.ID()) == nil {
				t.Errorf("member %d has not heard of the newcomer", i)
			}
		}
	})
}

func TestDirectory_ForgetsTheDeadWithin30Seconds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const n, dead = 30, 8
		s := newSwarmOf(t, n)
		defer s.close()
		client := s.member(n, false)
		time.Sleep(2 * offerLife)
		s.join(client, n-1)
		for _, m := range s.members[:dead] {
			m.host.Crash()
		}
		crashed := time.Now()
		for range 3 { // the client goes on asking, as sessions have it do
			time.Sleep(10*time.Second - time.Since(crashed)%(10*time.Second))
			ctx, cancel := context.WithTimeout(t.Context(), 9*time.Second)
			_, _ = client.Offers(ctx, testModel)
			cancel()
		}
		time.Sleep(30*time.Second - time.Since(crashed))
		for i, m := range s.members[dead:] {
			for _, o := range m.Known(testModel) {
				for k, gone := range s.members[:dead] {
					if o.Offer.Peer == gone.host.ID() {
						t.Errorf("after %v member %d still knows of %d, which is dead", time.Since(crashed), dead+i, k)
					}
				}
			}
		}
		if seen, err := client.Offers(t.Context(), testModel); err != nil || len(seen) != n-dead {
			t.Errorf("the client sees %d of %d peers, %v", len(seen), n-dead, err)
		}
	})
}

func TestDirectory_LivesWithThreeInTenRepliesLost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const n = 24
		s := newSwarmOf(t, n)
		defer s.close()
		nodes := slices.Clone(s.members)
		client := s.member(n, false)
		s.join(client, 7)
		s.lose(true)
		const looks = 12
		lacked := 0
		for range looks {
			time.Sleep(10 * time.Second)
			_, _ = client.Offers(t.Context(), testModel) // a session's look
			lacked += n - len(client.Known(testModel))
		}
		// Where a renewal and its repeats are all lost, an offer is over for a moment.
		if share := float64(lacked) / (looks * n); share > 0.02 {
			t.Errorf("the client lacked %.1f %% of the offers", 100*share)
		}
		lacks, least := s.missing(nodes, n, time.Minute)
		if share := float64(lacks) / (60 * n * n); share > 0.02 {
			t.Errorf("the nodes lacked %.1f %% of the offers; one knew of %d of %d peers", 100*share, least, n)
		}
	})
}
