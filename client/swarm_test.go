package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	libprotocol "github.com/libp2p/go-libp2p/core/protocol"

	"github.com/baichuan-node/baichuan-node/client"
	"github.com/baichuan-node/baichuan-node/client/local"
	"github.com/baichuan-node/baichuan-node/kernels"
	"github.com/baichuan-node/baichuan-node/node"
	"github.com/baichuan-node/baichuan-node/routing"
	"github.com/baichuan-node/baichuan-node/shard"
	"github.com/baichuan-node/baichuan-node/shard/checkpoint"
	"github.com/baichuan-node/baichuan-node/shard/checkpoint/synthetic"
	"github.com/baichuan-node/baichuan-node/shard/sample"
	"github.com/baichuan-node/baichuan-node/shard/store"
)

// real is a model of four layers with made-up weights, imported once for all tests.
var real = sync.OnceValues(func() (*store.Model, error) {
	dir, err := os.MkdirTemp("", "baichuan-client-test-")
	if err != nil {
		return nil, err
	}
	vocabulary, err := os.ReadFile("../shard/tokenizer/testdata/bpe-2048.model")
	if err != nil {
		return nil, err
	}
	err = synthetic.Write(dir+"/from", synthetic.Spec{
		Vocab: 2048, Hidden: 64, Intermediate: 128, Layers: 4, Heads: 2, Context: 1400, Position: "rope", NormHead: true,
		Seed: 11, Tokenizer: vocabulary,
	})
	if err != nil {
		return nil, err
	}
	c, err := checkpoint.Open(dir + "/from")
	if err != nil {
		return nil, err
	}
	defer c.Close()
	s, err := store.Open(dir + "/home")
	if err != nil {
		return nil, err
	}
	cleanUp = func() { os.RemoveAll(dir) }
	return store.Import(context.Background(), s, c, store.ImportOptions{Name: "tiny", Weights: "nf4", KV: "int8"})
})

var cleanUp = func() {}

func TestMain(m *testing.M) {
	debug.SetGCPercent(400) // swarms are small and short-lived
	sweep()
	code := m.Run()
	cleanUp()
	os.Exit(code)
}

// sweep removes what runs that were killed have left.
func sweep() {
	left, _ := filepath.Glob(filepath.Join(os.TempDir(), "baichuan-client-test-*"))
	for _, dir := range left {
		if info, err := os.Stat(dir); err == nil && time.Since(info.ModTime()) > time.Hour {
			os.RemoveAll(dir)
		}
	}
}

func realModel(t *testing.T) *store.Model {
	t.Helper()
	m, err := real()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// load gives layers start..end-1, and what closes them.
func load(t *testing.T, start, end int) (*shard.Shard, func() error) {
	t.Helper()
	dev := kernels.NewCPU(1)
	s, err := shard.Load(context.Background(), realModel(t), store.Span{Start: start, End: end}, dev, shard.Config{CacheTokens: 8192})
	if err != nil {
		t.Fatal(err)
	}
	return s, func() error { return errors.Join(s.Close(), dev.Close()) }
}

// server is a node that runs in this process.
type server struct {
	node   *node.Node
	layers *shard.Shard // that it began with
	host   *iceHost
	stop   func()       // as a signal does
	end    func() error // at the end of a test
}

// kill ends the node's connections at once.
func (s *server) kill() { s.host.Close() }

// count reads one of the node's counters.
func (s *server) count(t *testing.T, name string) int {
	t.Helper()
	w := httptest.NewRecorder()
	s.node.Metrics().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	m := regexp.MustCompile(`(?m)^baichuan_node_` + name + ` (\d+)`).FindStringSubmatch(w.Body.String())
	if m == nil {
		t.Fatalf("no counter %s in %s", name, w.Body)
	}
	n, _ := strconv.Atoi(m[1])
	return n
}

// iceHost is a host whose session and push streams can be made to stand still, as those of a stopped process do.
type iceHost struct {
	host.Host
	mu     sync.Mutex
	frozen chan struct{} // closed by thaw; nil: it is not frozen
	breaks func() bool   // whether a stream breaks at a write; nil: none does
}

func (h *iceHost) freeze() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.frozen = make(chan struct{})
}

func (h *iceHost) thaw() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.frozen != nil {
		close(h.frozen)
		h.frozen = nil
	}
}

