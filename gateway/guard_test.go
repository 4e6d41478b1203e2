package gateway

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/baichuan-node/baichuan-node/shard/bundled"
)

func TestGuard_TurnsAwayForeignHostsAndOrigins(t *testing.T) {
	m := bundledModel(t, bundled.Chat)
	open := newFront(t, Config{Models: []Model{m}, Hosts: []string{"chat.example"}})
	some := newFront(t, Config{Models: []Model{m}, Origins: []string{"https://a.example"}})
	all := newFront(t, Config{Models: []Model{m}, Origins: []string{"*"}})
	tests := []struct {
		name         string
		f            *front
		host, origin string
		status       int
		allow        string // Access-Control-Allow-Origin
	}{
		{"no origin", open, "", "", 200, ""},
		{"localhost", open, "localhost:8080", "", 200, ""},
		{"LOCALHOST.", open, "LOCALHOST.", "", 200, ""},
		{"an IPv6 address", open, "[::1]:80", "", 200, ""},
		{"a name that is ours", open, "Chat.Example:80", "", 200, ""},
		{"a name that was bound to us", open, "evil.example", "", 403, ""},
		{"an address in a name", open, "127.0.0.1.evil.example", "", 403, ""},
		{"our own page", open, "127.0.0.1:8080", "http://127.0.0.1:8080", 200, ""},
		{"another port's page", open, "127.0.0.1:8080", "http://127.0.0.1:9090", 403, ""},
		{"a foreign page", open, "", "https://a.example", 403, ""},
		{"a page without origin", open, "", "null", 403, ""},
		{"a page that may ask", some, "", "https://a.example", 200, "https://a.example"},
		{"another page", some, "", "https://b.example", 403, ""},
		{"a page where all may ask", all, "", "https://b.example", 200, "*"},
		{"a page where all may ask, but not of that host", all, "evil.example", "https://b.example", 403, ""},
	}
	for _, tt := range tests {
		r := tt.f.send("GET", "/v1/models", "", func(r *http.Request) {
			if tt.host != "" {
				r.Host = tt.host
			}
			if tt.origin != "" {
				r.Header.Set("Origin", tt.origin)
			}
		})
		if got := r.header.Get("Access-Control-Allow-Origin"); r.status != tt.status || got != tt.allow {
			t.Errorf("%s: %d, Access-Control-Allow-Origin %q; want %d, %q", tt.name, r.status, got, tt.status, tt.allow)
		}
	}
	for name := range open.send("GET", "/v1/models", "", nil).header {
		if strings.HasPrefix(name, "Access-Control") {
			t.Errorf("without origins there is a header %s", name)
		}
	}
}

func TestGuard_AnswersABrowsersQuestion(t *testing.T) {
	keys, _ := keysOf(t, "")
	m := bundledModel(t, bundled.Chat)
	question := func(r *http.Request) {
		r.Header.Set("Origin", "https://a.example")
		r.Header.Set("Access-Control-Request-Method", "POST")
		r.Header.Set("Access-Control-Request-Headers", "authorization,content-type")
	}
	f := newFront(t, Config{Models: []Model{m}, Origins: []string{"https://a.example"}, Keys: keys})
	r := f.send("OPTIONS", "/v1/chat/completions", "", question) // has no key, as browsers send it
	if r.status != 204 || r.header.Get("Access-Control-Allow-Headers") != "authorization,content-type" || !strings.Contains(r.header.Get("Access-Control-Allow-Methods"), "POST") {
		t.Errorf("%d %v", r.status, r.header)
	}
	if r := newFront(t, Config{Models: []Model{m}}).send("OPTIONS", "/v1/chat/completions", "", question); r.status != 403 {
		t.Errorf("without origins: %d", r.status)
	}
}

