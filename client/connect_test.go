package client

import (
	"crypto/sha256"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
	"github.com/baichuan-node/baichuan-node/shard/checkpoint"
	"github.com/baichuan-node/baichuan-node/shard/checkpoint/synthetic"
	"github.com/baichuan-node/baichuan-node/shard/store"
)

// importTiny makes a stored model of one layer.
func importTiny(t *testing.T) *store.Model {
	t.Helper()
	spm, err := os.ReadFile("../shard/tokenizer/testdata/bpe-2048.model")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	err = synthetic.Write(dir, synthetic.Spec{
		Vocab: 2048, Hidden: 64, Intermediate: 64, Layers: 1, Heads: 2, Context: 100, Position: "rope", Tokenizer: spm,
	})
	if err != nil {
		t.Fatal(err)
	}
	c, err := checkpoint.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	m, err := store.Import(t.Context(), s, c, store.ImportOptions{Name: "tiny"})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// announcer is a peer that offers models and has blobs.
func announcer(t *testing.T, join []peer.AddrInfo, offer protocol.Offer, blobs ...[]byte) host.Host {
	t.Helper()
	h := newHost(t)
	d, err := routing.NewDirectory(t.Context(), h, routing.DirectoryConfig{Serving: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	t.Cleanup(routing.ServeBlobs(h, routing.Blobs{Find: func(hash protocol.Digest) (routing.Blob, bool) {
		i := slices.IndexFunc(blobs, func(b []byte) bool { return sha256.Sum256(b) == hash })
		if i < 0 {
			return routing.Blob{}, false
		}
		return routing.Small(blobs[i]), true
	}}))
	if len(join) > 0 {
		if err := d.Join(t.Context(), join); err != nil {
			t.Fatal(err)
		}
	}
	offer.Version, offer.Span, offer.Target = protocol.OfferVersion, span(0, 1), span(0, 1)
	offer.Layers, offer.State, offer.Device = 1, protocol.Online, "toy"
	if err := d.Announce(t.Context(), offer); err != nil {
		t.Fatal(err)
	}
	return h
}

// connect makes a client with a host and a directory of its own.
func connect(t *testing.T, join []peer.AddrInfo, model string) (*Client, error) {
	t.Helper()
	h := newHost(t)
	d, err := routing.NewDirectory(t.Context(), h, routing.DirectoryConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return Connect(t.Context(), h, d, Config{Join: join, Model: model})
}

func TestConnect_FindsTheModelThatIsMeant(t *testing.T) {
	m := importTiny(t)
	spm, err := m.Tokenizer()
	if err != nil {
		t.Fatal(err)
	}
	id := protocol.ModelID(m.ID)
	first := announcer(t, nil, protocol.Offer{Model: id, ModelName: "tiny"}, m.Raw, spm)
	join := []peer.AddrInfo{{ID: first.ID(), Addrs: first.Addrs()}}
	for _, name := range []string{"", "tiny", "TINY", id.String(), id.String()[:8]} {
		c, err := connect(t, join, name)
		if err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		got := c.Model()
		if got.ID != id || got.Name != "tiny" || got.Manifest.Layers != 1 || got.Tokenizer.Size() != 2048 {
			t.Errorf("%q gives %s %v", name, got.Name, got.ID)
		}
	}

	garbage := []byte("no manifest")
	announcer(t, join, protocol.Offer{Model: sha256.Sum256(garbage), ModelName: "garbage"}, garbage)
	announcer(t, join, protocol.Offer{Model: protocol.ModelID{1}, ModelName: "nothing"})
	announcer(t, join, protocol.Offer{Model: protocol.ModelID{2}, ModelName: "Tiny"})
	for name, want := range map[string]string{
		"":                                "several",
		"other":                           `"other"`,
		"tiny":                            "several", // two that are called so
		id.String()[:7]:                   "no peer", // too short to mean an id
		"garbage":                         "read manifest",
		"nothing":                         "get the manifest of model nothing",
		protocol.ModelID{9}.String():      "no peer",
		strings.ToUpper(id.String()[:10]): "",
	} {
		_, err := connect(t, join, name)
		switch {
		case want == "" && err != nil:
			t.Errorf("%q: %v", name, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n")):
			t.Errorf("%q: the error is %v, want one line with %q", name, err, want)
		}
	}
}

func TestConnect_TellsThatNobodyAnswers(t *testing.T) {
	h := newHost(t)
	gone := []peer.AddrInfo{{ID: h.ID(), Addrs: h.Addrs()}}
	h.Close()
	if _, err := connect(t, gone, ""); err == nil || !strings.Contains(err.Error(), h.ID().String()) || strings.Contains(err.Error(), "\n") {
		t.Errorf("the error is %v", err)
	}
}

func TestClient_PlansWithItsDirectory(t *testing.T) {
	m := importTiny(t)
	spm, err := m.Tokenizer()
	if err != nil {
		t.Fatal(err)
	}
	h := announcer(t, nil, protocol.Offer{Model: protocol.ModelID(m.ID), ModelName: "tiny"}, m.Raw, spm)
	c, err := connect(t, []peer.AddrInfo{{ID: h.ID(), Addrs: h.Addrs()}}, "")
	if err != nil {
		t.Fatal(err)
	}
	plan := func() ([]place, error) { return c.NewSession(SessionConfig{}).(*session).replan(t.Context(), 0) }
	hops, err := plan()
	if err != nil || len(hops) != 1 || hops[0].hop.Peer != h.ID() || hops[0].hop.Span != span(0, 1) {
		t.Errorf("the chain is %v, %v", hops, err)
	}
	boot := c.known()[0].Boot
	c.bans.strike(h.ID(), boot, errTest, time.Now())
	if _, err := plan(); err != nil {
		t.Errorf("after its first failure the only peer is not planned with: %v", err)
	}
	c.bans.strike(h.ID(), boot, errTest, time.Now())
	if _, err := plan(); err == nil {
		t.Error("a banned peer is planned with")
	}
	c.host.Network().ClosePeer(h.ID())
	c.bans.strike(h.ID(), boot+1, errTest, time.Now())
	if _, err := plan(); err != nil {
		t.Errorf("a peer that was started anew since it failed is not planned with: %v", err)
	}
	c.bans.success(h.ID())
	c.bans.success(h.ID())
	c.bans.pause(h.ID(), time.Now())
	if _, err := plan(); !errors.As(err, new(*BusyError)) {
		t.Errorf("the only peer has no room, the error is %v", err)
	}
	c.bans.success(h.ID())
	if _, err := plan(); err != nil {
		t.Errorf("after it has worked: %v", err)
	}
}
