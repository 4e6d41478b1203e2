package routing

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/pnet"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/baichuan-node/baichuan-node/protocol"
)

var testModel = protocol.Digest{7}

func TestMain(m *testing.M) {
	debug.SetGCPercent(400) // swarms are small and short-lived
	m.Run()
}

// member is a peer of a test's swarm.
type member struct {
	host.Host
	*Directory
}

// Close ends the directory, then the host.
func (m member) Close() error { return errors.Join(m.Directory.Close(), m.Host.Close()) }

func (m member) info() peer.AddrInfo { return peer.AddrInfo{ID: m.ID(), Addrs: m.Addrs()} }

// shut closes a member. Twice is fine.
func (m member) shut(t testing.TB) {
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}

// newMember starts a peer on loopback: one that serves, or a client.
func newMember(t testing.TB, serving bool) member {
	t.Helper()
	cfg := HostConfig{Version: "v1.2.3"}
	if serving {
		cfg.Listen = []string{"/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"}
	}
	h, err := NewHost(cfg)
	if err != nil {
		t.Fatal(err)
	}
	d, err := NewDirectory(t.Context(), h, DirectoryConfig{Serving: serving})
	if err != nil {
		t.Fatal(err)
	}
	m := member{h, d}
	t.Cleanup(func() { m.shut(t) })
	return m
}

// layers is what a test's peer announces.
func layers(start, end int) protocol.Offer {
	s := protocol.Span{Start: start, End: end}
	return protocol.Offer{Model: testModel, ModelName: "mini", Span: s, Target: s, Layers: 6, State: protocol.Online}
}

func (m member) mustAnnounce(t testing.TB, o protocol.Offer) {
	t.Helper()
	if err := m.Announce(t.Context(), o); err != nil {
		t.Fatal(err)
	}
}

func (m member) mustJoin(t testing.TB, others ...member) {
	t.Helper()
	var infos []peer.AddrInfo
	for _, o := range others {
		infos = append(infos, o.info())
	}
	if err := m.Join(t.Context(), infos); err != nil {
		t.Fatal(err)
	}
}

