package routing

import (
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

func TestNewHost_PrefersTCPAndTakesQUIC(t *testing.T) {
	for name, c := range map[string]struct {
		listen []string
		want   int
	}{
		"both":       {[]string{"/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"}, ma.P_TCP},
		"QUIC alone": {[]string{"/ip4/127.0.0.1/udp/0/quic-v1"}, ma.P_QUIC_V1},
	} {
		t.Run(name, func(t *testing.T) {
			server, err := NewHost(HostConfig{Listen: c.listen})
			if err != nil {
				t.Fatal(err)
			}
			defer server.Close()
			client, err := NewHost(HostConfig{})
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			if n := len(client.Addrs()); n != 0 {
				t.Errorf("the client listens on %v", client.Addrs())
			}
			if err := client.Connect(t.Context(), peer.AddrInfo{ID: server.ID(), Addrs: server.Addrs()}); err != nil {
				t.Fatal(err)
			}
			via := client.Network().ConnsToPeer(server.ID())[0].RemoteMultiaddr()
			if _, err := via.ValueForProtocol(c.want); err != nil {
				t.Errorf("connected over %s", via)
			}
		})
	}
}

func TestNewHost_RefusesAnAddressThatWouldNotWork(t *testing.T) {
	for name, cfg := range map[string]HostConfig{
		"no address":             {Listen: []string{"127.0.0.1:4001"}},
		"QUIC with a swarm key":  {Listen: []string{"/ip4/127.0.0.1/udp/0/quic-v1"}, SwarmKey: make([]byte, 32)},
		"another machine's":      {Listen: []string{"/ip4/192.0.2.1/tcp/0"}},
		"no transport behind it": {Listen: []string{"/ip4/127.0.0.1"}},
	} {
		h, err := NewHost(cfg)
		if err == nil {
			h.Close()
			t.Errorf("%s: listens on %v", name, h.Addrs())
		} else if strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %q has several lines", name, err)
		}
	}
}

func TestNewHost_TellsWhatItIsToAnnounce(t *testing.T) {
	const door = "/ip4/127.0.0.1/tcp/4001"
	server, err := NewHost(HostConfig{Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Announce: []string{door}})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	if got := server.Addrs(); len(got) != 1 || got[0].String() != door {
		t.Errorf("the host tells %v, want %s", got, door)
	}
	if _, err := NewHost(HostConfig{Announce: []string{"127.0.0.1:4001"}}); err == nil {
		t.Error("what is no address is announced")
	}
}

// libp2p's own limits end at 64 streams of a protocol and peer.
func TestNewHost_HasRoomForManySessions(t *testing.T) {
	server, err := NewHost(HostConfig{Listen: []string{"/ip4/127.0.0.1/tcp/0"}})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	server.SetStreamHandler("/baichuan/session/1", func(st network.Stream) {
		b := make([]byte, 1)
		if _, err := st.Read(b); err == nil {
			_, _ = st.Write(b)
		}
	})
	client, err := NewHost(HostConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.Connect(t.Context(), peer.AddrInfo{ID: server.ID(), Addrs: server.Addrs()}); err != nil {
		t.Fatal(err)
	}
	for i := range 400 {
		st, err := client.NewStream(t.Context(), server.ID(), "/baichuan/session/1")
		if err != nil {
			t.Fatalf("stream %d: %v", i+1, err)
		}
		b := []byte{1}
		if _, err := st.Write(b); err != nil {
			t.Fatalf("stream %d: %v", i+1, err)
		}
		if _, err := st.Read(b); err != nil {
			t.Fatalf("stream %d: %v", i+1, err)
		}
	}
}

func TestRankDials_PutsTCPFirstAndRelaysLast(t *testing.T) {
	const relay = "/ip4/1.2.3.4/tcp/1/p2p/12D3KooWGC6TvWhfapngX6wvJHMYvKpDMXPb3ZnCZ6dMoaMtimQ5/p2p-circuit"
	delay := map[string]time.Duration{}
	for _, a := range rankDials([]ma.Multiaddr{ma.StringCast(relay), ma.StringCast("/ip4/8.8.8.8/udp/1/quic-v1"), ma.StringCast("/ip4/8.8.8.8/tcp/1")}) {
		delay[a.Addr.String()] = a.Delay
	}
	tcp, quic := delay["/ip4/8.8.8.8/tcp/1"], delay["/ip4/8.8.8.8/udp/1/quic-v1"]
	if len(delay) != 3 || tcp != 0 || quic <= tcp || delay[relay] <= quic {
		t.Errorf("delays %v", delay)
	}
}
