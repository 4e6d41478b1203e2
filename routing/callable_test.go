package routing

import (
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/test"

	"github.com/baichuan-node/baichuan-node/protocol"
)

func TestCallable_KnocksAtNoDoorsOfTheOwnNetworkForOthers(t *testing.T) {
	id := test.RandPeerIDFatal(t)
	offer := &protocol.Offer{Peer: id, Addrs: []string{
		"/ip4/127.0.0.1/tcp/4001", "/ip4/192.168.1.1/tcp/80", "/ip4/8.8.8.8/tcp/4001", "/ip4/8.8.8.8/udp/4001/quic-v1",
		"/ip4/8.8.8.8/udp/53", "/dns4/example.com/tcp/80", "/ip4/169.254.169.254/tcp/80", "/ip4/0.0.0.0/tcp/22",
	}}
	for _, tc := range []struct {
		listen []string
		want   []string
	}{
		{nil, []string{"/ip4/8.8.8.8/tcp/4001", "/ip4/8.8.8.8/udp/4001/quic-v1"}},
		{[]string{"/ip4/127.0.0.1/tcp/0"}, []string{"/ip4/127.0.0.1/tcp/4001", "/ip4/8.8.8.8/tcp/4001", "/ip4/8.8.8.8/udp/4001/quic-v1"}},
	} {
		h, err := NewHost(HostConfig{Listen: tc.listen})
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		info := Callable(h, offer)
		var got []string
		for _, a := range info.Addrs {
			got = append(got, a.String())
		}
		if info.ID != peer.ID(id) || len(got) != len(tc.want) {
			t.Fatalf("listening on %v: %v, want %v", tc.listen, got, tc.want)
		}
		for i := range got {
			if got[i] != tc.want[i] {
				t.Errorf("listening on %v: %v, want %v", tc.listen, got, tc.want)
			}
		}
	}
}
