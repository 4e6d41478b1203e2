package gateway

import (
	"bufio"
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
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

// quiet is a model whose sessions compute nothing and say when they are closed.
type quiet struct {
	inProcess
	closed   atomic.Int64
	capacity int // of a peer's cache; 0: unknown
}

type quietSession struct {
	client.Stepper
	m *quiet
}

func (m *quiet) NewSession(client.SessionConfig) client.Stepper { return &quietSession{m: m} }

func (s *quietSession) Close() error {
	s.m.closed.Add(1)
	return nil
}

func newQuiet(t *testing.T) (*quiet, *pool) {
	t.Helper()
	m := &quiet{}
	var p *pool
	room := func() (int, bool) { return m.capacity - p.held(), m.capacity > 0 }
	p = newPool(m, newMetrics(func() float64 { return 0 }).sessions, room)
	t.Cleanup(func() {
		if err := p.close(); err != nil {
			t.Error(err)
		}
	})
	return m, p
}

func TestPool_KeepsWhatAConversationGoesOnWith(t *testing.T) {
	_, p := newQuiet(t)
	var mine, others [16]byte
	others[0] = 1
	long, short := p.borrow(mine, nil), p.borrow(mine, nil)
	p.giveBack(long, []uint32{1, 2, 3, 4, 5, 6})
	p.giveBack(short, []uint32{1, 2, 3})
	if x := p.borrow(others, []uint32{1, 2, 3, 4, 5, 6, 7}); x == long || x == short {
		t.Error("another key's session was lent")
	}
	if x := p.borrow(mine, []uint32{9, 1, 2, 3}); x == long || x == short {
		t.Error("a session was lent that has nothing of the prompt")
	}
	if x := p.borrow(mine, []uint32{1, 2, 3, 4, 5, 6, 7}); x != long {
		t.Error("not the one that has most")
	}
	p.giveBack(long, []uint32{1, 2, 3, 4, 5, 6, 7, 8})
	if x := p.borrow(mine, []uint32{1, 2, 9}); x != short {
		t.Error("not the one that loses least")
	}
	if x := p.borrow(mine, []uint32{1, 2, 9}); x == long {
		t.Error("a session was lent that loses more than it brings")
	}
}

func TestPool_EndsWhatNobodyComesBackTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := newQuiet(t)
		var salt [16]byte
		given := p.borrow(salt, nil)
		p.giveBack(given, nil)
		synctest.Wait()
		if m.closed.Load() != 1 || p.idleSessions() != 0 {
			t.Errorf("an answer was given up: %d sessions closed, %d idle", m.closed.Load(), p.idleSessions())
		}
		kept := p.borrow(salt, nil)
		p.giveBack(kept, []uint32{1})
		time.Sleep(idleFor - time.Second)
		if again := p.borrow(salt, []uint32{1, 2}); again != kept {
			t.Error("it is not kept long enough")
		}
		p.giveBack(kept, []uint32{1, 2})
		time.Sleep(idleFor + time.Second)
		synctest.Wait()
		if m.closed.Load() != 2 || p.idleSessions() != 0 {
			t.Errorf("%d sessions closed, %d idle", m.closed.Load(), p.idleSessions())
		}
		var many []*session
		for range maxIdle + 3 {
			many = append(many, p.borrow(salt, nil))
		}
		for _, x := range many {
			p.giveBack(x, []uint32{1})
		}
		synctest.Wait()
		if m.closed.Load() != 5 || p.idleSessions() != maxIdle {
			t.Errorf("%d sessions closed, %d idle", m.closed.Load(), p.idleSessions())
		}
	})
}

func TestPool_LeavesHalfOfTheRoomToOthers(t *testing.T) {
	m, p := newQuiet(t)
	m.capacity = 5 * (promised + 1)
	var salt [16]byte
	var all [6]*session
	for i := range all {
		all[i] = p.borrow(salt, nil)
	}
	for _, x := range all {
		p.giveBack(x, []uint32{1})
	}
	if n := p.idleSessions(); n != 2 || p.idle[0] != all[4] || p.idle[1] != all[5] {
		t.Errorf("%d sessions are kept where there is room for 5, want the last 2", n)
	}
	m.capacity = promised
	p.giveBack(p.borrow(salt, nil), []uint32{1})
	if n := p.idleSessions(); n != 0 {
		t.Errorf("%d sessions are kept where there is no room", n)
	}
}

func TestPool_MakesRoomAndGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := newQuiet(t)
		var salt [16]byte
		idle, runs, waits := p.borrow(salt, nil), p.borrow(salt, nil), p.borrow(salt, nil)
		var gaveUp error
		runs.give = func(error) { t.Error("an answer was given up that had begun") }
		waits.give = func(err error) { gaveUp = err }
		p.giveBack(idle, []uint32{1})
		p.began(runs)
		p.waits(waits, client.Waiting{Busy: true, For: openGrace})
		p.waits(runs, client.Waiting{Busy: true, For: time.Minute})
		synctest.Wait()
		if m.closed.Load() != 1 || p.idleSessions() != 0 || gaveUp != nil {
			t.Errorf("%d idle sessions made room, %d are left; given up: %v", m.closed.Load(), p.idleSessions(), gaveUp)
		}
		p.giveBack(runs, []uint32{1})
		synctest.Wait()
		if m.closed.Load() != 2 {
			t.Error("a session is kept while others have no room")
		}
		p.waits(waits, client.Waiting{Busy: true, For: openGrace}) // nothing of ours takes the room
		if gaveUp == nil {
			t.Error("it waits on")
		}
		p.giveBack(waits, nil)
		time.Sleep(fullFor)
		last := p.borrow(salt, nil)
		p.giveBack(last, []uint32{1})
		if p.idleSessions() != 1 {
			t.Error("nothing is kept any more")
		}
	})
}
