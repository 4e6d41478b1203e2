package parts

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"

	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/shard/store"
)

func TestFetch_TakesEachChunkOnceFromWhoeverHasIt(t *testing.T) {
	s, m := home(t)
	a := give(t, &giver{has: func(part int) bool { return part < 3 }})
	b := give(t, &giver{has: func(part int) bool { return part >= 2 }})
	f := fetcher(t, s, m, nil, a, b)
	var last int64
	err := f.Fetch(t.Context(), whole(), func(done, total int64) {
		if done < last || total != allBytes() {
			t.Errorf("%d of %d bytes are here after %d", done, total, last)
		}
		last = done
	})
	if err != nil {
		t.Fatal(err)
	}
	mustHave(t, f, whole())
	if got := a.bytes() + b.bytes(); got != allBytes() || last != allBytes() {
		t.Errorf("%d bytes were sent and %d reported of %d", got, last, allBytes())
	}
	if a.bytes() == 0 || b.bytes() == 0 {
		t.Errorf("the peers sent %d and %d bytes", a.bytes(), b.bytes())
	}
	if err := f.Fetch(t.Context(), whole(), nil); err != nil || a.bytes()+b.bytes() != allBytes() {
		t.Errorf("a second fetch: %v", err)
	}
	if got := f.Fetched(); got != (Fetched{Bytes: allBytes(), Parts: int64(len(m.Manifest.Parts))}) {
		t.Errorf("%+v were fetched, of %d parts with %d bytes", got, len(m.Manifest.Parts), allBytes())
	}
}

func TestFetch_OfASpanTakesItsPartsAlone(t *testing.T) {
	s, m := home(t)
	f := fetcher(t, s, m, nil, give(t, &giver{}))
	if err := f.Fetch(t.Context(), store.Span{Start: 1, End: 2}, nil); err != nil {
		t.Fatal(err)
	}
	if got := f.Model().Local.Parts; !slices.Equal(got, []int{2}) {
		t.Errorf("parts %v are here", got)
	}
	if err := f.Fetch(t.Context(), store.Span{Start: 2, End: 3}, nil); err != nil {
		t.Fatal(err)
	}
	if got := f.Model().Local.Parts; !slices.Equal(got, []int{2, 3, 4}) {
		t.Errorf("parts %v are here", got)
	}
	for _, bad := range []store.Span{{Start: 0, End: 4}, {Start: 2, End: 2}, {Start: -1, End: 1}} {
		if err := f.Fetch(t.Context(), bad, nil); err == nil {
			t.Errorf("layers %v were fetched", bad)
		}
	}
}

// raw is a peer that answers in a way of its own.
func raw(t *testing.T, answer func(network.Stream)) host.Host {
	h := newHost(t)
	h.SetStreamHandler(protocol.PartsID, func(st network.Stream) {
		defer st.Reset()
		answer(st)
	})
	return h
}

// each answers every request on a stream.
func each(answer func(protocol.Get) any) func(network.Stream) {
	return func(st network.Stream) {
		for {
			msg, err := protocol.ReadMessage(st, protocol.Limits{})
			if err != nil {
				return
			}
			get, _ := msg.(protocol.Get)
			if err := protocol.WriteMessage(st, answer(get)); err != nil {
				return
			}
		}
	}
}

