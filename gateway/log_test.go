package gateway

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/baichuan-node/baichuan-node/shard/bundled"
)

// logBuffer is a log that is read while it is written.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

func (w *logBuffer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(p)
}

func (w *logBuffer) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// await waits until there are so many lines: a request's is written when its answer has been sent.
func (w *logBuffer) await(t *testing.T, lines int) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); strings.Count(w.String(), "\n") < lines; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no %d lines:\n%s", lines, w.String())
		}
	}
}

// TestLog_TellsOfEachRequestAndNotWhatWasSaid looks for everything in the log that is nobody's business.
func TestLog_TellsOfEachRequestAndNotWhatWasSaid(t *testing.T) {
	keys, secrets := keysOf(t, "ann\n")
	var log logBuffer
	f := newFront(t, Config{
		Models: []Model{mortal{bundledModel(t, bundled.Chat)}}, Keys: keys, Log: slog.New(slog.NewJSONHandler(&log, nil)),
	})
	f.key = secrets["ann"]
	const said = "说说你的小秘密"
	r := f.post("/v1/chat/completions", f.body(map[string]any{"messages": user(said), "temperature": 0, "max_tokens": 12}))
	var a answered
	if err := json.Unmarshal(r.body, &a); err != nil || r.status != 200 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	log.await(t, 2)
	f.send("GET", "/metrics", "", nil)
	f.send("GET", "/healthz", "", nil)
	bad := f.post("/v1/chat/completions", f.body(map[string]any{"messages": user(said), "temperature": 9}))
	log.await(t, 3)
	f.key = "sk-wrong-" + strings.Repeat("x", 40)
	refused := f.post("/v1/chat/completions", f.body(map[string]any{"messages": user(said)}))
	log.await(t, 4)
	long := f.send("GET", "/nothing/"+strings.Repeat("y", 9000), "", nil)
	log.await(t, 5)

	type line struct {
		Level, Msg, Method, Path, Key, Model, Error string
		ID                                          string `json:"request_id"`
		Status                                      int
		Prompt                                      int `json:"prompt_tokens"`
		Tokens, Failovers                           int
		Layers, Peer, Reason                        string
		Stall                                       int `json:"stall_ms"`
	}
	var lines []line
	for text := range strings.Lines(log.String()) {
		var l line
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		lines = append(lines, l)
		if len(text) > 1000 {
			t.Errorf("a line of %d bytes", len(text))
		}
	}
	ids := []string{r.header.Get("X-Request-Id"), r.header.Get("X-Request-Id"), bad.header.Get("X-Request-Id"), refused.header.Get("X-Request-Id"), long.header.Get("X-Request-Id")}
	if len(lines) != len(ids) {
		t.Fatalf("%d lines, want %d:\n%s", len(lines), len(ids), log.String())
	}
	for i, l := range lines {
		if l.ID != ids[i] || l.ID == "" {
			t.Errorf("line %d is of request %q, want %q", i, l.ID, ids[i])
		}
	}
	if l := lines[0]; l.Msg != "layers went on elsewhere" || l.Layers != "2:6" || l.Reason != "silent" || l.Stall != 1500 || l.Peer == "" {
		t.Errorf("the failover: %+v", l)
	}
	if l := lines[1]; l.Msg != "request" || l.Path != "/v1/chat/completions" || l.Status != 200 || l.Key != "ann" || l.Model != bundled.Chat ||
		l.Prompt == 0 || l.Tokens != 12 || l.Failovers != 1 || l.Error != "" {
		t.Errorf("the answer: %+v", l)
	}
	if l := lines[2]; l.Status != 400 || l.Model != "" || !strings.Contains(l.Error, "temperature") {
		t.Errorf("the bad value: %+v", l)
	}
	if l := lines[3]; l.Status != 401 || l.Key != "" {
		t.Errorf("the wrong key: %+v", l)
	}
	for what, secret := range map[string]string{
		"the prompt": said, "the answer": a.Choices[0].Message.Content, "the key": secrets["ann"], "the wrong key": f.key, "a long path": strings.Repeat("y", 300),
	} {
		if secret == "" || strings.Contains(log.String(), secret) {
			t.Errorf("%s is in the log: %q", what, secret)
		}
	}
}
