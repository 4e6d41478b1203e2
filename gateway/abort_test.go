package gateway

import (
	"bufio"
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/baichuan-node/baichuan-node/client"
	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/shard/bundled"
)

// stand holds up all steps until release is called or their contexts end.
func (m *inProcess) stand(t *testing.T) (release func()) {
	t.Helper()
	let := make(chan struct{})
	m.standing = make(chan struct{}, 100)
	m.hold = func(ctx context.Context) error {
		m.standing <- struct{}{}
		select {
		case <-let:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return func() { close(let) }
}

// wait waits until n steps stand.
func (m *inProcess) wait(t *testing.T, n int) {
	t.Helper()
	for range n {
		select {
		case <-m.standing:
		case <-time.After(time.Minute):
			t.Fatal("no step has begun")
		}
	}
}

// gauge reads a metric's value.
func (f *front) gauge(name string) string {
	f.Helper()
	for line := range strings.Lines(string(f.send("GET", "/metrics", "", nil).body)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	f.Fatalf("no metric %s", name)
	return ""
}

// becomes waits for a metric's value.
func (f *front) becomes(name, want string) {
	f.Helper()
	got := ""
	for range 600 {
		if got = f.gauge(name); got == want {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	f.Errorf("%s is %s, want %s", name, got, want)
}

func TestAbort_EndsTheWork(t *testing.T) {
	m := bundledModel(t, bundled.Chat)
	f := newFront(t, Config{Models: []Model{m}})
	for _, stream := range []bool{false, true} {
		m.stand(t)
		ctx, leave := context.WithCancel(t.Context())
		body := f.body(map[string]any{"messages": user("讲个故事"), "stream": stream, "n": 3})
		r, err := http.NewRequestWithContext(ctx, "POST", f.url+"/v1/chat/completions", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		left := make(chan error, 1)
		go func() {
			answer, err := http.DefaultClient.Do(r)
			if err == nil {
				answer.Body.Close()
			}
			left <- err
		}()
		m.wait(t, 1)
		if got := f.gauge("baichuan_gateway_sessions"); got == "0" {
			t.Error("an answer runs, and no session is counted")
		}
		leave()
		if err := <-left; err == nil {
			t.Error("the request was answered")
		}
		f.becomes("baichuan_gateway_sessions", "0") // though nothing has let the step go
		if got := f.gauge("baichuan_gateway_idle_sessions"); got != "0" {
			t.Errorf("%s sessions are kept of an answer that was given up", got)
		}
	}
}

func TestAbort_InTheMiddleOfAStreamEndsTheWork(t *testing.T) {
	m := bundledModel(t, bundled.Chat)
	f := newFront(t, Config{Models: []Model{m}})
	steps := 0
	stuck := make(chan struct{})
	m.hold = func(ctx context.Context) error {
		if steps++; steps < 5 {
			return nil
		}
		close(stuck)
		<-ctx.Done()
		return ctx.Err()
	}
	r, err := http.Post(f.url+"/v1/chat/completions", "application/json", strings.NewReader(f.body(map[string]any{"messages": user("讲个故事"), "stream": true})))
	if err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(r.Body).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "data: {") {
		t.Fatalf("%q, %v", line, err)
	}
	<-stuck
	r.Body.Close()
	f.becomes("baichuan_gateway_sessions", "0")
}

func TestStream_ThatFailsInTheMiddleSaysSo(t *testing.T) {
	m := bundledModel(t, bundled.Chat)
	f := newFront(t, Config{Models: []Model{m}})
	steps := 0
	m.hold = func(context.Context) error {
		if steps++; steps < 5 {
			return nil
		}
		return &client.BusyError{Layers: []protocol.Span{{Start: 2, End: 4}}}
	}
	ask := map[string]any{"messages": user("讲个故事"), "stream": true}
	r := f.post("/v1/chat/completions", f.body(ask))
	events := strings.Split(strings.TrimSpace(string(r.body)), "\n\n")
	last := events[len(events)-1]
	if r.status != 200 || !strings.HasPrefix(last, `data: {"error":{"message":`) || !strings.Contains(last, "2:4") {
		t.Errorf("%d, ends with %q", r.status, last)
	}
	// One that fails before its first token has a status.
	r = f.post("/v1/chat/completions", f.body(ask))
	if r.refused(t); r.status != 503 || r.header.Get("Retry-After") == "" {
		t.Errorf("%d %s", r.status, r.body)
	}
	ask["stream"] = false
	r = f.post("/v1/chat/completions", f.body(ask))
	if r.refused(t); r.status != 503 || r.header.Get("Retry-After") == "" {
		t.Errorf("%d %s", r.status, r.body)
	}
}

func TestServer_TakesOnlySoManyRequestsAtOnce(t *testing.T) {
	m := bundledModel(t, bundled.Chat)
	f := newFront(t, Config{Models: []Model{m}, MaxRequests: 1})
	release := m.stand(t)
	ask := f.body(map[string]any{"messages": user("你好"), "max_tokens": 1})
	first := make(chan reply, 1)
	go func() { first <- f.post("/v1/chat/completions", ask) }()
	m.wait(t, 1)
	r := f.post("/v1/chat/completions", ask)
	if r.refused(t); r.status != 503 || r.header.Get("Retry-After") == "" {
		t.Errorf("%d %s", r.status, r.body)
	}
	release()
	if r := <-first; r.status != 200 {
		t.Errorf("%d %s", r.status, r.body)
	}
}

func TestServe_EndsAnswersThatRunTooLong(t *testing.T) {
	m := bundledModel(t, bundled.Chat)
	m.stand(t)
	s, err := New(Config{Models: []Model{m}})
	if err != nil {
		t.Fatal(err)
	}
	l := listen(t)
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, l) }()
	answer := make(chan reply, 1)
	f := &front{TB: t, server: s, url: "http://" + l.Addr().String()}
	go func() { answer <- f.post("/v1/chat/completions", f.body(map[string]any{"messages": user("你好")})) }()
	m.wait(t, 1)
	stop()
	if r := <-answer; r.status != 503 {
		t.Errorf("%d %s", r.status, r.body)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
