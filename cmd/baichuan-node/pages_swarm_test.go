package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPages_TheSwarmInABrowser opens a demo's picture of the swarm in Chromium. The processes compute slowly (in plain Go), so
// that they can be killed in the middle of an answer.
func TestPages_TheSwarmInABrowser(t *testing.T) {
	chromium := findBrowser(t)
	home := newHome(t)
	t.Setenv("BAICHUAN_KERNELS", "generic") // of the processes: this one's are chosen already
	_, ready := startDemo(t)
	secret := strings.TrimSpace(mustCLI(t, "key", "api", "ann"))
	shots := filepath.Join(os.TempDir(), "baichuan-node-screenshots")
	t.Logf("the screenshots are in %s", shots)
	drive(t, "swarm.test.mjs",
		"CHROMIUM="+chromium, "SCREENSHOTS="+shots, "DEMO_URL="+ready.URL,
		"KEYED_URL="+startGateway(t, "--join", ready.Nodes[0].Addrs[0], "--api-key-file", filepath.Join(home, "api-keys")), "KEY="+secret)
}