func TestFetch_GoesOnBesideBadPeers(t *testing.T) {
	span := store.Span{Start: 1, End: 3}
	closing := make(chan struct{})
	t.Cleanup(func() { close(closing) })
	for name, bad := range map[string]func(t *testing.T) host.Host{
		"one that sends wrong bytes": func(t *testing.T) host.Host {
			return give(t, &giver{spoil: func(_ int, chunk []byte) []byte {
				wrong := slices.Clone(chunk)
				wrong[len(wrong)-1]++
				return wrong
			}})
		},
		"one that sends wrong bytes later on": func(t *testing.T) host.Host {
			return give(t, &giver{spoil: func(n int, chunk []byte) []byte {
				if n < 30 {
					return chunk
				}
				return make([]byte, len(chunk))
			}})
		},
		"one that claims a huge chunk": func(t *testing.T) host.Host {
			return raw(t, each(func(protocol.Get) any { return protocol.Data{Total: 1 << 40, Bytes: make([]byte, 1<<10)} }))
		},
		"one that sends more than was asked for": func(t *testing.T) host.Host {
			return raw(t, each(func(g protocol.Get) any { return protocol.Data{Total: 4 << 20, Bytes: make([]byte, g.Length+1)} }))
		},
		"one that sends nothing at a time": func(t *testing.T) host.Host {
			return raw(t, each(func(protocol.Get) any { return protocol.Data{Total: 4 << 20} }))
		},
		"one that answers with something else": func(t *testing.T) host.Host {
			return raw(t, each(func(protocol.Get) any { return protocol.PutDone{} }))
		},
		"one that sends no frames": func(t *testing.T) host.Host {
			return raw(t, func(st network.Stream) { _, _ = io.Copy(st, strings.NewReader(strings.Repeat("x", 1<<20))) })
		},
		"one that never answers": func(t *testing.T) host.Host {
			return raw(t, func(network.Stream) { <-closing })
		},
		"one that sends a byte at a time": func(t *testing.T) host.Host {
			return raw(t, func(st network.Stream) {
				for {
					if _, err := st.Write([]byte{0}); err != nil {
						return
					}
					select {
					case <-time.After(100 * time.Millisecond):
					case <-closing:
						return
					}
				}
			})
		},
		"one that is not there": func(t *testing.T) host.Host {
			h := newHost(t)
			h.Close()
			return h
		},
		"one that speaks no such protocol": func(t *testing.T) host.Host { return newHost(t) },
		"one that is always busy": func(t *testing.T) host.Host {
			return raw(t, each(func(protocol.Get) any { return protocol.Failure{Code: protocol.CodeBusy} }))
		},
		"one that dies in the middle": func(t *testing.T) host.Host {
			g := &giver{}
			g.before = func(n int) {
				if n == 30 {
					go g.Close()
				}
			}
			return give(t, g)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, m := home(t)
			good := give(t, &giver{})
			f := fetcher(t, s, m, nil, bad(t), good)
			if err := f.Fetch(t.Context(), span, nil); err != nil {
				t.Fatal(err)
			}
			mustHave(t, f, span)
		})
	}
}

func TestFetch_AsksALiarNoMore(t *testing.T) {
	s, m := home(t)
	liar := give(t, &giver{spoil: func(_ int, chunk []byte) []byte { return make([]byte, len(chunk)) }})
	f := fetcher(t, s, m, nil, liar, give(t, &giver{}))
	if err := f.Fetch(t.Context(), whole(), nil); err != nil {
		t.Fatal(err)
	}
	if n := len(liar.wanted()); n > 1 {
		t.Errorf("a peer whose first chunk was wrong was asked for %d", n)
	}
	if got := f.Fetched(); got.Liars != 1 || got.Bytes != allBytes() {
		t.Errorf("of one liar and %d bytes there are %+v", allBytes(), got)
	}
	mustHave(t, f, whole())
}

// TestFetch_GoesOnWhereItWasCutOff is a story of fetches that end anywhere: what was verified before is not asked for again,
// whatever happened to the files meanwhile.
func TestFetch_GoesOnWhereItWasCutOff(t *testing.T) {
	for seed := range uint64(2) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, 0))
			dir := t.TempDir()
			s, m := homeIn(t, dir)
			for round := range 50 {
				if random.IntN(3) == 0 {
					spoilPartial(t, dir, random) // as a power cut may
				}
				here := chunksHere(t, s, m)
				ctx, cancel := context.WithCancel(t.Context())
				stopAt := int64(random.IntN(60)) // requests
				g := give(t, &giver{before: func(n int) {
					if int64(n) == stopAt && round < 49 {
						cancel()
					}
				}})
				f := fetcher(t, s, m, nil, g)
				err := f.Fetch(ctx, whole(), nil)
				cancel()
				for hash := range g.wanted() {
					if here[hash] {
						t.Fatalf("round %d: a chunk that was here was asked for", round)
					}
				}
				if err == nil {
					mustHave(t, f, whole())
					return
				}
				if !errors.Is(err, context.Canceled) {
					t.Fatal(err)
				}
				if err := store.Verify(t.Context(), f.Model()); err != nil {
					t.Fatal(err)
				}
			}
			t.Error("it did not end in 50 rounds")
		})
	}
}

// chunksHere gives the chunks that have been verified and kept.
func chunksHere(t *testing.T, s *store.Store, m *store.Model) map[protocol.Digest]bool {
	t.Helper()
	here := map[protocol.Digest]bool{}
	for part, p := range m.Manifest.Parts {
		fill, err := s.Fill(m, part)
		lacks := map[int]bool{}
		switch {
		case err == nil:
			for _, c := range fill.Missing() {
				lacks[c] = true
			}
			if err := fill.Close(); err != nil {
				t.Fatal(err)
			}
		case !errors.Is(err, store.ErrPartHere):
			t.Fatal(err)
		}
		for c := range p.Chunks {
			here[chunkHash(p, c)] = !lacks[c]
		}
	}
	return here
}

