package routing

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/client"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// reachable starts a host with its Reach and a directory, as serve does.
func reachable(t *testing.T, cfg ReachConfig, listen ...string) (host.Host, *Directory, *Reach) {
	t.Helper()
	r := NewReach(cfg)
	h, err := NewHost(HostConfig{Listen: listen, Reach: r})
	if err != nil {
		t.Fatal(err)
	}
	d, err := NewDirectory(t.Context(), h, DirectoryConfig{Serving: len(listen) > 0})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Start(h, d); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, end := range []func() error{r.Close, d.Close, h.Close} {
			if err := end(); err != nil {
				t.Error(err)
			}
		}
	})
	return h, d, r
}

// A relay on loopback names no address of its own, and libp2p's limits would end the stream after 128 KiB.
func TestReach_APlaceAtARelayIsInTheOfferAndCarriesMuch(t *testing.T) {
	const loopback = "/ip4/127.0.0.1/tcp/0"
	relay, relayDirectory, _ := reachable(t, ReachConfig{Relay: true}, loopback)
	served, directory, reach := reachable(t, ReachConfig{}, loopback)
	if err := directory.Join(t.Context(), []peer.AddrInfo{{ID: relay.ID(), Addrs: relay.Addrs()}}); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "a place at the relay", func() bool { return len(reach.Now().Relays) == 1 })
	if err := directory.Announce(t.Context(), testOffer()); err != nil {
		t.Fatal(err)
	}
	var o protocol.Offer
	for _, s := range relayDirectory.Known(protocol.ModelID{}) {
		o = s.Offer
	}
	i := slices.IndexFunc(o.Addrs, func(a string) bool { return strings.HasSuffix(a, relay.ID().String()+"/p2p-circuit") })
	if i < 0 || o.Relay || o.Relayed { // there is no NAT: it is reached otherwise as well
		t.Fatalf("the offer %+v has no address at the relay, or says more than is so", o)
	}
	served.SetStreamHandler(protocol.SessionID, func(st network.Stream) { _, _ = io.Copy(st, st); _ = st.Close() })

	client, _, _ := reachable(t, ReachConfig{})
	if err := client.Connect(t.Context(), peer.AddrInfo{ID: served.ID(), Addrs: []ma.Multiaddr{ma.StringCast(o.Addrs[i])}}); err != nil {
		t.Fatal(err)
	}
	c := client.Network().ConnsToPeer(served.ID())[0]
	if Direct(client, served.ID()) || !Connected(client, served.ID()) || !c.Stat().Limited || RelayOf(c) != relay.ID() {
		t.Fatalf("connected over %v", c.RemoteMultiaddr())
	}
	if got, want := Way(client.Network().ConnsToPeer(served.ID()), &o), "relay "+relay.ID().String(); got != want {
		t.Errorf("it is reached by %q, want %q", got, want)
	}
	echoes(t, client, served.ID(), 1<<20)
}

// echoes sends bytes over a stream and reads them back.
func echoes(t *testing.T, h host.Host, id peer.ID, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	st, err := h.NewStream(network.WithAllowLimitedConn(ctx, "test"), id, protocol.SessionID)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Reset()
	sent := bytes.Repeat([]byte("baichuan"), n/8)
	go func() { _, _ = st.Write(sent); _ = st.CloseWrite() }()
	got, err := io.ReadAll(st)
	if err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d bytes of %d came back: %v", len(got), n, err)
	}
}

// waitFor waits until something is so.
func waitFor(t *testing.T, what string, is func() bool) {
	t.Helper()
	for late := time.Now().Add(30 * time.Second); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(late) {
			t.Fatalf("there never was %s", what)
		}
	}
}

func testOffer() protocol.Offer {
	whole := protocol.Span{End: 4}
	return protocol.Offer{Model: protocol.ModelID{1}, Span: whole, Target: whole, Layers: 4, State: protocol.Online}
}

