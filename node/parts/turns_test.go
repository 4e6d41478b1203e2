package parts

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

func newTurns(slots int) *turns {
	return &turns{slots: func() int { return slots }, asking: map[peer.ID]*turnOwner{}}
}

func TestTurns_GoToWhoHasGotLeast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := newTurns(1)
		got := map[peer.ID]int{}
		var mu sync.Mutex // guards got
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		var all sync.WaitGroup
		// One asks with eight streams, another with one, a third with one for half as much.
		for _, who := range []struct {
			id      peer.ID
			streams int
			bytes   int
		}{{"greedy", 8, 100}, {"modest", 1, 100}, {"small", 1, 50}} {
			for range who.streams {
				all.Go(func() {
					for ctx.Err() == nil {
						release, err := turns.take(ctx, who.id, who.bytes)
						if err != nil {
							return
						}
						time.Sleep(10 * time.Millisecond)
						mu.Lock()
						got[who.id] += who.bytes
						mu.Unlock()
						release()
						release() // twice is once
					}
				})
			}
		}
		all.Wait()
		total := got["greedy"] + got["modest"] + got["small"]
		for id, n := range got {
			// A turn about for each would be 0.4, 0.4 and 0.2; the greedy one's streams alone would have 0.84.
			if share := float64(n) / float64(total); share < 0.15 || share > 0.5 {
				t.Errorf("%s got %.2f of all", id, share)
			}
		}
		if turns.held != 0 || len(turns.asking) != 0 || len(turns.waiting) != 0 {
			t.Errorf("in the end %d are held, %d wait, %d peers are remembered", turns.held, len(turns.waiting), len(turns.asking))
		}
	})
}

func TestTurns_AreNoMoreThanThereAreSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := newTurns(3)
		now, most := 0, 0
		var mu sync.Mutex // guards both
		var all sync.WaitGroup
		for i := range 20 {
			all.Go(func() {
				release, err := turns.take(t.Context(), peer.ID(rune('a'+i%4)), 10)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				now++
				most = max(most, now)
				mu.Unlock()
				time.Sleep(time.Second)
				mu.Lock()
				now--
				mu.Unlock()
				release()
			})
		}
		all.Wait()
		if most != 3 {
			t.Errorf("%d at a time", most)
		}
	})
}

func TestTurns_RefuseWhoWaitsTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := newTurns(1)
		release, err := turns.take(t.Context(), "a", 1)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := turns.take(ctx, "b", 1); err == nil {
			t.Error("b got a turn that a holds")
		}
		release()
		if _, err := turns.take(t.Context(), "b", 1); err != nil {
			t.Error(err)
		}
	})
}
