package routing

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/holepunch"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/baichuan-node/baichuan-node/protocol"
)

func TestPunches_AreTriedAgainWithGrowingPausesWhileNeeded(t *testing.T) {
	tried := punches{}
	start := time.Now()
	slow := errors.New("the machine is slow")
	tries := func(from, to time.Duration, err error, needed ...peer.ID) (at []time.Duration) {
		for d := from; d < to; d += tendEvery {
			for _, id := range tried.begin(start.Add(d), needed) {
				tried.ended(start.Add(d), id, err)
				at = append(at, d)
			}
		}
		return at
	}
	want := []time.Duration{0, 5 * time.Second, 15 * time.Second, 35 * time.Second, 75 * time.Second}
	if got := tries(0, 2*time.Minute, slow, "a"); !slices.Equal(got, want) {
		t.Errorf("tried at %v, want %v", got, want)
	}
	if got := len(tries(2*time.Minute, 26*time.Hour, slow, "a")); got < 300 || got > 320 {
		t.Errorf("tried %d times in 26 hours, want once in five minutes", got)
	}
	if got := tries(26*time.Hour, 26*time.Hour+time.Minute, slow); got != nil || len(tried) != 0 {
		t.Errorf("tried at %v though nobody needs it, %d are remembered", got, len(tried))
	}
	if got := tries(27*time.Hour, 27*time.Hour+tendEvery, slow, "a"); len(got) != 1 {
		t.Errorf("needed anew it is tried at %v", got)
	}
	if got := tries(28*time.Hour, 28*time.Hour+4*tendEvery, holepunch.ErrHolePunchActive, "b"); len(got) != 4 {
		t.Errorf("behind libp2p's own try it is looked at again at %v", got)
	}
}

func TestPunches_OneAtATimeForEachPeer(t *testing.T) {
	tried, now := punches{}, time.Now()
	if got := tried.begin(now, []peer.ID{"a", "b"}); len(got) != 2 {
		t.Fatalf("tried %v", got)
	}
	if got := tried.begin(now.Add(time.Hour), []peer.ID{"a", "b"}); got != nil {
		t.Errorf("tried %v, while that is under way", got)
	}
	tried.begin(now.Add(time.Hour), nil) // neither is connected any more
	tried.ended(now.Add(time.Hour), "a", nil)
	if got := tried.begin(now.Add(2*time.Hour), nil); got != nil || len(tried) != 1 {
		t.Errorf("tried %v, %d are remembered, want the one that is under way", got, len(tried))
	}
}

// A host that serves behind a relay has a hole punched to who has come in over it, and asks something of it.
func TestReach_HolesAreForConversationsThatGoOverARelay(t *testing.T) {
	served, client, reach, tries := relayedPair(t)
	served.SetStreamHandler(protocol.SessionID, func(network.Stream) {}) // it stays open
	reach.punchAgain(time.Now())
	if got := reach.lackHoles(); got != nil {
		t.Errorf("a connection that nobody uses is not worth a hole to %v", got)
	}
	st, err := client.NewStream(network.WithAllowLimitedConn(t.Context(), "test"), served.ID(), protocol.SessionID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "a need of a hole", func() bool { return len(reach.lackHoles()) > 0 })
	reach.punchAgain(time.Now())
	if got := <-tries; got != client.ID() {
		t.Errorf("a hole is punched to %v", got)
	}
	at := slices.DeleteFunc(served.Addrs(), isCircuit)
	if err := client.Connect(network.WithForceDirectDial(t.Context(), "test"), peer.AddrInfo{ID: served.ID(), Addrs: at}); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "a direct connection", func() bool { return len(reach.lackHoles()) == 0 })
}

// relayedPair is a host that serves behind a relay and a client that is connected to it over the relay alone. Who is to be
// punched to is told instead.
func relayedPair(t *testing.T) (served, client host.Host, reach *Reach, tries chan peer.ID) {
	t.Helper()
	const loopback = "/ip4/127.0.0.1/tcp/0"
	tries = make(chan peer.ID, 100)
	relay, _, _ := reachable(t, ReachConfig{Relay: true}, loopback)
	served, directory, reach := reachable(t, ReachConfig{}, loopback)
	reach.mu.Lock()
	reach.punch = func(id peer.ID) error { tries <- id; return errors.New("a test") }
	reach.mu.Unlock()
	if err := directory.Join(t.Context(), []peer.AddrInfo{{ID: relay.ID(), Addrs: relay.Addrs()}}); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "a place at the relay", func() bool { return len(reach.Now().Relays) == 1 })
	client, _, _ = reachable(t, ReachConfig{})
	at := slices.DeleteFunc(served.Addrs(), func(a ma.Multiaddr) bool { return !isCircuit(a) })
	if err := client.Connect(t.Context(), peer.AddrInfo{ID: served.ID(), Addrs: at}); err != nil {
		t.Fatal(err)
	}
	return served, client, reach, tries
}

// What the two sides of a hole say to each other may take a minute. Who leaves does not wait for it.
func TestReach_ClosesThoughTheOtherSideOfAHoleIsSilent(t *testing.T) {
	const loopback = "/ip4/127.0.0.1/tcp/0"
	relay, _, _ := reachable(t, ReachConfig{Relay: true}, loopback)
	served, directory, reach := reachable(t, ReachConfig{}, loopback)
	if err := directory.Join(t.Context(), []peer.AddrInfo{{ID: relay.ID(), Addrs: relay.Addrs()}}); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "a place at the relay", func() bool { return len(reach.Now().Relays) == 1 })
	reach.mu.Lock()
	reach.outside["x"] = ma.StringCast("/ip4/8.8.8.8/tcp/1")
	reach.mu.Unlock()
	client, err := NewHost(HostConfig{}) // without what would answer
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	asked, end := make(chan struct{}), make(chan struct{})
	defer close(end)
	client.SetStreamHandler(holepunch.Protocol, func(network.Stream) {
		close(asked)
		<-end
	})
	at := slices.DeleteFunc(served.Addrs(), func(a ma.Multiaddr) bool { return !isCircuit(a) })
	if err := client.Connect(t.Context(), peer.AddrInfo{ID: served.ID(), Addrs: at}); err != nil {
		t.Fatal(err)
	}
	<-asked
	began := time.Now()
	if err := reach.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > holepunch.StreamTimeout/2 {
		t.Errorf("it took %v", took)
	}
}
