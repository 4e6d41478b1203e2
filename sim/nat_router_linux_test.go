package sim

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// nftables is what miniupnpd, the router's own program in many homes, adds its rules to.
const nftables = `table inet filter {
	chain forward { type filter hook forward priority 0; policy accept; jump miniupnpd; }
	chain prerouting { type nat hook prerouting priority -100; policy accept; jump prerouting_miniupnpd; }
	chain postrouting { type nat hook postrouting priority 100; policy accept; jump postrouting_miniupnpd; }
	chain miniupnpd { }
	chain prerouting_miniupnpd { }
	chain postrouting_miniupnpd { }
}
`

// passesPortsOn has a machine's router map ports for those inside who ask for it, by UPnP or by NAT-PMP alone.
func (h *homes) passesPortsOn(machine string, upnp bool) {
	h.t.Helper()
	for _, tool := range []string{"miniupnpd", "nft"} {
		if _, err := exec.LookPath(tool); err != nil {
			h.t.Skipf("this machine lacks %s, for routers that map ports", tool)
		}
	}
	dir := h.t.TempDir()
	rules, config := filepath.Join(dir, "rules"), filepath.Join(dir, "config")
	speaks := map[bool]string{true: "enable_upnp=yes\nenable_natpmp=no\n", false: "enable_upnp=no\nenable_natpmp=yes\n"}[upnp]
	for path, text := range map[string]string{rules: nftables,
		config: "ext_ifname=wan\nlistening_ip=lan\nhttp_port=5000\nsecure_mode=yes\n" + speaks + "allow 1024-65535 192.168.0.0/16 1024-65535\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			h.t.Fatal(err)
		}
	}
	router := h.space(machine + "r")
	h.must("ip netns exec " + router + " nft -f " + rules)
	closed := " FORWARD -i wan -m conntrack --ctstate NEW "
	h.must("ip netns exec " + router + " iptables -D" + closed + "-j DROP")
	h.must("ip netns exec " + router + " iptables -A" + closed + "-m conntrack ! --ctstate DNAT -j DROP")
	c := exec.Command("ip", "netns", "exec", router, "miniupnpd", "-d", "-f", config, "-P", filepath.Join(dir, "pid"))
	if err := c.Start(); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
}

// A router that passes ports on makes a relay needless: nobody in this swarm is one. It is a real router's program that is
// asked, by each of the two ways that routers understand.
func TestNAT_ARouterThatIsAskedPassesAPortOn(t *testing.T) {
	t.Parallel()
	for name, upnp := range map[string]bool{"upnp": true, "pmp": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHomes(t, name, true, "a", "c")
			h.passesPortsOn("a", upnp)
			_, first := h.serve("pub", nil, "baichuan2-mini-chat", "--layers", "0:3", "--listen", "/ip4/"+relayIP+"/tcp/4001")
			h.join = first.Addrs[0]
			log := newJournal()
			_, inside := h.serve("a", log, "baichuan2-mini-chat", "--layers", "3:6", "--join", h.join)
			log.await(t, "others reach this node by ports that the router passes on: /ip4/45.0.0.2/tcp/")
			got := h.generate(h.command("c", slices.Concat([]string{"generate", "baichuan2-mini-chat", "--join", h.join}, longAnswer)...))
			if len(got.IDs) != 700 || len(got.Chain) != 2 || !strings.Contains(string(got.Chain[1]), inside.Peer) || len(got.Failovers) != 0 {
				t.Errorf("%d tokens over %s, failovers %s", len(got.IDs), got.Chain, got.Failovers)
			}
			out, err := h.command("c", "status", "--join", h.join).CombinedOutput()
			if err != nil || strings.Count(string(out), "direct tcp") != 2 || strings.Contains(string(out), "relay") {
				t.Errorf("status: %v:\n%s", err, out)
			}
			out, err = h.command("a", "doctor", "--join", h.join).CombinedOutput()
			if err != nil || !strings.Contains(string(out), "by ports that the router passes on: /ip4/45.0.0.2/") {
				t.Errorf("doctor: %v:\n%s", err, out)
			}
		})
	}
}