// A place is told by the wall clock: one that is off by hours, the relay's or the holder's, must not end it.
func TestReach_APlaceOutlastsWrongClocks(t *testing.T) {
	const loopback = "/ip4/127.0.0.1/tcp/0"
	relay, _, _ := reachable(t, ReachConfig{Relay: true}, loopback)
	served, _, _ := reachable(t, ReachConfig{}, loopback)
	got, err := client.Reserve(t.Context(), served, peer.AddrInfo{ID: relay.ID(), Addrs: relay.Addrs()})
	if err != nil {
		t.Fatal(err)
	}
	if kept := time.Until(got.Expiration); kept < 24*time.Hour {
		t.Errorf("a holder whose clock is a day ahead takes its place, kept for %v, for one that is over", kept)
	}
	for kept, want := range map[time.Duration]time.Duration{
		10 * time.Minute: 5 * time.Minute, 8 * time.Hour: placeOld, relayKeeps: placeOld, 0: placeYoung, -8 * time.Hour: placeYoung,
	} {
		if got := renewAfter(kept); got != want {
			t.Errorf("kept for %v it is renewed after %v, want %v", kept, got, want)
		}
	}
	for _, c := range served.Network().ConnsToPeer(relay.ID()) {
		if c.ConnState().Security != noise.ID {
			t.Errorf("the connection is secured by %v, whose certificates a clock makes invalid", c.ConnState().Security)
		}
	}
}

func TestReach_LeavesARelayThatHasGone(t *testing.T) {
	const loopback = "/ip4/127.0.0.1/tcp/0"
	relay, err := NewHost(HostConfig{Listen: []string{loopback}})
	if err != nil {
		t.Fatal(err)
	}
	service, err := newRelay(relay)
	if err != nil {
		t.Fatal(err)
	}
	served, _, reach := reachable(t, ReachConfig{}, loopback)
	if err := served.Connect(t.Context(), peer.AddrInfo{ID: relay.ID(), Addrs: relay.Addrs()}); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "a place at the relay", func() bool { return slices.ContainsFunc(served.Addrs(), isCircuit) })
	if err := service.Close(); err != nil {
		t.Error(err)
	}
	if err := relay.Close(); err != nil {
		t.Error(err)
	}
	waitFor(t, "an end of the place", func() bool { return !slices.ContainsFunc(served.Addrs(), isCircuit) })
	if now := reach.Now(); len(now.Relays) != 0 {
		t.Errorf("%+v", now)
	}
}