func TestFetch_OfTwoProcessesTakesEverythingOnce(t *testing.T) {
	s, m := home(t)
	g := give(t, &giver{})
	var all sync.WaitGroup
	for range 3 {
		f := fetcher(t, s, m, nil, g)
		all.Go(func() {
			if err := f.Fetch(t.Context(), whole(), nil); err != nil {
				t.Error(err)
			}
			mustHave(t, f, whole())
		})
	}
	all.Wait()
	if g.bytes() != allBytes() {
		t.Errorf("%d bytes were sent of %d", g.bytes(), allBytes())
	}
}

func TestFetch_GoesOnWhenTheOtherProcessGivesUp(t *testing.T) {
	s, m := home(t)
	ctx, cancel := context.WithCancel(t.Context())
	g := give(t, &giver{before: func(n int) {
		if n == 10 {
			cancel()
		}
	}})
	first, second := fetcher(t, s, m, nil, g), fetcher(t, s, m, nil, g)
	started := make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		_ = first.Fetch(ctx, whole(), func(int64, int64) {
			select {
			case started <- struct{}{}:
			default:
			}
		})
	})
	<-started
	all.Go(func() {
		if err := second.Fetch(t.Context(), whole(), nil); err != nil {
			t.Error(err)
		}
	})
	all.Wait()
	mustHave(t, second, whole())
}

func TestFetch_SaysWhatNobodyHas(t *testing.T) {
	s, m := home(t)
	g := give(t, &giver{has: func(part int) bool { return part != 0 && part != 2 && part != 3 }})
	impatient := func(c *FetcherConfig) { c.Patience = time.Second }
	f := fetcher(t, s, m, impatient, g)
	err := f.Fetch(t.Context(), whole(), nil)
	if err == nil || !strings.Contains(err.Error(), "embed, layers 1:3") || !strings.Contains(err.Error(), "import it here") || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v", err)
	}
	if got := f.Model().Local.Parts; !slices.Equal(got, []int{1, 4}) {
		t.Errorf("parts %v are here", got)
	}
	err = fetcher(t, s, m, impatient).Fetch(t.Context(), whole(), nil)
	if err == nil || !strings.Contains(err.Error(), "nobody was found") {
		t.Errorf("without peers: %v", err)
	}
}

func TestFetch_TakesLittleAtATimeWhileSessionsLive(t *testing.T) {
	s, m := home(t)
	a, b := give(t, &giver{}), give(t, &giver{})
	var now, most atomic.Int32
	for _, g := range []*giver{a, b} {
		g.before = func(int) {
			most.Store(max(most.Load(), now.Add(1)))
			time.Sleep(time.Millisecond)
			now.Add(-1)
		}
	}
	f := fetcher(t, s, m, func(c *FetcherConfig) { c.Live = func() bool { return true } }, a, b)
	if err := f.Fetch(t.Context(), store.Span{Start: 1, End: 2}, nil); err != nil {
		t.Fatal(err)
	}
	if largest := max(a.largest(), b.largest()); largest > smallPiece || most.Load() > 1 {
		t.Errorf("%d at a time, of %d bytes", most.Load(), largest)
	}
}

// A disk that is too small is told of before anything is asked for, and what it lacks is what is still to come.
func TestFetch_AsksForNothingThatTheDiskHasNoRoomFor(t *testing.T) {
	s, m := home(t)
	g := give(t, &giver{})
	free := allBytes() - 1
	f := fetcher(t, s, m, func(c *FetcherConfig) { c.Free = func() (int64, error) { return free, nil } }, g)
	err := f.Fetch(t.Context(), whole(), nil)
	if err == nil || !strings.Contains(err.Error(), "MiB are to come, and the home's disk has room for ") || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v", err)
	}
	if n := len(g.wanted()); n > 0 {
		t.Errorf("%d chunks were asked for", n)
	}
	if err := f.Fetch(t.Context(), store.Span{Start: 1, End: 2}, nil); err != nil {
		t.Errorf("of a layer that it has room for: %v", err)
	}
	free -= 1 << 20
	if err := f.Fetch(t.Context(), whole(), nil); err != nil {
		t.Errorf("with that layer there the others have room, but: %v", err)
	}
	mustHave(t, f, whole())
}

// What the system says of the store's own disk is a number that can be.
func TestFetch_KnowsTheStoresDisk(t *testing.T) {
	s, _ := home(t)
	if free, err := s.Free(); err != nil || free <= 0 {
		t.Errorf("room for %d bytes, %v", free, err)
	}
}

func TestFetch_TellsOfAModelThatWasRemovedMeanwhile(t *testing.T) {
	s, m := home(t)
	g := give(t, &giver{before: func(n int) {
		if n == 20 {
			if err := s.Remove("toy"); err != nil {
				t.Error(err)
			}
		}
	}})
	err := fetcher(t, s, m, nil, g).Fetch(t.Context(), whole(), nil)
	if err == nil || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v", err)
	}
}
