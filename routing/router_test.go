package routing

import (
	"net/netip"
	"testing"

	ma "github.com/multiformats/go-multiaddr"
)

func TestRouter_LeadsToThePortsThatItMaps(t *testing.T) {
	r := &router{mapped: map[portOf]outside{
		{"tcp", 4001}: {at: netip.MustParseAddrPort("45.0.0.2:4001")},
		{"udp", 4001}: {at: netip.MustParseAddrPort("45.0.0.2:5002")},
	}}
	for listened, want := range map[string]string{
		"/ip4/0.0.0.0/tcp/4001":             "/ip4/45.0.0.2/tcp/4001",
		"/ip4/192.168.1.2/udp/4001/quic-v1": "/ip4/45.0.0.2/udp/5002/quic-v1",
		"/ip4/192.168.1.2/tcp/4002":         "",
		"/ip4/127.0.0.1/tcp/4001":           "",
		"/ip6/::/tcp/4001":                  "",
		"/dns4/localhost/tcp/4001":          "",
	} {
		got := ""
		if m := r.GetMapping(ma.StringCast(listened)); m != nil {
			got = m.String()
		}
		if got != want {
			t.Errorf("%s: %q, want %q", listened, got, want)
		}
	}
	if !r.HasDiscoveredNAT() || (&router{}).HasDiscoveredNAT() {
		t.Error("a router is found, or not found, by what it maps")
	}
}
