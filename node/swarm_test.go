package node

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/kernels"
	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
	"github.com/baichuan-node/baichuan-node/shard"
	"github.com/baichuan-node/baichuan-node/shard/checkpoint"
	"github.com/baichuan-node/baichuan-node/shard/checkpoint/synthetic"
	"github.com/baichuan-node/baichuan-node/shard/store"
)

// tiny is a model of three layers with made-up weights, and long one with the context of a real one, imported once for all
// tests.
var tiny, long *store.Model

// greedy is the plainest sampling.
var greedy = protocol.Sampling{TopP: 1, Penalty: 1}

func TestMain(m *testing.M) {
	debug.SetGCPercent(400) // swarms are small and short-lived
	dir, err := os.MkdirTemp("", "baichuan-node-test-")
	if err == nil {
		tiny, err = importTiny(dir, "tiny", 640)
	}
	if err == nil {
		long, err = importTiny(dir, "long", 4096)
	}
	code := 1
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	} else {
		code = m.Run()
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

func importTiny(dir, name string, tokens int) (*store.Model, error) {
	vocabulary, err := os.ReadFile(filepath.Join("..", "shard", "tokenizer", "testdata", "bpe-2048.model"))
	if err != nil {
		return nil, err
	}
	from := filepath.Join(dir, name)
	err = synthetic.Write(from, synthetic.Spec{
		Vocab: 2048, Hidden: 64, Intermediate: 128, Layers: 3, Heads: 2, Context: tokens, Position: "rope", NormHead: true,
		Seed: 11, Tokenizer: vocabulary,
	})
	if err != nil {
		return nil, err
	}
	c, err := checkpoint.Open(from)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	s, err := store.Open(filepath.Join(dir, "home"))
	if err != nil {
		return nil, err
	}
	return store.Import(context.Background(), s, c, store.ImportOptions{Name: name, Weights: "nf4", KV: "int8"})
}

// loaded gives layers start..end-1 of the tiny model.
func loaded(t *testing.T, start, end int) *shard.Shard {
	t.Helper()
	return loadedOf(t, tiny, start, end, 2048)
}

func loadedOf(t *testing.T, model *store.Model, start, end, tokens int) *shard.Shard {
	t.Helper()
	dev := kernels.NewCPU(1)
	s, err := shard.Load(context.Background(), model, store.Span{Start: start, End: end}, dev, shard.Config{CacheTokens: tokens})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := dev.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func newHost(t *testing.T) host.Host {
	t.Helper()
	h, err := routing.NewHost(routing.HostConfig{Listen: []string{"/ip4/127.0.0.1/tcp/0"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

// made gives a node of layers start..end-1 that does not run yet.
func made(t *testing.T, start, end int, change func(*Config)) *Node {
	t.Helper()
	return madeOf(t, tiny, loaded(t, start, end), change)
}

func madeOf(t *testing.T, model *store.Model, s *shard.Shard, change func(*Config)) *Node {
	t.Helper()
	return madeOn(t, newHost(t), model, s, change)
}

func madeOn(t *testing.T, h host.Host, model *store.Model, s *shard.Shard, change func(*Config)) *Node {
	t.Helper()
	d, err := routing.NewDirectory(context.Background(), h, routing.DirectoryConfig{Serving: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	cfg := DefaultConfig(model)
	cfg.Log = slog.New(slog.DiscardHandler)
	cfg.DrainFor = 0
	if change != nil {
		change(&cfg)
	}
	n, err := New(h, d, s, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// serve runs a node of layers start..end-1 until the test ends, or until the returned function is called, which waits
// until all that the node has started is gone.
func serve(t *testing.T, start, end int, change func(*Config)) (*Node, func()) {
	t.Helper()
	ready := make(chan struct{})
	n := made(t, start, end, func(c *Config) {
		if change != nil {
			change(c)
		}
		c.Ready = func() { close(ready) }
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	<-ready
	return n, stop
}

// leftOver gives the goroutines that run code of this package, but for tests. One that has said that it is done may be on its
// way out for a moment.
func leftOver() (left string) {
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		if left = running(); left == "" || time.Now().After(deadline) {
			return left
		}
	}
}

// running gives the goroutines that run code of this package now.
func running() string {
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	var left []string
	for g := range strings.SplitSeq(string(buf), "\n\n") {
		if strings.Contains(g, "/node.(*") {
			left = append(left, g)
		}
	}
	return strings.Join(left, "\n\n")
}

// caller is a client's end of a session stream.
type caller struct {
	t   *testing.T
	s   network.Stream
	lim protocol.Limits
	key protocol.Key

	writing sync.Mutex
}

// call opens a stream to a node.
func call(t *testing.T, from host.Host, n *Node, key string) *caller {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := from.Connect(ctx, peer.AddrInfo{ID: n.host.ID(), Addrs: n.host.Addrs()}); err != nil {
		t.Fatal(err)
	}
	s, err := from.NewStream(ctx, n.host.ID(), protocol.SessionID)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Reset() })
	if err := s.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	c := &caller{t: t, s: s, lim: n.limits}
	copy(c.key[:], key)
	return c
}

func (c *caller) send(msg any) {
	c.t.Helper()
	c.writing.Lock()
	defer c.writing.Unlock()
	if err := protocol.WriteMessage(c.s, msg); err != nil {
		c.t.Fatal(err)
	}
}

// receive gives the next message that is not a heartbeat.
func (c *caller) receive() any {
	c.t.Helper()
	for {
		msg, err := protocol.ReadMessage(c.s, c.lim)
		if err != nil {
			c.t.Fatal(err)
		}
		if _, ok := msg.(protocol.Heartbeat); !ok {
			return msg
		}
	}
}

// ask sends a message and takes its answer, which must be of type T.
func ask[T any](c *caller, msg any) T {
	c.t.Helper()
	c.send(msg)
	return answer[T](c)
}

func answer[T any](c *caller) T {
	c.t.Helper()
	msg := c.receive()
	m, ok := msg.(T)
	if !ok {
		c.t.Fatalf("the answer is %T %.200v, want %T", msg, fmt.Sprint(msg), m)
	}
	return m
}

// refused sends a message and expects a refusal with a code.
func (c *caller) refused(msg any, code protocol.Code) protocol.Failure {
	c.t.Helper()
	f := ask[protocol.Failure](c, msg)
	if f.Code != code || f.Text == "" {
		c.t.Errorf("refused with %v, want %v and a sentence", f, code)
	}
	return f
}

func (c *caller) open(epoch uint32, start, end, position int, ids ...uint32) protocol.Open {
	return protocol.Open{
		Session: c.key, Epoch: epoch, Model: c.lim.Model, Span: protocol.Span{Start: start, End: end},
		Position: uint32(position), Sampling: greedy, IDs: ids,
	}
}

// opened opens the session and expects to be at a position.
func (c *caller) opened(m protocol.Open, position int) protocol.Opened {
	c.t.Helper()
	o := ask[protocol.Opened](c, m)
	if o.Epoch != m.Epoch || int(o.Position) != position {
		c.t.Errorf("opened %+v, want epoch %d at position %d", o, m.Epoch, position)
	}
	return o
}

// step is a step of ids for the first hop.
func step(epoch uint32, number uint64, position int, want protocol.Want, ids ...uint32) protocol.Step {
	return protocol.Step{Epoch: epoch, Number: number, Position: uint32(position), Want: want, NewIDs: ids, IDs: ids}
}

// push is rows for another hop, as the hop before it gave them.
func (c *caller) push(from protocol.Push) protocol.Push {
	from.Session = c.key
	return from
}

// logits reads the rows of a step's result.
func (c *caller) logits(n int) []byte {
	c.t.Helper()
	var all []byte
	for got := 0; ; {
		r := answer[protocol.Result](c)
		if r.N > protocol.MaxResultRows || r.Vocab != c.lim.Vocab {
			c.t.Fatalf("a frame of %d rows of %d logits", r.N, r.Vocab)
		}
		got += r.N
		all = append(all, r.Logits...)
		if r.Final {
			if got != n {
				c.t.Fatalf("%d rows, want %d", got, n)
			}
			return all
		}
	}
}

// sequence is n ids of the tiny model's vocabulary.
func sequence(n int) []uint32 {
	ids := make([]uint32, n)
	for i := range ids {
		ids[i] = uint32(300 + 37*i%1500)
	}
	return ids
}

// oracle is the whole model in this process.
type oracle struct {
	t     *testing.T
	shard *shard.Shard
	cache *shard.Cache
}

func newOracle(t *testing.T) *oracle {
	s := loaded(t, 0, 3)
	return &oracle{t, s, s.NewCache(s.Span())}
}

// logits computes ids after what there is, all at once, and gives their logits as they travel.
func (o *oracle) logits(ids ...uint32) []byte {
	o.t.Helper()
	st := &shard.Step{Cache: o.cache, IDs: ids}
	o.shard.Forward(st)
	if st.Err != nil {
		o.t.Fatal(st.Err)
	}
	dst := make([]float32, len(ids)*o.shard.Manifest().Vocab)
	if err := o.shard.Logits(dst, st.Out, 0, len(ids)); err != nil {
		o.t.Fatal(err)
	}
	return littleEndian(dst)
}

// eventually waits for what other goroutines are about to do.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it did not come about that %s", what)
		}
	}
}

func equalPush(a, b protocol.Push) bool {
	return a.N == b.N && a.Position == b.Position && a.Number == b.Number && slices.Equal(a.Exp, b.Exp) && slices.Equal(a.Half, b.Half)
}
