package routing

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/protocol"
)

func TestKeepers_AreLookedUpWhenTheyAreNeeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls, fault := 0, error(nil)
		var found []peer.ID
		for i := range bucketSize {
			found = append(found, peer.ID(rune('a'+i)))
		}
		k := newKeepers(func(context.Context, string) ([]peer.ID, error) { calls++; return found, fault })
		ask := func(why string, want []peer.ID, wantCalls int) {
			t.Helper()
			if got := k.of(t.Context(), testModel); !slices.Equal(got, want) || calls != wantCalls {
				t.Errorf("%s: %v after %d lookups, want %v after %d", why, got, calls, want, wantCalls)
			}
		}
		five := found[:keeperCount]
		for n := range youngLooks {
			ask("at first", five, n+1)
			time.Sleep(keepersYoung - time.Second)
			ask("at first, while they are young", five, n+1)
			time.Sleep(time.Second)
		}
		n := youngLooks + 1
		ask("later", five, n)
		time.Sleep(keepersFresh - time.Second)
		ask("while they are fresh", five, n)
		time.Sleep(time.Second)
		ask("after five minutes", five, n+1)
		k.stale(testModel)
		found = found[1:3]
		ask("after a failed push", found, n+2)
		time.Sleep(keepersYoung - time.Second)
		ask("in a small swarm, while they are young", found, n+2)
		time.Sleep(time.Second)
		ask("in a small swarm, soon after", found, n+3)
		k.stale(testModel)
		found, fault = nil, errors.New("nobody")
		ask("when the lookup fails the old ones count", []peer.ID{"b", "c"}, n+4)
		found = []peer.ID{"x"}
		ask("what a cut lookup found is used beside the old ones", []peer.ID{"b", "c", "x"}, n+5)
		found = []peer.ID{"c", "y"}
		ask("but not remembered", []peer.ID{"b", "c", "y"}, n+6)
		for i := range 2 * maxKeptModels {
			fault = nil
			k.of(t.Context(), protocol.Digest{1, byte(i)})
		}
		if len(k.models) > maxKeptModels {
			t.Errorf("keepers of %d models are remembered", len(k.models))
		}
	})
}

func TestKeepers_OneLookupAtATimeForStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeepers(func(ctx context.Context, _ string) ([]peer.ID, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		began := time.Now()
		go k.ofNow(t.Context(), testModel)
		synctest.Wait()
		if got := k.ofNow(t.Context(), testModel); got != nil || time.Since(began) > 0 {
			t.Errorf("got %v after %v", got, time.Since(began))
		}
		time.Sleep(hintTimeout)
		synctest.Wait()
		k.ofNow(t.Context(), testModel)
		if took := time.Since(began); took != 2*hintTimeout {
			t.Errorf("two lookups took %v", took)
		}
	})
}
