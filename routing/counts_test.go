package routing

import (
	"fmt"
	"slices"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/protocol"
)

func TestDirectory_CountsItsMessages(t *testing.T) {
	host, guest := newMember(t, true), newMember(t, false)
	host.OnPledge(func(_ peer.ID, p protocol.Pledge) bool { return p.Layers.Start == 0 })
	guest.mustJoin(t, host)
	before := guest.messages()
	guest.AskPeers(t.Context(), []peer.ID{host.ID(), host.ID()})
	for start := range 3 {
		if _, err := guest.AskPledge(t.Context(), host.ID(), protocol.Pledge{Layers: layers(start, 4).Span, ForMS: 1000}); err != nil {
			t.Fatal(err)
		}
	}
	more := guest.messages()
	if d := more["info asked"] - before["info asked"]; d != 2 || more["pledge asked"] != 3 {
		t.Errorf("2 questions about itself and 3 for a pledge count as %d and %d", d, more["pledge asked"])
	}
	at := host.messages()
	for _, kind := range []string{"list", "info", "pledge"} {
		if at[kind+" answered"] != more[kind+" asked"] {
			t.Errorf("%s: %d were asked and %d answered", kind, more[kind+" asked"], at[kind+" answered"])
		}
	}
	if given, declined := host.Pledged(); given != 1 || declined != 2 {
		t.Errorf("%d pledges were given and %d declined, want 1 and 2", given, declined)
	}
}

func (m member) messages() map[string]uint64 {
	all := make(map[string]uint64)
	m.Messages(func(kind string, asked, answered uint64) { all[kind+" asked"], all[kind+" answered"] = asked, answered })
	return all
}

func TestTraffic_CountsBytesByWhatTheyAreFor(t *testing.T) {
	var here, there Traffic
	a, err := NewHost(HostConfig{Traffic: &here})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := NewHost(HostConfig{Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Traffic: &there})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	blob := make([]byte, 100_000)
	hash := protocol.Digest{1}
	defer ServeBlobs(b, Blobs{Find: func(protocol.Digest) (Blob, bool) { return Small(blob), true }})()
	if err := a.Connect(t.Context(), peer.AddrInfo{ID: b.ID(), Addrs: b.Addrs()}); err != nil {
		t.Fatal(err)
	}
	if _, err := FetchBlob(t.Context(), a, []peer.ID{b.ID()}, hash, int64(len(blob))); err == nil {
		t.Error("bytes with another hash are taken")
	}
	var kinds []string
	here.Each(func(kind string, sent, received int64) {
		kinds = append(kinds, kind)
		got := fmt.Sprintf("%s: %d sent, %d received", kind, sent, received)
		switch kind {
		case "parts":
			if sent < 20 || sent > 1000 || received < 100_000 || received > 101_000 {
				t.Error(got)
			}
		case "session", "push", "directory", "dht", "relay":
			if sent != 0 || received != 0 {
				t.Error(got)
			}
		case "other": // libp2p's own
			if sent == 0 || received == 0 {
				t.Error(got)
			}
		}
	})
	if want := []string{"session", "push", "directory", "parts", "dht", "relay", "other"}; !slices.Equal(kinds, want) {
		t.Errorf("the kinds are %v, want %v", kinds, want)
	}
	there.Each(func(kind string, sent, received int64) {
		if kind == "parts" && (sent < 100_000 || received < 20) {
			t.Errorf("there: %s: %d sent, %d received", kind, sent, received)
		}
	})
}
