package gateway

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/baichuan-node/baichuan-node/client"
	"github.com/baichuan-node/baichuan-node/client/local"
	"github.com/baichuan-node/baichuan-node/kernels"
	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
	"github.com/baichuan-node/baichuan-node/shard"
	"github.com/baichuan-node/baichuan-node/shard/bundled"
	"github.com/baichuan-node/baichuan-node/shard/sample"
	"github.com/baichuan-node/baichuan-node/shard/store"
)

// inProcess is a Model that is computed in this process, by one session at a time.
type inProcess struct {
	model *client.Model
	shard *shard.Shard

	mu     sync.Mutex // for the shard and its caches
	opened []client.SessionConfig

	// hold, if not nil, is called before each step.
	hold     func(ctx context.Context) error
	standing chan struct{} // gets something for each step that stand holds up
	steps    int           // guarded by mu
	timed    func(time.Duration)
}

// bundledModel loads a model that comes with the program, until the test ends.
func bundledModel(tb testing.TB, name string) *inProcess {
	tb.Helper()
	stored, err := bundled.Open(name)
	if err != nil {
		tb.Fatal(err)
	}
	known, err := client.ModelOf(stored)
	if err != nil {
		tb.Fatal(err)
	}
	device := kernels.NewCPU(1)
	s, err := shard.Load(tb.Context(), stored, store.Span{End: stored.Manifest.Layers}, device, shard.Config{CacheTokens: 64 << 10})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := errors.Join(s.Close(), device.Close()); err != nil {
			tb.Error(err)
		}
	})
	return &inProcess{model: known, shard: s}
}

func (m *inProcess) Model() *client.Model { return m.model }

func (m *inProcess) NewSession(cfg client.SessionConfig) client.Stepper {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.opened = append(m.opened, cfg)
	s, err := local.New(m.shard)
	if err != nil {
		panic(err)
	}
	return &turns{Stepper: s, m: m}
}

// turns lets the sessions of a model compute one after the other.
type turns struct {
	client.Stepper
	m *inProcess
}

func (t *turns) Begin(ctx context.Context, r client.Run) error {
	t.m.mu.Lock()
	defer t.m.mu.Unlock()
	return t.Stepper.Begin(ctx, r)
}

func (t *turns) Step(ctx context.Context, ids []uint32, want client.Want) ([]sample.Candidate, error) {
	if t.m.hold != nil {
		if err := t.m.hold(ctx); err != nil {
			return nil, err
		}
	}
	t.m.mu.Lock()
	defer t.m.mu.Unlock()
	t.m.steps++
	if started := time.Now(); t.m.timed != nil {
		defer func() { t.m.timed(time.Since(started)) }()
	}
	return t.Stepper.Step(ctx, ids, want)
}

func (t *turns) Close() error {
	t.m.mu.Lock()
	defer t.m.mu.Unlock()
	return t.Stepper.Close()
}

// front is a server under test.
type front struct {
	testing.TB
	server *Server
	url    string
	key    string
}