// keysOf writes a file of keys and opens it: NAME [limits] a line. It gives a secret for each name.
func keysOf(t *testing.T, lines string) (*Keys, map[string]string) {
	t.Helper()
	secrets := make(map[string]string)
	var file strings.Builder
	for line := range strings.Lines(lines) {
		name, limits, _ := strings.Cut(strings.TrimSpace(line), " ")
		secret, made, err := NewKey(name)
		if err != nil {
			t.Fatal(err)
		}
		secrets[name] = secret
		fmt.Fprintln(&file, made, limits)
	}
	path := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(path, []byte("# NAME SHA256\n\n"+file.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	keys, err := OpenKeys(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return keys, secrets
}

func TestKeys_AreAskedForWhereTheyMatter(t *testing.T) {
	keys, secrets := keysOf(t, "ann\n")
	f := newFront(t, Config{Models: []Model{bundledModel(t, bundled.Chat)}, Keys: keys})
	for path, open := range map[string]bool{
		"/v1/models": false, "/v1/nothing": false, "/api/tags": false, "/api/swarm": false, "/metrics": false,
		"/healthz": true, "/": true, "/swarm": true,
	} {
		for _, secret := range []string{"", "wrong", secrets["ann"]} {
			f.key = secret
			r := f.send("GET", path, "", func(r *http.Request) { r.Host = "any.example" }) // keys are enough
			if admitted := r.status != 401; admitted != (open || secret == secrets["ann"]) {
				t.Errorf("%s with key %q: %d", path, secret, r.status)
			}
			if r.status != 401 || strings.HasPrefix(path, "/api/tags") {
				continue
			}
			if _, code := r.refused(t); code != "invalid_api_key" || r.header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s: %s %v", path, r.body, r.header)
			}
		}
	}
	f.key = ""
	if r := f.post("/v1/chat/completions", "no JSON at all"); r.status != 401 {
		t.Errorf("a bad request without a key: %d", r.status)
	}
}

func TestKeys_HaveTheirLimits(t *testing.T) {
	keys, secrets := keysOf(t, "slow 0.5\nfast\nfew 0 2\n")
	m := bundledModel(t, bundled.Chat)
	f := newFront(t, Config{Models: []Model{m}, Keys: keys})
	f.key = secrets["slow"]
	if r := f.send("GET", "/v1/models", "", nil); r.status != 200 {
		t.Fatalf("the first request: %d %s", r.status, r.body)
	}
	r := f.send("GET", "/v1/models", "", nil)
	if _, code := r.refused(t); r.status != 429 || code != "rate_limit_exceeded" || r.header.Get("Retry-After") != "2" {
		t.Errorf("the second request: %d %s, Retry-After %q", r.status, r.body, r.header.Get("Retry-After"))
	}
	f.key = secrets["fast"]
	for range 20 {
		if r := f.send("GET", "/v1/models", "", nil); r.status != 200 {
			t.Fatalf("without a limit: %d", r.status)
		}
	}

	f.key = secrets["few"]
	release := m.stand(t)
	ask := f.body(map[string]any{"messages": user("你好"), "max_tokens": 1})
	done := make(chan reply, 2)
	for range 2 {
		go func() { done <- f.post("/v1/chat/completions", ask) }()
	}
	m.wait(t, 2)
	r = f.post("/v1/chat/completions", ask)
	if _, code := r.refused(t); r.status != 429 || code != "rate_limit_exceeded" || r.header.Get("Retry-After") == "" {
		t.Errorf("a third request at once: %d %s", r.status, r.body)
	}
	release()
	for range 2 {
		if r := <-done; r.status != 200 {
			t.Errorf("%d %s", r.status, r.body)
		}
	}
	if r := f.post("/v1/chat/completions", ask); r.status != 200 {
		t.Errorf("after they were done: %d %s", r.status, r.body)
	}
}

func TestKeys_AreReadAnewWhenTheFileChanges(t *testing.T) {
	keys, secrets := keysOf(t, "ann\nbob 0 1\n")
	again := func(content string) {
		t.Helper()
		if err := os.WriteFile(keys.path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		keys.looked = time.Time{} // a second has passed
	}
	if keys.find(secrets["ann"]) == nil {
		t.Fatal("ann is not let in")
	}
	bob := keys.find(secrets["bob"])
	file, err := os.ReadFile(keys.path)
	if err != nil {
		t.Fatal(err)
	}
	again(strings.Replace(string(file), "ann", "# ann", 1))
	if keys.find(secrets["ann"]) != nil {
		t.Error("ann's line is gone, and she is let in")
	}
	if keys.find(secrets["bob"]) != bob {
		t.Error("bob's requests are not counted on")
	}
	again("nonsense\n")
	if keys.find(secrets["bob"]) != bob {
		t.Error("a file that can't be read shuts bob out")
	}
}

func TestKeys_RefusesLinesThatSaySomethingElse(t *testing.T) {
	_, line, err := NewKey("ann")
	if err != nil {
		t.Fatal(err)
	}
	hash := strings.Fields(line)[1]
	for _, bad := range []string{
		"ann", "ann 00ff", "ann " + hash[1:] + "g", line + " x", line + " -1", line + " NaN", line + " 1 x", line + " 1 -2", line + " 1 2 3",
		"a/b " + hash, line + "\nbob " + hash, line + "\nann " + strings.Repeat("0", 64), line + " 1e300",
	} {
		if lines, err := parseKeys(strings.NewReader(bad)); err == nil {
			t.Errorf("%q is read as %+v", bad, lines)
		}
	}
	lines, err := parseKeys(strings.NewReader("# all\n\n" + line + " 2.5 3 # a friend\r\n"))
	if err != nil || len(lines) != 1 || lines[0].perSecond != 2.5 || lines[0].concurrent != 3 {
		t.Errorf("%+v, %v", lines, err)
	}
	if _, _, err := NewKey("a b"); err == nil {
		t.Error("a name of two words")
	}
}

func TestKeys_ShareNoCache(t *testing.T) {
	keys, secrets := keysOf(t, "ann\nbob\n")
	m := bundledModel(t, bundled.Chat)
	f := newFront(t, Config{Models: []Model{m}, Keys: keys})
	open := newFront(t, Config{Models: []Model{m}})
	ask := map[string]any{"messages": user("你好"), "max_tokens": 2, "temperature": 0}
	cached := func(f *front, key string) int {
		f.key = key
		return f.answer("/v1/chat/completions", ask).Usage.Details.Cached
	}
	if n := cached(f, secrets["ann"]); n != 0 {
		t.Errorf("ann's first request finds %d tokens", n)
	}
	if n := cached(f, secrets["bob"]); n != 0 {
		t.Errorf("bob finds %d tokens of ann's", n)
	}
	if n := cached(f, secrets["ann"]); n == 0 {
		t.Error("ann does not find her own")
	}
	cached(open, "")
	salts := make(map[[16]byte]bool)
	for _, cfg := range m.opened {
		salts[cfg.Salt] = true
	}
	if len(salts) != 3 || !salts[[16]byte{}] {
		t.Errorf("%d salts, want ann's, bob's and zero for who needs no key", len(salts))
	}
}

// TestBody_TooLargeIsToldToAClientThatStillSends writes everything before it reads, as many clients do.
func TestBody_TooLargeIsToldToAClientThatStillSends(t *testing.T) {
	f := chatFront(t)
	address := strings.TrimPrefix(f.url, "http://")
	for _, tt := range []struct{ name, head string }{
		{"announced", "Content-Length: %d\r\n\r\n"},
		{"chunked", "Transfer-Encoding: chunked\r\n\r\n%x\r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			const size = 20 << 20
			fmt.Fprintf(c, "POST /v1/chat/completions HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\n"+tt.head, address, size)
			if n, err := io.Copy(c, bytes.NewReader(bytes.Repeat([]byte{' '}, size))); err != nil {
				t.Fatalf("after %d bytes: %v", n, err)
			}
			if tt.name == "chunked" {
				fmt.Fprint(c, "\r\n0\r\n\r\n")
			}
			r, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Body.Close()
			body, err := io.ReadAll(r.Body)
			if err != nil || r.StatusCode != 413 || !strings.Contains(string(body), `"error"`) {
				t.Errorf("%d %s (%v)", r.StatusCode, body, err)
			}
		})
	}
	if r := f.post("/v1/chat/completions", `{"model":"baichuan2-mini-chat","padding":"`+strings.Repeat("x", 1<<19)+`","max_tokens":1,"messages":[{"role":"user","content":"hi"}]}`); r.status != 200 {
		t.Errorf("half as much: %d %s", r.status, r.body)
	}
}