func TestRelayAddrs_ChoosesWhatOthersCanDial(t *testing.T) {
	for name, c := range map[string]struct {
		used  string
		known []string
		want  []string
	}{
		"public ones first": {"/ip4/10.0.0.1/tcp/1", []string{"/ip4/8.8.8.8/udp/2/quic-v1", "/ip4/8.8.8.8/tcp/1", "/ip4/10.0.0.1/udp/2/quic-v1"},
			[]string{"/ip4/8.8.8.8/tcp/1", "/ip4/8.8.8.8/udp/2/quic-v1"}},
		"over IPv6 as well": {"/ip4/8.8.8.8/tcp/1", []string{"/ip6/2001:db8::1/tcp/3", "/ip6/2a00:1450::1/udp/4/quic-v1", "/ip6/2a00:1450::1/tcp/3", "/ip4/8.8.8.8/udp/2/quic-v1"},
			[]string{"/ip4/8.8.8.8/tcp/1", "/ip4/8.8.8.8/udp/2/quic-v1", "/ip6/2a00:1450::1/tcp/3"}},
		"over IPv6 alone": {"/ip6/2a00:1450::1/udp/4/quic-v1", []string{"/ip6/2a00:1450::1/tcp/3"}, []string{"/ip6/2a00:1450::1/tcp/3", "/ip6/2a00:1450::1/udp/4/quic-v1"}},
		"a network of its own": {"/ip4/10.0.0.1/tcp/1", []string{"/ip4/172.17.0.1/tcp/1", "/ip4/10.0.0.1/udp/2/quic-v1", "/ip4/127.0.0.1/tcp/1"},
			[]string{"/ip4/10.0.0.1/tcp/1", "/ip4/10.0.0.1/udp/2/quic-v1"}},
		"loopback":                {"/ip4/127.0.0.1/tcp/1", nil, []string{"/ip4/127.0.0.1/tcp/1"}},
		"no relay over a relay":   {"/ip4/10.0.0.1/tcp/1", []string{"/ip4/8.8.8.8/tcp/1/p2p/12D3KooWGC6TvWhfapngX6wvJHMYvKpDMXPb3ZnCZ6dMoaMtimQ5/p2p-circuit"}, []string{"/ip4/10.0.0.1/tcp/1"}},
		"with the relay's own id": {"/ip4/10.0.0.1/tcp/1/p2p/12D3KooWGC6TvWhfapngX6wvJHMYvKpDMXPb3ZnCZ6dMoaMtimQ5", nil, []string{"/ip4/10.0.0.1/tcp/1"}},
	} {
		var known []ma.Multiaddr
		for _, a := range c.known {
			known = append(known, ma.StringCast(a))
		}
		var got []string
		for _, a := range relayAddrs(ma.StringCast(c.used), known) {
			got = append(got, a.String())
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestReached_SaysWhatToDo(t *testing.T) {
	at := []ma.Multiaddr{ma.StringCast("/ip4/8.8.8.8/tcp/1")}
	outside := ma.StringCast("/ip4/9.9.9.9")
	anywhere := []ma.Multiaddr{ma.StringCast("/ip4/0.0.0.0/tcp/0"), ma.StringCast("/ip4/0.0.0.0/udp/0/quic-v1"), ma.StringCast("/ip6/::/tcp/0")}
	chosen := []ma.Multiaddr{ma.StringCast("/ip4/0.0.0.0/udp/2/quic-v1"), ma.StringCast("/ip4/0.0.0.0/tcp/1"), ma.StringCast("/ip6/::/tcp/3")}
	for name, c := range map[string]struct {
		now          Reached
		says, advice string
	}{
		"nobody met":                {Reached{}, "unknown", ""},
		"one network":               {Reached{Observers: 1}, "directly, by peers that see", ""},
		"from outside":              {Reached{Observers: 1, BehindNAT: true, Confirmed: at}, "directly, at /ip4/8.8.8.8/tcp/1", ""},
		"the router helps":          {Reached{Observers: 1, BehindNAT: true, Mapped: at}, "the router passes on: /ip4/8.8.8.8/tcp/1", ""},
		"the router is being asked": {Reached{Observers: 1, BehindNAT: true, Asking: true}, "not from outside yet: the router is being asked", ""},
		"over a relay, meanwhile":   {Reached{Observers: 1, BehindNAT: true, Asking: true, Relays: []peer.ID{"x"}}, "over relays: ", ""},
		"over a relay": {Reached{Observers: 1, BehindNAT: true, Relays: []peer.ID{"x"}, Listen: anywhere, Outside: outside}, "over relays: ",
			"forward port TCP 4001 to this machine in the router, and serve with --listen /ip4/0.0.0.0/tcp/4001 --announce /ip4/9.9.9.9/tcp/4001; or switch on UPnP or NAT-PMP there; a relay works meanwhile, and is slower"},
		"not at all": {Reached{Observers: 1, BehindNAT: true, Listen: chosen, Outside: outside}, "not at all",
			"forward port TCP 1 and UDP 2 to this machine in the router, and serve with --announce /ip4/9.9.9.9/tcp/1; or switch on UPnP or NAT-PMP there; or --join a swarm in which somebody serves with --relay"},
		"QUIC alone": {Reached{Observers: 1, BehindNAT: true, Listen: chosen[:1], Outside: outside}, "not at all",
			"forward port UDP 2 to this machine in the router, and serve with --announce /ip4/9.9.9.9/udp/2/quic-v1;"},
		"seen nowhere":                 {Reached{Observers: 1, BehindNAT: true, Listen: anywhere}, "not at all", "--announce /ip4/PUBLIC-ADDRESS/tcp/4001;"},
		"behind a firewall":            {Reached{Observers: 1, Closed: true, Listen: chosen}, "not at all", "open port TCP 1 and UDP 2 in the firewall"},
		"behind a firewall, any ports": {Reached{Observers: 1, Closed: true, Listen: anywhere}, "not at all", "open a port that --listen names in the firewall"},
	} {
		if got := c.now.String(); !strings.Contains(got, c.says) {
			t.Errorf("%s: it says %q, want %q", name, got, c.says)
		}
		if got := c.now.Remedy(); !strings.Contains(got, c.advice) || (got == "") != (c.advice == "") {
			t.Errorf("%s: the advice is %q, want %q", name, got, c.advice)
		}
	}
}

func TestDirectWay_TellsHolesFromOpenDoors(t *testing.T) {
	behind := &protocol.Offer{Relayed: true, Addrs: []string{"/ip4/192.168.1.2/tcp/1"}}
	for at, c := range map[string]struct {
		offer *protocol.Offer
		want  string
	}{
		"/ip4/8.8.8.8/tcp/1":             {nil, "direct tcp"},
		"/ip4/8.8.8.8/udp/1/quic-v1":     {&protocol.Offer{}, "direct quic"},
		"/ip6/2001:db8::1/udp/1/quic-v1": {nil, "direct quic ip6"},
		"/ip4/9.9.9.9/udp/1/quic-v1":     {behind, "punched quic"},
		"/ip4/192.168.1.2/tcp/1":         {behind, "direct tcp"}, // in the same home
	} {
		if got := directWay(ma.StringCast(at), c.offer); got != c.want {
			t.Errorf("%s is %q, want %q", at, got, c.want)
		}
	}
}

func TestOfferAddrs_PutsRelaysBetweenPublicAndPrivateAddresses(t *testing.T) {
	const relay = "/ip4/10.0.0.1/tcp/1/p2p/12D3KooWGC6TvWhfapngX6wvJHMYvKpDMXPb3ZnCZ6dMoaMtimQ5/p2p-circuit"
	want := []string{"/ip4/8.8.8.8/tcp/1", "/ip4/8.8.8.8/udp/1/quic-v1", relay, "/ip4/192.168.1.2/tcp/1", "/ip4/127.0.0.1/tcp/1"}
	var addrs []ma.Multiaddr
	for _, a := range want {
		addrs = append(addrs, ma.StringCast(a))
	}
	slices.Reverse(addrs)
	if got := offerAddrs(addrs); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestNewHost_ListensWithoutIPv6(t *testing.T) {
	for name, c := range map[string]struct {
		listen []string
		fails  bool
	}{
		"all of both":       {[]string{"/ip4/127.0.0.1/tcp/0", "/ip6/::/tcp/0"}, false},
		"another machine's": {[]string{"/ip4/127.0.0.1/tcp/0", "/ip6/2001:db8::1/tcp/0"}, true},
	} {
		h, err := NewHost(HostConfig{Listen: c.listen})
		if err == nil {
			_ = h.Close()
		}
		if (err != nil) != c.fails {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestIdentityAndSwarmKey_AreNewAndForTheirOwnerAlone(t *testing.T) {
	dir := t.TempDir()
	identity, secret := filepath.Join(dir, "x", "identity.key"), filepath.Join(dir, "swarm.key")
	id, err := NewIdentity(identity)
	if err != nil {
		t.Fatal(err)
	}
	if shown, err := ShowIdentity(identity); err != nil || shown != id {
		t.Errorf("shown as %v (%v), want %v", shown, err, id)
	}
	if err := NewSwarmKey(secret); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{identity, secret} {
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	before, err := os.ReadFile(secret)
	if err != nil {
		t.Fatal(err)
	}
	if key, err := ReadSwarmKey(bytes.NewReader(before)); err != nil || len(key) != swarmKeyBytes {
		t.Errorf("the key %q: %v", before, err)
	}
	if _, err := NewIdentity(identity); err == nil || !strings.Contains(err.Error(), "there already") {
		t.Errorf("an identity is written over: %v", err)
	}
	if err := NewSwarmKey(secret); err == nil || !strings.Contains(err.Error(), "there already") {
		t.Errorf("a swarm key is written over: %v", err)
	}
	if after, _ := os.ReadFile(secret); !bytes.Equal(after, before) {
		t.Error("the swarm key is another one")
	}
}

func TestHoles_AStrangerCanNotHaveDoorsOfOurNetworkKnockedAt(t *testing.T) {
	var theirs []ma.Multiaddr
	for _, a := range []string{"/ip4/8.8.8.8/udp/1/quic-v1", "/ip4/10.0.0.9/tcp/22", "/ip4/127.0.0.1/tcp/22", "/dns4/printer/tcp/9100", "/ip4/8.8.4.4/tcp/1"} {
		theirs = append(theirs, ma.StringCast(a))
	}
	for outside, want := range map[string]int{"/ip4/9.9.9.9/tcp/1": 2, "/ip4/10.0.0.3/tcp/1": 3} {
		r := NewReach(ReachConfig{})
		r.outside["x"] = ma.StringCast(outside)
		if got := (*holes)(r).FilterRemote("", theirs); len(got) != want {
			t.Errorf("seen at %s it dials %v", outside, got)
		}
	}
	if got := (*holes)(NewReach(ReachConfig{})).FilterRemote("", slices.Repeat(theirs[:1], 100)); len(got) != maxHoles {
		t.Errorf("it dials %d addresses", len(got))
	}
}

// Whoever has no way to an announced address, as it is of IPv4 or nobody forwards it after all, comes in over a relay.
func TestReach_AnAnnouncedAddressIsToldBesideARelay(t *testing.T) {
	relay, _, _ := reachable(t, ReachConfig{Relay: true}, "/ip4/127.0.0.1/tcp/0")
	const door = "/ip4/8.8.8.8/tcp/4001"
	r := NewReach(ReachConfig{})
	h, err := NewHost(HostConfig{Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Announce: []string{door}, Reach: r})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if err := r.Start(h, nil); err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := h.Connect(t.Context(), peer.AddrInfo{ID: relay.ID(), Addrs: relay.Addrs()}); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "a place at the relay", func() bool { return slices.ContainsFunc(h.Addrs(), isCircuit) })
	if got := offerAddrs(h.Addrs()); got[0] != door || len(got) != 2 || r.relayed() {
		t.Errorf("it tells %v, relayed %v", got, r.relayed())
	}
}

// mapper is a router that maps every port, with its address.
type mapper string

func (m mapper) GetMapping(a ma.Multiaddr) ma.Multiaddr {
	port, err := a.ValueForProtocol(ma.P_TCP)
	if err != nil {
		return nil
	}
	return ma.StringCast("/ip4/" + string(m) + "/tcp/" + port)
}
func (mapper) HasDiscoveredNAT() bool { return true }
func (mapper) Close() error           { return nil }

func TestReach_APortThatIsMappedNeedsNoRelay(t *testing.T) {
	_, directory, reach := reachable(t, ReachConfig{}, "/ip4/127.0.0.1/tcp/0")
	relay, _, _ := reachable(t, ReachConfig{Relay: true}, "/ip4/127.0.0.1/tcp/0")
	if err := directory.Join(t.Context(), []peer.AddrInfo{{ID: relay.ID(), Addrs: relay.Addrs()}}); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "a place at the relay", func() bool { return len(reach.Now().Relays) == 1 })
	reach.mu.Lock()
	reach.seen[relay.ID()] = true // the relay sees another address
	reach.mu.Unlock()
	if !reach.relayed() {
		t.Error("behind a NAT, with a place at a relay: others are not told so")
	}
	reach.mu.Lock()
	reach.router = mapper("100.64.1.2")
	reach.mu.Unlock()
	if now := reach.Now(); !reach.relayed() || len(now.Mapped) != 0 || !strings.Contains(now.Remedy(), "has the address 100.64.1.2 itself, behind the provider's NAT") {
		t.Errorf("with a router behind another NAT: relayed %v, %+v: %s", reach.relayed(), now, now.Remedy())
	}
	reach.mu.Lock()
	reach.router = mapper("8.8.8.8")
	reach.mu.Unlock()
	if now := reach.Now(); reach.relayed() || len(now.Mapped) != 1 || now.Remedy() != "" {
		t.Errorf("with a port that is mapped: relayed %v, %+v", reach.relayed(), now)
	}
	reach.mu.Lock()
	reach.refuted = reach.portsMapped()
	reach.mu.Unlock()
	if now := reach.Now(); !reach.relayed() || len(now.Mapped) != 0 {
		t.Errorf("with a port that is mapped and leads nowhere: relayed %v, %+v", reach.relayed(), now)
	}
}