// newFront starts a server until the test ends.
func newFront(tb testing.TB, cfg Config) *front {
	tb.Helper()
	s, err := New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	h := httptest.NewServer(s)
	tb.Cleanup(func() {
		h.Close()
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return &front{TB: tb, server: s, url: h.URL}
}

// reply is what a request was answered with.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// send sends a request; change, if not nil, alters it before.
func (f *front) send(method, path, body string, change func(*http.Request)) reply {
	f.Helper()
	r, err := http.NewRequestWithContext(f.Context(), method, f.url+path, strings.NewReader(body))
	if err != nil {
		f.Fatal(err)
	}
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/json")
	}
	if f.key != "" {
		r.Header.Set("Authorization", "Bearer "+f.key)
	}
	if change != nil {
		change(r)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		f.Fatal(err)
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	if err != nil {
		f.Fatal(err)
	}
	return reply{answer.StatusCode, answer.Header, data}
}

func (f *front) post(path, body string) reply {
	f.Helper()
	return f.send(http.MethodPost, path, body, nil)
}

// answer posts a request that must succeed, with the model's name put in.
func (f *front) answer(path string, fields map[string]any) answered {
	f.Helper()
	r := f.post(path, f.body(fields))
	var a answered
	if err := json.Unmarshal(r.body, &a); err != nil || r.status != http.StatusOK {
		f.Fatalf("%s %v: %d %s (%v)", path, fields, r.status, r.body, err)
	}
	return a
}

func (f *front) body(fields map[string]any) string {
	all := map[string]any{"model": f.server.models[0].Name}
	for name, v := range fields {
		all[name] = v
	}
	data, err := json.Marshal(all)
	if err != nil {
		f.Fatal(err)
	}
	return string(data)
}

// stream posts a request for a stream and gives its events but [DONE], which must be the last.
func (f *front) stream(path string, fields map[string]any) []answered {
	f.Helper()
	fields["stream"] = true
	r := f.post(path, f.body(fields))
	if kind := r.header.Get("Content-Type"); r.status != http.StatusOK || !strings.HasPrefix(kind, "text/event-stream") {
		f.Fatalf("%s %v: %d %s %s", path, fields, r.status, kind, r.body)
	}
	var events []answered
	done := false
	for lines := bufio.NewScanner(bytes.NewReader(r.body)); lines.Scan(); {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		switch {
		case !ok && lines.Text() != "" || done && ok:
			f.Fatalf("a stream has the line %q", lines.Text())
		case data == "[DONE]":
			done = true
		case ok:
			var a answered
			if err := json.Unmarshal([]byte(data), &a); err != nil {
				f.Fatal(err)
			}
			events = append(events, a)
		}
	}
	if !done {
		f.Fatal("the stream has no [DONE]")
	}
	return events
}

// answered is an answer of OpenAI's APIs, whole or a chunk.
type answered struct {
	ID, Object, Model string
	Created           int64
	Choices           []struct {
		Index          int
		Message, Delta struct{ Role, Content string }
		Text           string
		Logprobs       *struct {
			Content       []scored
			Tokens        []string
			TokenLogprobs []*float64           `json:"token_logprobs"`
			TopLogprobs   []map[string]float64 `json:"top_logprobs"`
			TextOffset    []int                `json:"text_offset"`
		}
		FinishReason *string `json:"finish_reason"`
	}
	Usage *struct {
		PromptTokens     int `json:"prompt_tokens"`
		CompletionTokens int `json:"completion_tokens"`
		TotalTokens      int `json:"total_tokens"`
		Details          struct {
			Cached int `json:"cached_tokens"`
		} `json:"prompt_tokens_details"`
	}
}

type scored struct {
	Token   string
	Logprob float64
	Bytes   []int
	Top     []scored `json:"top_logprobs"`
}

// texts puts the pieces of a stream together, by choice, and counts ends.
func texts(events []answered, n int) (whole []string, finish []string) {
	whole, finish = make([]string, n), make([]string, n)
	for _, e := range events {
		for _, c := range e.Choices {
			whole[c.Index] += c.Delta.Content + c.Text
			if c.FinishReason != nil {
				finish[c.Index] += *c.FinishReason
			}
		}
	}
	return whole, finish
}

// user is a conversation of one message.
func user(text string) []map[string]string {
	return []map[string]string{{"role": "user", "content": text}}
}

// refused is an error in OpenAI's form.
type refused struct {
	Error struct {
		Message, Type string
		Param, Code   *string
	}
}

func (r reply) refused(tb testing.TB) (param, code string) {
	tb.Helper()
	var e refused
	if err := json.Unmarshal(r.body, &e); err != nil || e.Error.Message == "" || e.Error.Type == "" {
		tb.Fatalf("%d %s is no error in OpenAI's form (%v)", r.status, r.body, err)
	}
	for _, field := range []string{`"param":`, `"code":`} {
		if !bytes.Contains(r.body, []byte(field)) {
			tb.Errorf("the error %s has no %s", r.body, field)
		}
	}
	if e.Error.Param != nil {
		param = *e.Error.Param
	}
	if e.Error.Code != nil {
		code = *e.Error.Code
	}
	return param, code
}

// listen takes a free port of loopback.
func listen(tb testing.TB) net.Listener {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

func chatFront(tb testing.TB) *front {
	tb.Helper()
	return newFront(tb, Config{Models: []Model{bundledModel(tb, bundled.Chat)}})
}

func TestServer_ListsModels(t *testing.T) {
	f := chatFront(t)
	r := f.send("GET", "/v1/models", "", nil)
	var list struct {
		Object string
		Data   []struct {
			ID, Object string
			Created    int64
			OwnedBy    string `json:"owned_by"`
			Manifest   string
		}
	}
	if err := json.Unmarshal(r.body, &list); err != nil || list.Object != "list" || len(list.Data) != 1 {
		t.Fatalf("%s (%v)", r.body, err)
	}
	m := list.Data[0]
	if m.ID != bundled.Chat || m.Object != "model" || m.Created == 0 || m.OwnedBy == "" {
		t.Errorf("%+v", m)
	}
	for _, name := range []string{m.ID, m.Manifest, m.Manifest[:8]} {
		if r := f.send("GET", "/v1/models/"+name, "", nil); r.status != 200 || !strings.Contains(string(r.body), m.Manifest) {
			t.Errorf("%s: %d %s", name, r.status, r.body)
		}
	}
	for _, name := range []string{"gpt-4", m.Manifest[:7], "a/b"} {
		r := f.send("GET", "/v1/models/"+name, "", nil)
		if _, code := r.refused(t); r.status != 404 || code != "model_not_found" {
			t.Errorf("%s: %d %s", name, r.status, r.body)
		}
	}
	if r := f.send("GET", "/healthz", "", nil); r.status != 200 {
		t.Errorf("healthz: %d %s", r.status, r.body)
	}
}

func TestConfig_TellsAllThatIsWrong(t *testing.T) {
	m := bundledModel(t, bundled.Chat)
	bad := Config{Models: []Model{m, m}, MaxRequests: -1, Origins: []string{"https://ok.example", "ok.example", "https://a.example/path"}}
	err := bad.Validate()
	if n := len(strings.Split(fmt.Sprint(err), "\n")); n != 4 {
		t.Errorf("%d faults, want 4: %v", n, err)
	}
	if _, err := New(Config{}); err == nil {
		t.Error("a server without a model")
	}
}

// sendAs sends a request whose body is called a type; "" is none.
func (f *front) sendAs(method, path, body, kind string) reply {
	f.Helper()
	return f.send(method, path, body, func(r *http.Request) {
		r.Header.Del("Content-Type")
		if kind != "" {
			r.Header.Set("Content-Type", kind)
		}
	})
}

// decodeLines reads JSON values, one after the other.
func decodeLines[T any](tb testing.TB, body []byte) []T {
	tb.Helper()
	var all []T
	for d := json.NewDecoder(bytes.NewReader(body)); ; {
		var v T
		if err := d.Decode(&v); errors.Is(err, io.EOF) && len(all) > 0 {
			return all
		} else if err != nil {
			tb.Fatalf("%s: %v", body, err)
		}
		all = append(all, v)
	}
}

// directory is a swarm on paper.
type directory struct{ asked int }

func (d *directory) Offers(context.Context, protocol.ModelID) ([]routing.Seen, error) {
	d.asked++
	offer := func(peer protocol.PeerID, start, end int, state protocol.State) routing.Seen {
		return routing.Seen{Age: time.Second, Offer: protocol.Offer{
			Peer: peer, Span: protocol.Span{Start: start, End: end}, Layers: 6, State: state, Nick: "<b>ann</b>", CacheFree: 77, DecodeRate: 100,
			Relayed: state != protocol.Online,
		}}
	}
	return []routing.Seen{
		offer("b", 3, 5, protocol.Online), offer("a", 0, 2, protocol.Online), offer("c", 4, 6, protocol.Draining),
	}, nil
}

func (d *directory) Known(protocol.ModelID) []routing.Seen { return nil }

func (d *directory) AskPeers(_ context.Context, peers []protocol.PeerID) []routing.Told {
	return make([]routing.Told, len(peers))
}

func (d *directory) Measures() routing.Measures {
	return routing.Measures{RTT: map[protocol.PeerID]time.Duration{"a": 1500 * time.Microsecond}}
}
