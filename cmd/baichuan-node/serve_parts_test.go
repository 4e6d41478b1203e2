package main

import (
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/baichuan-node/baichuan-node/node/launch"
	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
	"github.com/baichuan-node/baichuan-node/shard/checkpoint/synthetic"
	"github.com/baichuan-node/baichuan-node/shard/store"
)

func TestServe_AnEmptyMachineGetsItsLayersFromPeers(t *testing.T) {
	seed := newHome(t)
	mustCLI(t, "import", writeCheckpoint(t, "small-7b", 3), "--name", "toy")
	model, err := storedModel("toy")
	if err != nil {
		t.Fatal(err)
	}
	layers := model.Manifest.Layers
	p := newProcesses(t)
	_, first := p.serve(seed, "toy", "0:1", "--nick", "seed")

	// The seed serves a layer and has them all; a third machine is filled by whoever is there.
	empty, third := t.TempDir(), t.TempDir()
	rest := store.Span{Start: 1, End: layers}
	_, second := p.serve(empty, model.ID.String()[:8], rest.String(), "--join", first.Addrs[0])
	_, _ = p.serve(third, "TOY", "0:1", "--join", second.Addrs[0])
	if second.Model != model.ID.String() {
		t.Errorf("it serves model %s", second.Model)
	}
	args := []string{"--tokens", idList(9), "--max-tokens", "6", "--ignore-eos", "--temperature", "0"}
	got := generate(t, append([]string{"--join", first.Addrs[0]}, args...)...)
	want := generate(t, append([]string{"toy", "--local"}, args...)...)
	if len(want.IDs) != 6 || !slices.Equal(got.IDs, want.IDs) {
		t.Errorf("the swarm answers %v, one process %v", got.IDs, want.IDs)
	}
	for home, span := range map[string]store.Span{empty: rest, third: {Start: 0, End: 1}} {
		t.Setenv("BAICHUAN_HOME", home)
		if list := mustCLI(t, "models"); !strings.Contains(list, model.ID.String()) || !strings.Contains(list, span.String()+" of ") {
			t.Errorf("models prints %s", list)
		}
		if verified := mustCLI(t, "models", "verify", "toy"); verified != "toy  ok\n" {
			t.Errorf("models verify prints %s", verified)
		}
	}
}

// chunkGiver is a peer that offers a model and hands out its chunks, until it is told to hang.
type chunkGiver struct {
	addr string

	mu     sync.Mutex
	asked  map[protocol.Digest]bool // guarded by mu, as all below
	pieces int
	hangAt int           // at this piece; 0: never
	hung   chan struct{} // closed then
}

