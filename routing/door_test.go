package routing

import (
	"testing"

	"github.com/baichuan-node/baichuan-node/protocol"
)

func TestDoor_IsWhereMostCanComeIn(t *testing.T) {
	const relayed = "/ip4/93.184.215.7/tcp/4001/p2p/12D3KooWGzxzKZYveHXtpG6AsrUJBcWxHBFS2HsEoGTxrMLvKXtf/p2p-circuit"
	leaving := protocol.Offer{Peer: "gone", State: protocol.Leaving, Addrs: []string{"/ip4/93.184.215.9/tcp/1"}}
	for _, tt := range []struct {
		addrs []string
		want  string // without the peer's id
	}{
		{[]string{"/ip4/127.0.0.1/tcp/1", "/ip4/192.168.1.2/tcp/2", relayed, "/ip4/93.184.215.5/udp/4/quic-v1"}, "/ip4/93.184.215.5/udp/4/quic-v1"},
		{[]string{"/ip4/127.0.0.1/tcp/1", "/ip4/192.168.1.2/tcp/2", relayed}, relayed},
		{[]string{"/ip4/127.0.0.1/tcp/1", "/ip6/fd00::1/tcp/2"}, "/ip6/fd00::1/tcp/2"},
		{[]string{"/ip4/127.0.0.1/tcp/1"}, "/ip4/127.0.0.1/tcp/1"},
		{[]string{"/dns4/$(reboot)/tcp/1", "/ip4/93.184.215.5/tcp/4/http/http-path/;reboot", "/unix/reboot", "/ip4/0.0.0.0/tcp/1"}, ""},
		{nil, ""},
	} {
		want := tt.want
		if want != "" {
			want += "/p2p/" + protocol.PeerID("here").String()
		}
		if got := Door([]protocol.Offer{leaving, {Peer: "here", State: protocol.Online, Addrs: tt.addrs}}); got != want {
			t.Errorf("%v: %q, want %q", tt.addrs, got, want)
		}
	}
}
