package routing

import (
	"bytes"
	"strings"
	"testing"

	"github.com/libp2p/zeroconf/v2"
)

func TestLANService_KeepsSwarmsApartAndTheKeySecret(t *testing.T) {
	first, second := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)
	open, a, b := lanService(nil), lanService(first), lanService(second)
	if open == a || a == b || a != lanService(bytes.Clone(first)) || strings.Contains(a, "0101") {
		t.Errorf("%q, %q, %q", open, a, b)
	}
	for _, name := range []string{open, a, b} { // RFC 6763: a service's name has 15 characters at most
		if label, _, _ := strings.Cut(name, "."); len(label) > 16 || !strings.HasSuffix(name, "._udp") {
			t.Errorf("%q is no service", name)
		}
	}
}

func TestEntryPeers_TakesAddressesAlone(t *testing.T) {
	const id = "/p2p/12D3KooWGC6TvWhfapngX6wvJHMYvKpDMXPb3ZnCZ6dMoaMtimQ5"
	for name, c := range map[string]struct {
		text         []string
		peers, addrs int
	}{
		"two addresses":   {[]string{"dnsaddr=/ip4/10.0.0.1/tcp/1" + id, "dnsaddr=/ip4/10.0.0.1/udp/1/quic-v1" + id}, 1, 2},
		"something else":  {[]string{"path=/", "dnsaddr=nowhere", "\x00", "dnsaddr=/ip4/10.0.0.1/tcp/1" + id}, 1, 1},
		"nobody's":        {[]string{"dnsaddr=/ip4/10.0.0.1/tcp/1"}, 0, 0},
		"nothing at all":  {nil, 0, 0},
		"an address lost": {[]string{"dnsaddr="}, 0, 0},
	} {
		e := &zeroconf.ServiceEntry{Text: c.text}
		got := entryPeers(e)
		if len(got) != c.peers || len(got) > 0 && len(got[0].Addrs) != c.addrs {
			t.Errorf("%s: %v", name, got)
		}
	}
}
