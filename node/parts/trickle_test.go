//go:build !race

// Go's race detector itself crashes on timers in a synctest bubble (golang/go#78156). Fetching runs under it in
// fetch_test.go, in real time.

package parts

import (
	"cmp"
	"crypto/rand"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/shard/store"
	"github.com/baichuan-node/baichuan-node/sim/simnet"
)

// simulated makes hosts in a network in memory.
func simulated(t *testing.T) (next func() host.Host) {
	net := simnet.New(simnet.Config{RTT: func(peer.ID, peer.ID) time.Duration { return 20 * time.Millisecond }})
	n := 0
	return func() host.Host {
		key, _, err := crypto.GenerateEd25519Key(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		n++
		h, err := net.Host(key, ma.StringCast(fmt.Sprintf("/ip4/10.0.0.%d/tcp/4001", n)))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { h.Close() })
		return h
	}
}

// Those who send a byte a second can't hold up what another one sends, however many they are.
func TestFetch_IsNotHeldUpByThoseWhoTrickle(t *testing.T) {
	_, m := home(t)
	sizes := map[protocol.Digest]int64{}
	for hash, places := range chunksOf(m.Manifest) {
		sizes[hash] = places[0].size
	}
	drip := each(func(g protocol.Get) any {
		time.Sleep(time.Second)
		return protocol.Data{Total: sizes[g.Hash], Bytes: make([]byte, 1)}
	})
	for _, c := range []struct {
		drips int
		live  bool
		most  time.Duration
	}{
		{1, true, 30 * time.Second}, {1, false, 10 * time.Second}, // alone it takes 18 s and 1 s
		{2 * maxJobs, true, 3 * time.Minute}, {2 * maxJobs, false, 90 * time.Second}, // each is tried once
	} {
		t.Run(fmt.Sprintf("%d of them, sessions live: %v", c.drips, c.live), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				next := simulated(t)
				s, m := home(t)
				defer time.Sleep(2 * time.Second) // until those who trickle have seen that nobody waits for them
				var from []host.Host
				for range c.drips + 1 {
					from = append(from, next())
				}
				slices.SortFunc(from, func(a, b host.Host) int { return cmp.Compare(a.ID(), b.ID()) })
				good := give(t, &giver{Host: from[c.drips]}) // which is asked last
				for _, h := range from[:c.drips] {
					h.SetStreamHandler(protocol.PartsID, func(st network.Stream) {
						defer st.Reset()
						drip(st)
					})
				}
				f := fetcherAt(t, next(), s, m, func(f *FetcherConfig) {
					f.Live, f.Patience = func() bool { return c.live }, patience
				}, from...)
				began := time.Now()
				if err := f.Fetch(t.Context(), whole(), nil); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(began); took > c.most || good.bytes() < allBytes() {
					t.Errorf("it took %v, with %d of %d bytes from the peer that works", took, good.bytes(), allBytes())
				}
				mustHave(t, f, whole())
			})
		})
	}
}

// Where an owner gives little, or a peer stands aside for sessions for as long as it may, nothing has to be asked for twice.
func TestFetch_WaitsForWhoGivesLittle(t *testing.T) {
	span := store.Span{Start: 1, End: 2}
	for _, c := range []struct {
		netRate  uint64
		fetchers int
		live     bool
	}{{64_000 / 8, 1, false}, {1_000_000 / 8, 8, true}} {
		t.Run(fmt.Sprintf("%d bytes a second for %d, sessions live: %v", c.netRate, c.fetchers, c.live), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				next := simulated(t)
				_, m := home(t, 2)
				h := next()
				server, err := Serve(h, m, NewUplink(c.netRate))
				if err != nil {
					t.Fatal(err)
				}
				defer server.Close()
				server.Live(func() bool { return c.live })
				var all sync.WaitGroup
				for range c.fetchers {
					s, m := home(t)
					f := fetcherAt(t, next(), s, m, nil, h)
					all.Go(func() {
						if err := f.Fetch(t.Context(), span, nil); err != nil {
							t.Error(err)
						}
					})
				}
				all.Wait()
				if want := int64(c.fetchers) * m.Manifest.Parts[2].Size; server.Sent() != want {
					t.Errorf("%d bytes were sent, want %d", server.Sent(), want)
				}
			})
		})
	}
	t.Run("stands aside", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			next := simulated(t)
			s, m := home(t)
			g := give(t, &giver{Host: next(), before: func(int) { time.Sleep(14 * time.Second) }})
			f := fetcherAt(t, next(), s, m, func(f *FetcherConfig) { f.Live = func() bool { return true } }, g)
			if err := f.Fetch(t.Context(), span, nil); err != nil || g.bytes() != m.Manifest.Parts[2].Size {
				t.Errorf("%d of %d bytes were sent: %v", g.bytes(), m.Manifest.Parts[2].Size, err)
			}
		})
	})
}