func (h *iceHost) wait() {
	h.mu.Lock()
	frozen := h.frozen
	h.mu.Unlock()
	if frozen != nil {
		<-frozen
	}
}

func (h *iceHost) SetStreamHandler(id libprotocol.ID, f network.StreamHandler) {
	h.Host.SetStreamHandler(id, func(s network.Stream) { f(&iceStream{s, h}) })
}

func (h *iceHost) NewStream(ctx context.Context, p peer.ID, ids ...libprotocol.ID) (network.Stream, error) {
	s, err := h.Host.NewStream(ctx, p, ids...)
	if err != nil {
		return nil, err
	}
	return &iceStream{s, h}, nil
}

type iceStream struct {
	network.Stream
	host *iceHost
}

func (s *iceStream) Read(b []byte) (int, error) {
	n, err := s.Stream.Read(b)
	s.host.wait()
	return n, err
}

func (s *iceStream) Write(b []byte) (int, error) {
	s.host.wait()
	if s.host.breaks != nil && s.host.breaks() {
		_ = s.Stream.Reset()
		return 0, network.ErrReset
	}
	return s.Stream.Write(b)
}

// swarm is some nodes on the loopback and a client.
type swarm struct {
	t      *testing.T
	nodes  []*server
	client *client.Client
	known  *routing.Directory // the client's
	drain  time.Duration      // of each node
}

// newSwarm starts a node for each span, and a client. Nodes that leave do so at once.
func newSwarm(t *testing.T, spans ...[2]int) *swarm {
	t.Helper()
	return newDrainingSwarm(t, 0, spans...)
}

// newDrainingSwarm is newSwarm with nodes that take their time to leave.
func newDrainingSwarm(t *testing.T, drain time.Duration, spans ...[2]int) *swarm {
	t.Helper()
	w := &swarm{t: t, drain: drain}
	t.Cleanup(w.end)
	for _, s := range spans {
		w.serve(s[0], s[1])
	}
	w.connect()
	return w
}