// giveChunks starts a peer that hands out a model.
func giveChunks(t *testing.T, m *store.Model) *chunkGiver {
	t.Helper()
	g := &chunkGiver{asked: map[protocol.Digest]bool{}, hung: make(chan struct{})}
	h, err := routing.NewHost(routing.HostConfig{Listen: []string{"/ip4/127.0.0.1/tcp/0"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	d, err := routing.NewDirectory(t.Context(), h, routing.DirectoryConfig{Serving: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	words, err := m.Tokenizer()
	if err != nil {
		t.Fatal(err)
	}
	blobs := map[string]routing.Blob{m.ID.String(): routing.Small(m.Raw), m.Manifest.Tokenizer: routing.Small(words)}
	for i, p := range m.Manifest.Parts {
		f, err := m.OpenPart(i)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		for c, hash := range p.Chunks {
			at := int64(c) * store.ChunkSize
			blobs[hash] = routing.Blob{SectionReader: io.NewSectionReader(f, at, min(store.ChunkSize, p.Size-at))}
		}
	}
	done := make(chan struct{})
	stop := routing.ServeBlobs(h, routing.Blobs{Find: func(hash protocol.Digest) (routing.Blob, bool) {
		b, ok := blobs[hash.String()]
		if !ok || hash.String() == m.ID.String() || hash.String() == m.Manifest.Tokenizer {
			return b, ok
		}
		g.mu.Lock()
		g.asked[hash] = true
		g.pieces++
		hang := g.pieces == g.hangAt
		g.mu.Unlock()
		if hang {
			close(g.hung)
			<-done
		}
		return b, true
	}})
	t.Cleanup(func() { close(done); stop() })
	span := protocol.Span{Start: 0, End: 1}
	offer := protocol.Offer{Model: protocol.ModelID(m.ID), ModelName: m.Name, Span: span, Target: span, Layers: m.Manifest.Layers,
		State: protocol.Online, Device: "none", DecodeRate: 1, PrefillRate: 1}
	if err := d.Announce(t.Context(), offer); err != nil {
		t.Fatal(err)
	}
	g.addr = h.Addrs()[0].String() + "/p2p/" + h.ID().String()
	return g
}

func TestServe_KilledWhileItFetchesGoesOnWhereItWas(t *testing.T) {
	if apart(t) {
		return
	}
	newHome(t)
	dir := filepath.Join(t.TempDir(), "wide")
	spec := synthetic.Spec{Vocab: 5120, Hidden: 512, Intermediate: 1536, Layers: 3, Heads: 8, Context: 256, Position: "rope", NormHead: true,
		Seed: 5, Tokenizer: synthetic.Tokenizer()}
	if err := synthetic.Write(dir, spec); err != nil {
		t.Fatal(err)
	}
	mustCLI(t, "import", dir, "--weights", "bf16")
	model, err := storedModel("wide")
	if err != nil {
		t.Fatal(err)
	}
	g := giveChunks(t, model)
	g.hangAt = 20 // of some 50: in the middle of a part
	empty := t.TempDir()
	p := newProcesses(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	killed, err := p.group.Start(launch.Command{
		Name: "the one that is killed", Binary: self,
		Args: []string{"serve", model.ID.String(), "--layers", "0:3", "--listen", "/ip4/127.0.0.1/tcp/0", "--join", g.addr},
		Env:  []string{asProgram + "=1", "BAICHUAN_HOME=" + empty},
	})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-g.hung:
	case <-killed.Exited():
		t.Fatalf("it ended: %v", killed.Err())
	}
	killed.Kill()
	<-killed.Exited()

	here := chunksOfHome(t, empty, model)
	g.mu.Lock()
	clear(g.asked)
	g.mu.Unlock()
	_, r := p.serve(empty, "wide", "0:3", "--join", g.addr)
	if r.Model != model.ID.String() {
		t.Errorf("it serves %s", r.Model)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	all := 0
	for _, part := range model.Manifest.Parts {
		for _, chunk := range part.Chunks {
			var hash protocol.Digest
			if _, err := hex.Decode(hash[:], []byte(chunk)); err != nil {
				t.Fatal(err)
			}
			all++
			if here[chunk] == g.asked[hash] {
				t.Errorf("chunk %.8s was here: %v, and was asked for: %v", chunk, here[chunk], g.asked[hash])
			}
		}
	}
	if len(here) == 0 || len(here) == all {
		t.Errorf("when it was killed %d of %d chunks were there", len(here), all)
	}
}

// chunksOfHome gives the chunks that a home has verified, those of half-filled parts included.
func chunksOfHome(t *testing.T, home string, m *store.Model) map[string]bool {
	t.Helper()
	s, err := store.Open(home)
	if err != nil {
		t.Fatal(err)
	}
	there, err := s.Model(m.ID.String())
	if err != nil {
		t.Fatal(err)
	}
	here := map[string]bool{}
	for i, p := range m.Manifest.Parts {
		fill, err := s.Fill(there, i)
		var missing []int
		if err == nil {
			missing = fill.Missing()
			err = fill.Close()
		}
		if err != nil && !errors.Is(err, store.ErrPartHere) {
			t.Fatal(err)
		}
		for c, chunk := range p.Chunks {
			if !slices.Contains(missing, c) {
				here[chunk] = true
			}
		}
	}
	return here
}

func TestServe_SaysWhyItCannotGetAModel(t *testing.T) {
	seed := newHome(t)
	mustCLI(t, "import", writeCheckpoint(t, "small-7b", 3), "--name", "toy")
	p := newProcesses(t)
	_, first := p.serve(seed, "toy", "0:1")
	newHome(t)
	for _, name := range []string{"another", "00000000"} {
		code, _, errOut := cli(t, "serve", name, "--join", first.Addrs[0], "--listen", "/ip4/127.0.0.1/tcp/0")
		if code != exitFailed || strings.Count(errOut, "\n") != 1 || !strings.Contains(errOut, name) || !strings.Contains(errOut, "toy") {
			t.Errorf("exit code %d: %s", code, errOut)
		}
	}
}
