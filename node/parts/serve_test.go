package parts

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"

	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
	"github.com/baichuan-node/baichuan-node/shard/store"
)

// served starts a server of what a home has.
func served(t testing.TB, m *store.Model) (*Server, host.Host) {
	t.Helper()
	h := newHost(t)
	s, err := Serve(h, m, NewUplink(0))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, h
}

// asks is a stream to a peer.
func asks(t testing.TB, to host.Host) *routing.BlobStream {
	t.Helper()
	h := newHost(t)
	h.Peerstore().AddAddrs(to.ID(), to.Addrs(), peerstore.PermanentAddrTTL)
	st := routing.NewBlobStream(h, to.ID())
	t.Cleanup(st.Close)
	return st
}

func TestServe_HandsOutWhatIsHere(t *testing.T) {
	_, m := home(t, 1, 4)
	server, h := served(t, m)
	st := asks(t, h)
	_, all := modelFiles()
	sent := 0
	for part, p := range m.Manifest.Parts {
		for c := range p.Chunks {
			data, err := st.Get(t.Context(), chunkHash(p, c), 1000, protocol.MaxDataBytes)
			var refused protocol.Failure
			switch {
			case part != 1 && part != 4:
				if !errors.As(err, &refused) || refused.Code != protocol.CodeOtherManifest {
					t.Fatalf("chunk %d of part %d: %v", c, part, err)
				}
			case err != nil:
				t.Fatal(err)
			default:
				chunk := all[part][c*store.ChunkSize : min(len(all[part]), (c+1)*store.ChunkSize)]
				if data.Total != int64(len(chunk)) || !bytes.Equal(data.Bytes, chunk[1000:min(len(chunk), 1000+protocol.MaxDataBytes)]) {
					t.Fatalf("chunk %d of part %d came as %d of %d bytes", c, part, len(data.Bytes), data.Total)
				}
				sent += len(data.Bytes)
			}
		}
	}
	if got := server.Sent(); got != int64(sent) {
		t.Errorf("%d bytes were handed out, it says %d", sent, got)
	}
	for _, offset := range []int64{store.ChunkSize, 1 << 39} {
		if data, err := st.Get(t.Context(), chunkHash(m.Manifest.Parts[1], 0), offset, 10); err != nil || len(data.Bytes) != 0 {
			t.Errorf("from %d on there are %d bytes: %v", offset, len(data.Bytes), err)
		}
	}
	raw, err := st.Get(t.Context(), protocol.Digest(m.ID), 0, protocol.MaxDataBytes)
	if err != nil || sha256.Sum256(raw.Bytes) != m.ID {
		t.Errorf("the manifest: %v", err)
	}
}

func TestServe_HandsOutWhatArrivesMeanwhile(t *testing.T) {
	s, m := home(t, 1)
	server, h := served(t, m)
	st := asks(t, h)
	hash := chunkHash(m.Manifest.Parts[2], 0)
	if _, err := st.Get(t.Context(), hash, 0, 100); err == nil {
		t.Fatal("a part is there that nobody has")
	}
	f := fetcher(t, s, m, func(c *FetcherConfig) { c.Arrived = server.Arrived }, give(t, &giver{}))
	if err := f.Fetch(t.Context(), store.Span{Start: 1, End: 2}, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := st.Get(t.Context(), hash, 0, 100); err != nil {
		t.Error(err)
	}
}

func TestServe_SendsWhatItOpenedWhateverBecomesOfTheModel(t *testing.T) {
	dir := t.TempDir()
	s, m := homeIn(t, dir, 1, 2)
	_, h := served(t, m)
	st := asks(t, h)
	hash := chunkHash(m.Manifest.Parts[1], 0)
	first, err := st.Get(t.Context(), hash, 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Remove("toy"); err != nil {
		t.Fatal(err)
	}
	if again, err := st.Get(t.Context(), hash, 0, 100); err != nil || !bytes.Equal(again.Bytes, first.Bytes) {
		t.Errorf("an open part: %v", err)
	}
	if _, err := st.Get(t.Context(), chunkHash(m.Manifest.Parts[2], 0), 0, 100); err == nil {
		t.Error("a part was sent of a model that is gone")
	}
	if err := os.MkdirAll(filepath.Join(dir, "models", "toy"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := st.Get(t.Context(), chunkHash(m.Manifest.Parts[2], 0), 0, 100); err == nil {
		t.Error("a part was sent of a model that is gone")
	}
}

func TestServe_SendsLittleAtATimeWhileSessionsLive(t *testing.T) {
	_, m := home(t, 1)
	server, h := served(t, m)
	st := asks(t, h)
	for _, live := range []bool{false, true} {
		server.Live(func() bool { return live })
		want := protocol.MaxDataBytes
		if live {
			want = smallPiece
		}
		data, err := st.Get(t.Context(), chunkHash(m.Manifest.Parts[1], 0), 0, protocol.MaxDataBytes)
		if err != nil || len(data.Bytes) != want {
			t.Errorf("sessions live: %v: %d bytes, %v", live, len(data.Bytes), err)
		}
	}
}

// TestServer_StaysWithinTheCap has many ask for as much as they like for a while: together they get what the owner gives.
func TestServer_StaysWithinTheCap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const netRate, seconds = 400_000, 100
		s := &Server{uplink: NewUplink(netRate), live: func() bool { return false }}
		s.turns = turns{asking: map[peer.ID]*turnOwner{}, slots: s.slots}
		ctx, cancel := context.WithTimeout(t.Context(), seconds*time.Second)
		defer cancel()
		got := map[peer.ID]int{}
		var mu sync.Mutex // guards got
		var all sync.WaitGroup
		for _, id := range []peer.ID{"a", "a", "a", "a", "b", "c"} {
			all.Go(func() {
				for ctx.Err() == nil {
					n, done, err := s.turn(ctx, id, 1<<20)
					if err != nil {
						time.Sleep(time.Second)
						continue
					}
					mu.Lock()
					got[id] += n
					mu.Unlock()
					done()
				}
			})
		}
		// Hand-overs leave by the same way.
		all.Go(func() {
			for s.uplink.Wait(ctx, 10_000) == nil {
				mu.Lock()
				got["handed over"] += 10_000
				mu.Unlock()
			}
		})
		all.Wait()
		total := got["a"] + got["b"] + got["c"] + got["handed over"]
		most := int(bulkShare * netRate * seconds)
		if total > most+most/20 || total < most*9/10 {
			t.Errorf("%d bytes left in %d s, the cap is %d", total, seconds, most)
		}
		for _, id := range []peer.ID{"a", "b", "c"} {
			if got[id] < (total-got["handed over"])/5 {
				t.Errorf("%s got %d of %d bytes", id, got[id], total)
			}
		}
		time.Sleep(2 * turnHeld)
	})
}
