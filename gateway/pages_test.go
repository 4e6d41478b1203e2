package gateway

import (
	"net/http"
	"strings"
	"testing"

	"github.com/baichuan-node/baichuan-node/shard/bundled"
)

// The pages are everybody's who may reach the gateway at all: without a key, and under its own names alone.
func TestPages_AskForNoKeyButForOurOwnHost(t *testing.T) {
	keys, _ := keysOf(t, "ann")
	f := newFront(t, Config{Models: []Model{bundledModel(t, bundled.Chat)}, Keys: keys})
	for _, path := range []string{"/", "/swarm", "/web/base.css", "/web/chat.js"} {
		r := f.send(http.MethodGet, path, "", nil)
		if r.status != http.StatusOK || len(r.body) == 0 || !strings.Contains(r.header.Get("Content-Security-Policy"), "default-src 'none'") {
			t.Errorf("%s: %d %v", path, r.status, r.header)
		}
	}
	if r := f.send(http.MethodGet, "/api/swarm", "", nil); r.status != http.StatusUnauthorized {
		t.Errorf("/api/swarm without a key: %d", r.status)
	}
	for _, path := range []string{"/web/", "/web/no.js", "/chat", "/web/..%2fgateway.go"} {
		if r := f.send(http.MethodGet, path, "", nil); r.status != http.StatusNotFound {
			t.Errorf("%s: %d", path, r.status)
		}
	}
	if r := f.send(http.MethodPost, "/", "{}", nil); r.status != http.StatusMethodNotAllowed {
		t.Errorf("POST /: %d", r.status)
	}
	open := chatFront(t)
	rebound := open.send(http.MethodGet, "/", "", func(r *http.Request) { r.Host = "evil.example" })
	if rebound.status != http.StatusForbidden {
		t.Errorf("/ as evil.example: %d", rebound.status)
	}
}