// spans asks for offers and writes them as "0:2 2:4" by span.
func (m member) spans(t testing.TB) string {
	t.Helper()
	seen, err := m.Offers(t.Context(), testModel)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, s := range seen {
		text := s.Offer.Span.String()
		if s.Offer.State != protocol.Online {
			text += " " + s.Offer.State.String()
		}
		all = append(all, text)
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

func TestDirectory_ShowsAClientAllOffersThroughAnyPeer(t *testing.T) {
	boot := newMember(t, true)
	boot.mustAnnounce(t, layers(0, 2)) // in a swarm of one there is nobody to tell
	second, third := newMember(t, true), newMember(t, true)
	second.mustJoin(t, boot)
	second.mustAnnounce(t, layers(2, 4))
	third.mustJoin(t, boot)
	third.mustAnnounce(t, layers(4, 6))
	for _, via := range []member{boot, second, third} {
		client := newMember(t, false)
		began := time.Now()
		client.mustJoin(t, via)
		if got := client.spans(t); got != "0:2, 2:4, 4:6" {
			t.Errorf("via %s the client sees %q", via.ID(), got)
		}
		t.Logf("all offers after %v", time.Since(began))
		for _, s := range client.Known(protocol.ModelID{}) {
			if _, err := client.NewStream(t.Context(), s.Offer.Peer, protocol.DirectoryID); err != nil {
				t.Errorf("a peer can't be called by its offer: %v", err)
			}
			if o, err := protocol.Unseal(client.Sealed(s.Offer.Peer)); err != nil || o.Peer != s.Offer.Peer {
				t.Errorf("its offer can't be handed on: %v", err)
			}
		}
		if m := client.Measures(); m.RTT[via.ID()] <= 0 {
			t.Errorf("measured %+v", m)
		}
	}
}

func TestDirectory_FollowsAChangeAndALeave(t *testing.T) {
	boot, node, client := newMember(t, true), newMember(t, true), newMember(t, false)
	boot.mustAnnounce(t, layers(0, 2))
	node.mustJoin(t, boot)
	node.mustAnnounce(t, layers(2, 6))
	client.mustJoin(t, boot)
	draining := layers(2, 6)
	draining.State = protocol.Draining
	node.mustAnnounce(t, draining)
	if got := client.spans(t); got != "0:2, 2:6 draining" {
		t.Errorf("after the change: %q", got)
	}
	if err := node.Withdraw(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := client.spans(t); got != "0:2, 2:6 leaving" {
		t.Errorf("after the withdrawal: %q", got)
	}
	node.mustAnnounce(t, layers(2, 6))
	node.shut(t)
	if got := client.spans(t); got != "0:2, 2:6 leaving" {
		t.Errorf("after the close: %q", got)
	}
}

func TestJoin_SaysInOneLineWhoDidNotAnswer(t *testing.T) {
	client := newMember(t, false)
	stranger, err := NewHost(HostConfig{Listen: []string{"/ip4/127.0.0.1/tcp/0"}})
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	id, err := peer.Decode("12D3KooWGC6TvWhfapngX6wvJHMYvKpDMXPb3ZnCZ6dMoaMtimQ5")
	if err != nil {
		t.Fatal(err)
	}
	nobody := peer.AddrInfo{ID: id, Addrs: []ma.Multiaddr{ma.StringCast("/ip4/127.0.0.1/tcp/1")}}
	for name, c := range map[string]struct {
		peer peer.AddrInfo
		want string
	}{
		"nobody listens": {nobody, "join /ip4/127.0.0.1/tcp/1/p2p/" + id.String() + ": no answer: "},
		"no directory":   {peer.AddrInfo{ID: stranger.ID(), Addrs: stranger.Addrs()}, "join: connected, but no directory answers: "},
		"itself":         {peer.AddrInfo{ID: client.ID()}, "this is the peer itself"},
	} {
		t.Run(name, func(t *testing.T) {
			err := client.Join(t.Context(), []peer.AddrInfo{c.peer})
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	boot := newMember(t, true)
	if err := client.Join(t.Context(), []peer.AddrInfo{nobody, boot.info()}); err != nil {
		t.Errorf("with one that answers: %v", err)
	}
}

func TestJoin_ExplainsASwarmKey(t *testing.T) {
	key, err := ReadSwarmKey(strings.NewReader("/key/swarm/psk/1.0.0/\n/base16/\n" + strings.Repeat("ab", 32) + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	start := func(key pnet.PSK, listen ...string) member {
		h, err := NewHost(HostConfig{Listen: listen, SwarmKey: key})
		if err != nil {
			t.Fatal(err)
		}
		d, err := NewDirectory(t.Context(), h, DirectoryConfig{Serving: len(listen) > 0})
		if err != nil {
			t.Fatal(err)
		}
		m := member{h, d}
		t.Cleanup(func() { m.shut(t) })
		return m
	}
	boot := start(key, "/ip4/127.0.0.1/tcp/0")
	if err := start(key).Join(t.Context(), []peer.AddrInfo{boot.info()}); err != nil {
		t.Errorf("with the same key: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Second)
	defer cancel()
	err = start(nil).Join(ctx, []peer.AddrInfo{boot.info()})
	if err == nil || !strings.Contains(err.Error(), "swarm key") || strings.Contains(err.Error(), "\n") {
		t.Errorf("without a key: %v", err)
	}
	if _, err := ReadSwarmKey(strings.NewReader("secret")); err == nil {
		t.Error("a file that is no key was read")
	}
}

// sealedBy makes a valid offer of a host.
func sealedBy(t testing.TB, h host.Host, sequence uint64) []byte {
	t.Helper()
	o := layers(0, 6)
	o.Version, o.Peer, o.Sequence, o.LifeMS = 1, h.ID(), sequence, 24_000
	sealed, err := protocol.Seal(o, h.Peerstore().PrivKey(h.ID()))
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

func TestDirectory_RefusesForgedReplayedAndOversizedOffers(t *testing.T) {
	boot, evil, other := newMember(t, true), newMember(t, false), newMember(t, false)
	evil.mustJoin(t, boot)
	put := func(offer []byte) error {
		_, _, err := ask(t.Context(), evil, boot.ID(), protocol.DirectoryID, protocol.Put{Offer: offer})
		return err
	}
	mine := sealedBy(t, evil, 10)
	if err := put(mine); err != nil {
		t.Fatalf("a good offer: %v", err)
	}
	if err := put(mine); err != nil {
		t.Errorf("the same again: %v", err)
	}
	broken := slices.Clone(mine)
	broken[len(broken)-1] ^= 1
	for name, c := range map[string]struct {
		offer []byte
		want  string
	}{
		"another's":  {sealedBy(t, other, 1), "forbidden"},
		"broken":     {broken, "bad request"},
		"too long":   {make([]byte, protocol.MaxOfferBytes+1), "bad request"},
		"not at all": {[]byte("hello"), "bad request"},
	} {
		if err := put(c.offer); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
	if err := put(sealedBy(t, evil, 9)); err != nil {
		t.Errorf("an overtaken one: %v", err)
	}
	seen := boot.Known(protocol.ModelID{})
	if len(seen) != 1 || seen[0].Offer.Sequence != 10 {
		t.Errorf("known: %+v", seen)
	}
}

// A relay may lie about everything but what is signed.
func TestDirectory_BelievesARelayOnlyWhatIsSigned(t *testing.T) {
	liar, client, victim := newMember(t, true), newMember(t, false), newMember(t, false)
	good, forged := sealedBy(t, victim, 5), sealedBy(t, victim, 6)
	forged[len(forged)/2] ^= 1
	liar.server.close()
	liar.SetStreamHandler(protocol.DirectoryID, func(st network.Stream) {
		defer st.Close()
		if _, err := protocol.ReadMessage(st, protocol.Limits{}); err == nil {
			_ = protocol.WriteMessage(st, protocol.Offers{Sealed: [][]byte{forged, good, []byte("x")}, AgesMS: []uint32{0, 0, 0}})
		}
	})
	client.mustJoin(t, liar)
	seen := client.Known(testModel)
	if len(seen) != 1 || seen[0].Offer.Sequence != 5 || seen[0].Age < leastAge {
		t.Errorf("known: %+v", seen)
	}
}

func TestDirectory_AnswersGarbageWithACode(t *testing.T) {
	boot, client := newMember(t, true), newMember(t, false)
	client.mustJoin(t, boot)
	for name, c := range map[string]struct {
		msg  any
		want string
	}{
		"a session's message": {protocol.Step{Number: 1, IDs: []uint32{1}}, "bad request"},
		"another protocol's":  {protocol.Get{Length: 1}, "unsupported"},
	} {
		if _, _, err := ask(t.Context(), client, boot.ID(), protocol.DirectoryID, c.msg); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

func TestDirectory_LimitsTheStreamsOfAPeer(t *testing.T) {
	boot, client := newMember(t, true), newMember(t, false)
	client.mustJoin(t, boot)
	hold := func() {
		st, err := client.NewStream(t.Context(), boot.ID(), protocol.DirectoryID)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = st.Reset() })
		if _, err := st.Write([]byte{1}); err != nil { // a frame that never ends
			t.Fatal(err)
		}
	}
	for range maxPeerStreams {
		hold()
	}
	deadline := time.Now().Add(streamTimeout - time.Second)
	for {
		_, _, err := ask(t.Context(), client, boot.ID(), protocol.DirectoryID, protocol.Info{})
		if err != nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the stream too many was answered")
		}
		hold() // one of those before was refused, as the client's own questions are streams too
	}
	if _, _, err := ask(t.Context(), newDialer(t, boot), boot.ID(), protocol.DirectoryID, protocol.Info{}); err != nil {
		t.Errorf("another peer is refused: %v", err)
	}
}

// newDialer is a client that knows how to reach a peer.
func newDialer(t *testing.T, to member) member {
	m := newMember(t, false)
	m.mustJoin(t, to)
	return m
}

func TestBlobs_ArriveWholeOrNotAtAll(t *testing.T) {
	big := make([]byte, 5<<19) // two and a half pieces
	if _, err := rand.Read(big); err != nil {
		t.Fatal(err)
	}
	empty, exact := []byte{}, big[:protocol.MaxDataBytes]
	serveAll := func(m member, lie bool) {
		stop := ServeBlobs(m, Blobs{Find: func(hash protocol.Digest) (Blob, bool) {
			for _, b := range [][]byte{big, empty, exact} {
				if sha256.Sum256(b) == hash {
					if lie {
						b = bytes.Repeat([]byte{1}, max(len(b), 1))
					}
					return Small(b), true
				}
			}
			return Blob{}, false
		}})
		t.Cleanup(stop)
	}
	honest, liar, silent, client := newMember(t, true), newMember(t, true), newMember(t, true), newMember(t, false)
	serveAll(honest, false)
	serveAll(liar, true)
	client.mustJoin(t, honest, liar, silent)
	for _, b := range [][]byte{big, empty, exact} {
		got, err := FetchBlob(t.Context(), client, []peer.ID{silent.ID(), liar.ID(), honest.ID()}, sha256.Sum256(b), 4<<20)
		if err != nil || !bytes.Equal(got, b) {
			t.Errorf("%d bytes: got %d, %v", len(b), len(got), err)
		}
	}
	for name, c := range map[string]struct {
		from  []peer.ID
		hash  protocol.Digest
		limit int64
		want  string
	}{
		"a liar alone":     {[]peer.ID{liar.ID()}, sha256.Sum256(big), 4 << 20, "another hash"},
		"above the limit":  {[]peer.ID{honest.ID()}, sha256.Sum256(big), 1 << 20, "above the limit"},
		"nobody has it":    {[]peer.ID{honest.ID(), silent.ID()}, protocol.Digest{9}, 1 << 20, "; peer " + silent.ID().String()},
		"nobody to ask":    {nil, protocol.Digest{9}, 1 << 20, "no peer"},
		"nobody listening": {[]peer.ID{client.ID()}, protocol.Digest{9}, 1 << 20, "fetch 0900"},
	} {
		if _, err := FetchBlob(t.Context(), client, c.from, c.hash, c.limit); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

func TestClose_LeavesNoGoroutineBehind(t *testing.T) {
	before := runtime.NumGoroutine()
	for range 2 {
		boot, node, client := newMember(t, true), newMember(t, true), newMember(t, false)
		stop := ServeBlobs(boot, Blobs{Find: func(protocol.Digest) (Blob, bool) { return Small([]byte("x")), true }})
		boot.mustAnnounce(t, layers(0, 2))
		node.mustJoin(t, boot)
		node.mustAnnounce(t, layers(2, 6))
		client.mustJoin(t, boot)
		client.spans(t)
		if _, err := FetchBlob(t.Context(), client, []peer.ID{boot.ID()}, sha256.Sum256([]byte("x")), 10); err != nil {
			t.Error(err)
		}
		stop()
		for _, m := range []member{client, node, boot} {
			m.shut(t)
		}
	}
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		after := runtime.NumGoroutine()
		if after <= before {
			return
		}
		if time.Now().After(end) {
			buf := make([]byte, 1<<20)
			t.Fatalf("%d goroutines were running, now %d:\n%s", before, after, buf[:runtime.Stack(buf, true)])
		}
	}
}

// A machine whose clock was set back restarts: its offers seem older than those of the process before.
func TestDirectory_ANodeWhoseClockWasSetBackIsKnownAtOnce(t *testing.T) {
	keeper := newMember(t, true)
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, clock := range []time.Duration{0, -time.Hour, -80 * 365 * 24 * time.Hour} {
		h, err := NewHost(HostConfig{Key: key, Listen: []string{"/ip4/127.0.0.1/tcp/0"}})
		if err != nil {
			t.Fatal(err)
		}
		d, err := NewDirectory(t.Context(), h, DirectoryConfig{Serving: true, Wall: func() time.Time { return time.Now().Add(clock) }})
		if err != nil {
			t.Fatal(err)
		}
		m := member{h, d}
		m.mustJoin(t, keeper)
		m.mustAnnounce(t, layers(0, 2))
		for limit := time.Now().Add(20 * time.Second); keeper.book.sealedOf(m.ID(), time.Now()) == nil; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(limit) {
				t.Fatalf("with a clock off by %v the node's offer is not known", clock)
			}
		}
		m.shut(t)
	}
}