// connect makes another client the swarm's.
func (w *swarm) connect() {
	t := w.t
	h := bareHost(t)
	d, err := routing.NewDirectory(t.Context(), h, routing.DirectoryConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	w.known = d
	w.client, err = client.Connect(t.Context(), h, d, client.Config{Join: w.join()})
	if err != nil {
		t.Fatal(err)
	}
}

// end ends all nodes at once: those that remain know of the dead ones, and would ask for them one after the other.
func (w *swarm) end() {
	var all sync.WaitGroup
	for _, n := range w.nodes {
		all.Go(func() {
			if err := n.end(); err != nil {
				w.t.Error(err)
			}
		})
	}
	all.Wait()
}

func (w *swarm) join() (all []peer.AddrInfo) {
	for _, n := range w.nodes {
		all = append(all, peer.AddrInfo{ID: n.host.ID(), Addrs: n.host.Addrs()})
	}
	return all
}

func bareHost(t *testing.T) host.Host {
	t.Helper()
	h, err := routing.NewHost(routing.HostConfig{Listen: []string{"/ip4/127.0.0.1/tcp/0"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

// serve starts a node for layers start..end-1.
func (w *swarm) serve(start, end int) *server {
	t := w.t
	bare, err := routing.NewHost(routing.HostConfig{Listen: []string{"/ip4/127.0.0.1/tcp/0"}})
	if err != nil {
		t.Fatal(err)
	}
	h := &iceHost{Host: bare}
	d, err := routing.NewDirectory(context.Background(), h.Host, routing.DirectoryConfig{Serving: true})
	if err != nil {
		t.Fatal(err)
	}
	if len(w.nodes) > 0 {
		if err := d.Join(context.Background(), w.join()); err != nil {
			t.Fatal(err)
		}
	}
	ready := make(chan struct{})
	cfg := node.DefaultConfig(realModel(t))
	cfg.Log = slog.New(slog.DiscardHandler)
	cfg.DrainFor = w.drain
	cfg.Ready = func() { close(ready) }
	layers, unload := load(t, start, end)
	n, err := node.New(h, d, layers, cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	s := &server{node: n, layers: layers, host: h, stop: cancel}
	s.end = func() error {
		h.thaw()
		cancel()
		return errors.Join(<-done, d.Close(), h.Close(), unload())
	}
	<-ready
	w.nodes = append(w.nodes, s)
	return s
}

// of gives the node of a peer.
func (w *swarm) of(id peer.ID) *server {
	for _, n := range w.nodes {
		if n.host.ID() == id {
			return n
		}
	}
	w.t.Fatalf("no node %s", id)
	return nil
}

// hooked calls a function before each step of a Stepper.
type hooked struct {
	client.Stepper
	steps  int
	before func(step int, chain []client.HopInfo)
}

func (h *hooked) Step(ctx context.Context, ids []uint32, want client.Want) ([]sample.Candidate, error) {
	h.steps++
	if h.before != nil {
		h.before(h.steps, h.Chain())
	}
	return h.Stepper.Step(ctx, ids, want)
}

// talk is a conversation over a new session.
func (w *swarm) talk(cfg client.SessionConfig, before func(step int, chain []client.HopInfo)) (*client.Conversation, *hooked) {
	s := &hooked{Stepper: w.client.NewSession(cfg), before: before}
	w.t.Cleanup(func() { s.Close() })
	return client.NewConversation(w.client.Model(), s), s
}

func ask(t *testing.T, c *client.Conversation, prompt []uint32, o client.Options) (*client.Outcome, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for chunk, err := range c.Generate(ctx, prompt, o) {
		if err != nil {
			return nil, err
		}
		if chunk.Outcome != nil {
			return chunk.Outcome, nil
		}
	}
	return nil, fmt.Errorf("no outcome")
}

// alone is the answer of one process.
func alone(t *testing.T, prompt []uint32, o client.Options) *client.Outcome {
	t.Helper()
	m, err := client.ModelOf(realModel(t))
	if err != nil {
		t.Fatal(err)
	}
	whole, unload := load(t, 0, 4)
	defer unload()
	s, err := local.New(whole)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	out, err := ask(t, client.NewConversation(m, s), prompt, o)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func equal(t *testing.T, got, want *client.Outcome) {
	t.Helper()
	if !slices.Equal(got.IDs, want.IDs) || got.Text != want.Text {
		t.Errorf("the swarm says %v, one process %v", got.IDs, want.IDs)
	}
}

func someIDs(n int) []uint32 {
	ids := make([]uint32, n)
	for i := range ids {
		ids[i] = uint32(300 + (i*i*7+i)%1500)
	}
	return ids
}

func drawn(n int) client.Options {
	return client.Options{
		MaxTokens: n, Sampling: sample.Params{Temperature: 1, TopK: 50, TopP: 0.95, Penalty: 1.1}, Seed: 7, IgnoreEOS: true,
	}
}

var thirds = [][2]int{{0, 1}, {1, 3}, {3, 4}, {0, 1}, {1, 3}, {3, 4}}

func TestSwarm_AnswersLikeOneProcess(t *testing.T) {
	w := newSwarm(t, thirds...)
	c, _ := w.talk(client.SessionConfig{}, nil)
	out, err := ask(t, c, someIDs(600), drawn(12))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, out, alone(t, someIDs(600), drawn(12)))
	if len(out.Failovers) > 0 || out.Stats.Hops != 3 || out.Stats.RelayedBytes != 0 || out.Stats.Bytes == 0 {
		t.Errorf("stats %+v, failovers %v", out.Stats, out.Failovers)
	}

	var got, want bytes.Buffer
	o := drawn(3)
	o.Logits = &got
	if _, err := ask(t, c, someIDs(30), o); err != nil {
		t.Fatal(err)
	}
	o.Logits = &want
	alone(t, someIDs(30), o)
	if !bytes.Equal(got.Bytes(), want.Bytes()) {
		t.Error("the logits differ")
	}
}

// TestClient_AsksTheSwarmOnceForManySessions has a client that has just asked who serves begin several sessions: it asks nobody
// again, however many there are.
func TestClient_AsksTheSwarmOnceForManySessions(t *testing.T) {
	w := newSwarm(t, thirds...)
	lists := func() (n uint64) {
		w.known.Messages(func(kind string, asked, _ uint64) {
			if kind == "list" {
				n = asked
			}
		})
		return n
	}
	before, began := lists(), time.Now()
	for range 5 {
		c, s := w.talk(client.SessionConfig{}, nil)
		if _, err := ask(t, c, someIDs(20), drawn(2)); err != nil {
			t.Fatal(err)
		}
		s.Close()
	}
	if n := lists() - before; n > 0 && time.Since(began) < 4*time.Second { // what is known ages, on a slow machine as well
		t.Errorf("5 sessions have asked %d times", n)
	}
}
