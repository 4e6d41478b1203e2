package parts

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"

	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
	"github.com/baichuan-node/baichuan-node/shard/store"
)

// The model of the tests: bf16, three layers of three chunks, the last of them short, and two ends of two.
const testLayers = 3

// content is what a part of the test's model holds: numbers that a bf16 weight may be.
func content(part int, size int64) []byte {
	data := make([]byte, size)
	random := rand.NewChaCha8([32]byte{byte(part)})
	_, _ = random.Read(data)
	for i := range data {
		data[i] &= 0x3f
	}
	return data
}

// modelFiles makes the manifest and the parts of the test's model, once for all tests.
var modelFiles = sync.OnceValues(func() (store.Adopted, [][]byte) {
	tokenizer := []byte("a tokenizer")
	sum := sha256.Sum256(tokenizer)
	m := &store.Manifest{
		Layers: testLayers, Hidden: 1024, Intermediate: 512, Heads: 8, Vocab: 2560, Context: 64, Eps: "1e-06", Position: store.Rope,
		Theta: "10000", BOS: 1, EOS: 2, User: 195, Assistant: 196, Stop: []int{2, 195, 196}, Weights: "bf16", KV: "int8",
		Tokenizer: hex.EncodeToString(sum[:]), TokenizerSize: int64(len(tokenizer)),
	}
	if err := m.Outline(); err != nil {
		panic(err)
	}
	var all [][]byte
	for i, p := range m.Parts {
		data := content(i, p.Size)
		all = append(all, data)
		for c := range p.Chunks {
			sum := sha256.Sum256(data[c*store.ChunkSize : min(len(data), (c+1)*store.ChunkSize)])
			p.Chunks[c] = hex.EncodeToString(sum[:])
		}
	}
	raw, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return store.Adopted{Manifest: raw, Tokenizer: tokenizer, Source: "a test", Names: []string{"toy"}}, all
})

// home is a machine's store with some parts of the test's model.
func home(t testing.TB, parts ...int) (*store.Store, *store.Model) {
	return homeIn(t, t.TempDir(), parts...)
}

func homeIn(t testing.TB, dir string, parts ...int) (*store.Store, *store.Model) {
	t.Helper()
	s, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	a, all := modelFiles()
	m, err := s.Adopt(a)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range parts {
		f, err := s.Fill(m, part)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range f.Missing() {
			if err := f.WriteChunk(c, all[part][c*store.ChunkSize:][:f.ChunkBytes(c)]); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Finish(); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if m, err = m.Reopen(); err != nil {
		t.Fatal(err)
	}
	return s, m
}

// allBytes is the size of all parts.
func allBytes() (n int64) {
	_, all := modelFiles()
	for _, p := range all {
		n += int64(len(p))
	}
	return n
}

func newHost(t testing.TB) host.Host {
	t.Helper()
	h, err := routing.NewHost(routing.HostConfig{Listen: []string{"/ip4/127.0.0.1/tcp/0"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

// giver is a peer that hands out chunks as a test wants it.
type giver struct {
	host.Host
	// spoil changes what is sent; it is told which request this is, from 0. nil: nothing is changed.
	spoil func(n int, chunk []byte) []byte
	// before is called before each answer. nil: nothing is.
	before func(n int)
	has    func(part int) bool // nil: all

	mu    sync.Mutex
	n     int                     // guarded by mu, as all below: requests
	sent  int64                   // bytes of chunks
	asked map[protocol.Digest]int // pieces of each chunk that were asked for
	most  int                     // bytes of the largest piece
}

// give starts a peer that hands out the whole model. It goes by the server's own rules as to turns.
func give(t testing.TB, g *giver) *giver {
	t.Helper()
	if g.asked = map[protocol.Digest]int{}; g.Host == nil {
		g.Host = newHost(t)
	}
	a, all := modelFiles()
	m, err := store.ParseManifest(a.Manifest)
	if err != nil {
		t.Fatal(err)
	}
	chunks := chunksOf(m)
	stop := routing.ServeBlobs(g, routing.Blobs{
		Find: func(hash protocol.Digest) (routing.Blob, bool) {
			p, ok := chunks[hash]
			if !ok || g.has != nil && !g.has(p[0].part) {
				return routing.Blob{}, false
			}
			g.mu.Lock()
			n := g.n
			g.n++
			g.asked[hash]++
			g.mu.Unlock()
			if g.before != nil {
				g.before(n)
			}
			data := all[p[0].part][p[0].offset:][:p[0].size]
			if g.spoil != nil {
				data = g.spoil(n, data)
			}
			b := routing.Small(data)
			b.Bulk = true
			return b, true
		},
		Turn: func(_ context.Context, _ peer.ID, bytes int) (int, func(), error) {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.sent += int64(bytes)
			g.most = max(g.most, bytes)
			return bytes, func() {}, nil
		},
	})
	t.Cleanup(stop)
	return g
}

func (g *giver) bytes() int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.sent
}

func (g *giver) largest() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.most
}

// wanted is the chunks that were asked for, and in how many pieces.
func (g *giver) wanted() map[protocol.Digest]int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return maps.Clone(g.asked)
}

// fetcher makes a fetcher that asks these peers.
func fetcher(t testing.TB, s *store.Store, m *store.Model, change func(*FetcherConfig), from ...host.Host) *Fetcher {
	t.Helper()
	return fetcherAt(t, newHost(t), s, m, change, from...)
}

func fetcherAt(t testing.TB, h host.Host, s *store.Store, m *store.Model, change func(*FetcherConfig), from ...host.Host) *Fetcher {
	t.Helper()
	var ids []peer.ID
	for _, f := range from {
		h.Peerstore().AddAddrs(f.ID(), f.Addrs(), peerstore.PermanentAddrTTL)
		ids = append(ids, f.ID())
	}
	cfg := FetcherConfig{
		Host: h, Store: s, Model: m, Peers: func(context.Context) []peer.ID { return ids }, Patience: 20 * time.Second,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	if change != nil {
		change(&cfg)
	}
	return NewFetcher(cfg)
}

// whole is the span of all layers.
func whole() store.Span { return store.Span{Start: 0, End: testLayers} }

// mustHave checks that the fetcher's model has every part of a span, as it should be, and nothing half-written.
func mustHave(t testing.TB, f *Fetcher, span store.Span) {
	t.Helper()
	m := f.Model()
	if lacking := m.Lacking(span); len(lacking) > 0 {
		t.Fatalf("parts %v are not there", lacking)
	}
	if err := store.Verify(t.Context(), m); err != nil {
		t.Fatal(err)
	}
}

// spoilPartial changes a byte of one of the parts that are being filled in a home, if there are any.
func spoilPartial(t testing.TB, dir string, random *rand.Rand) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "models", "toy", ".part-*"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		return
	}
	f, err := os.OpenFile(files[random.IntN(len(files))], os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte{0xff}, random.Int64N(5<<20)); err != nil {
		t.Fatal(err)
	}
}
