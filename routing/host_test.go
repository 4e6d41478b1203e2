package routing

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/pnet"
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

// What users read who join by an address that is not right.
func TestJoin_SaysWhatIsWrongWithAnAddress(t *testing.T) {
	server, err := NewHost(HostConfig{Listen: []string{"/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	tcp, quic := server.Addrs()[0], server.Addrs()[1]
	if !isTCP(tcp) {
		tcp, quic = quic, tcp
	}
	other, err := peer.Decode("12D3KooWGC6TvWhfapngX6wvJHMYvKpDMXPb3ZnCZ6dMoaMtimQ5")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		key  pnet.PSK
		id   peer.ID
		at   ma.Multiaddr
		want string
	}{
		"another peer's id":          {nil, other, tcp, "another peer answers there, " + server.ID().String()},
		"another peer's id, QUIC":    {nil, other, quic, "another peer answers there, " + server.ID().String()},
		"an open swarm":              {make(pnet.PSK, swarmKeyBytes), server.ID(), tcp, "wrong or missing swarm key?"},
		"QUIC, in a private swarm":   {make(pnet.PSK, swarmKeyBytes), server.ID(), quic, "in a private swarm, TCP alone is"},
		"a kind that nobody speaks":  {nil, server.ID(), ma.StringCast("/ip4/127.0.0.1/tcp/1/ws"), "addresses of this kind are not dialled"},
		"a name that is not (known)": {nil, server.ID(), ma.StringCast("/dns4/nobody.invalid/tcp/1"), "is its name known?"},
	} {
		client, err := NewHost(HostConfig{SwarmKey: c.key})
		if err != nil {
			t.Fatal(err)
		}
		d, err := NewDirectory(t.Context(), client, DirectoryConfig{})
		if err != nil {
			t.Fatal(err)
		}
		err = d.Join(t.Context(), []peer.AddrInfo{{ID: c.id, Addrs: []ma.Multiaddr{c.at}}})
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if err := errors.Join(d.Close(), client.Close()); err != nil {
			t.Error(err)
		}
	}
}

func TestReadSwarmKey_RefusesWhatIsNone(t *testing.T) {
	const head, digits = "/key/swarm/psk/1.0.0/\n/base16/\n", "00112233445566778899aabbccddeeff"
	for name, c := range map[string]struct {
		text string
		ok   bool
	}{
		"as it is made":        {head + digits + digits + "\n", true},
		"without the last end": {head + digits + digits, true},
		"with Windows' ends":   {strings.ReplaceAll(head+digits+digits+"\n", "\n", "\r\n"), true},
		"nothing":              {"", false},
		"half of it":           {head + digits + "\n", false},
		"other digits":         {head + strings.Repeat("x", 64) + "\n", false},
		"anything":             {"garbage\n", false},
		"zeros":                {strings.Repeat("\x00", 1<<20), false},
	} {
		key, err := ReadSwarmKey(strings.NewReader(c.text))
		if (err == nil) != c.ok || c.ok && len(key) != swarmKeyBytes || !c.ok && !strings.Contains(err.Error(), "64 hex digits") {
			t.Errorf("%s: %d bytes, %v", name, len(key), err)
		}
	}
}
