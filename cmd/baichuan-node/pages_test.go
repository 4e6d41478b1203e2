package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/baichuan-node/baichuan-node/node/launch"
	"github.com/baichuan-node/baichuan-node/shard/bundled"
)

const browserDir = "testdata/browser"

// TestPages_InABrowser opens the gateway's pages in Chromium over a swarm of six processes, two for each span.
func TestPages_InABrowser(t *testing.T) {
	chromium := findBrowser(t)
	home := newHome(t)
	join, peers := pairs(t, home, "ann", "bob", "carl", "dora", "emil", "fay")
	secret := strings.TrimSpace(mustCLI(t, "key", "api", "ann"))
	shots := filepath.Join(os.TempDir(), "baichuan-node-screenshots")
	t.Logf("the screenshots are in %s", shots)
	drive(t, "chat.test.mjs",
		"CHROMIUM="+chromium, "SCREENSHOTS="+shots, "PEERS="+peers,
		"GATEWAY_URL="+startGateway(t, "--join", join),
		"KEYED_URL="+startGateway(t, "--join", join, "--api-key-file", filepath.Join(home, "api-keys")), "KEY="+secret)
}

// findBrowser gives the browser's file, or skips the test.
func findBrowser(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("node"); err != nil {
		t.Skip("this machine lacks node")
	}
	if _, err := os.Stat(filepath.Join(browserDir, "node_modules", "playwright-core")); err != nil {
		t.Skip("this machine lacks what drives the browser: npm ci --prefix cmd/baichuan-node/" + browserDir)
	}
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if file, err := exec.LookPath(name); err == nil {
			return file
		}
	}
	t.Skip("this machine lacks chromium")
	return ""
}

// pairs starts a process for each name; each third of the model's layers is served by two. It gives an address to join,
// and the processes' ids by their names, as JSON.
func pairs(t *testing.T, home string, names ...string) (join, peers string) {
	t.Helper()
	p := newProcesses(t)
	ids := make(map[string]int)
	var waited []*launch.Process
	for i, name := range names {
		args := []string{"--nick", name}
		if i > 0 {
			args = append(args, "--join", join)
		}
		c := p.begin(home, bundled.Chat, cut(6, 3, i%3).String(), args...)
		ids[name] = c.PID()
		if i > 0 {
			waited = append(waited, c)
			continue
		}
		r, err := c.Ready(t.Context()) // the others need its address
		if err != nil {
			t.Fatal(err)
		}
		join = r.Addrs[0]
	}
	for _, c := range waited {
		if _, err := c.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	data, err := json.Marshal(ids)
	if err != nil {
		t.Fatal(err)
	}
	return join, string(data)
}

// drive runs a script of the browser's tests.
func drive(t *testing.T, script string, env ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "node", "--test", "--test-reporter=spec", script)
	cmd.Dir = browserDir
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}
