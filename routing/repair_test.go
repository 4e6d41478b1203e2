package routing

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// replicas are n peers with all layers, each a little slower than the one before: 100 ms a token and some.
func replicas(n int) (offers []protocol.Offer, m Measures) {
	m.RTT = make(map[peer.ID]time.Duration)
	for i := range n {
		o := offered(string(rune('a'+i)), 0, 10, 10, uint32(100-i))
		offers = append(offers, o)
		m.RTT[o.Peer] = time.Millisecond
	}
	return offers, m
}

func TestRepair_AsksUntilNobodyIsBetter(t *testing.T) {
	for _, c := range []struct {
		name string
		n    int
		busy map[string]uint32 // of whoever is asked; others: 0
		want string            // the chains in turn
	}{
		{"who is free is kept", 3, nil, "a 0:10"},
		{"who is busy is left", 3, map[string]uint32{"a": 500}, "a 0:10; b 0:10"},
		{"a little busy is not worth another open", 3, map[string]uint32{"a": 50}, "a 0:10"},
		{"the next one is busy too", 3, map[string]uint32{"a": 700, "b": 600}, "a 0:10; b 0:10; c 0:10"},
		{"all are: back to the first", 2, map[string]uint32{"a": 500, "b": 700}, "a 0:10; b 0:10; a 0:10"},
		{"four rounds, then the best that is known", 6, map[string]uint32{"a": 500, "b": 700, "c": 700, "d": 700, "e": 700},
			"a 0:10; b 0:10; c 0:10; d 0:10; a 0:10"},
	} {
		t.Run(c.name, func(t *testing.T) {
			offers, m := replicas(c.n)
			hops, err := Plan(offers, m, 10)
			if err != nil {
				t.Fatal(err)
			}
			got := spelled(hops)
			r := NewRepair(offers, m, 10, hops)
			for hops != nil {
				busy := make(map[peer.ID]uint32)
				for _, h := range hops {
					busy[h.Peer] = c.busy[string(h.Peer)]
				}
				if hops = r.Next(busy); hops != nil {
					got += "; " + spelled(hops)
				}
			}
			if got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestRepair_EndsWhateverPeersSay(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 4))
	for range 200 {
		offers, m := someSwarm(rng, 5)
		hops, err := Plan(offers, m, 5)
		if err != nil {
			continue
		}
		r := NewRepair(offers, m, 5, hops)
		for rounds := 0; hops != nil; rounds++ {
			if rounds > repairRounds {
				t.Fatal("it goes on and on")
			}
			busy := make(map[peer.ID]uint32)
			for _, h := range hops {
				busy[h.Peer] = rng.Uint32()
			}
			hops = r.Next(busy)
		}
	}
}

func TestWorth_WeighsWhatIsSavedAgainstTheReplay(t *testing.T) {
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	for _, c := range []struct {
		name      string
		now, then int // milliseconds
		tokens    int
		replay    int
		want      bool
	}{
		{"half the time, for nothing", 100, 50, 0, 0, true},
		{"a tenth is not enough", 100, 90, 1000, 0, false},
		{"a little more is", 100, 89, 1000, 0, true},
		{"64 tokens ahead save 3,200 ms", 100, 50, 0, 1599, true},
		{"which is not more than twice 1,600", 100, 50, 0, 1600, false},
		{"whoever has had many has many before it", 100, 50, 1000, 20_000, true},
		{"and may still not win them back", 100, 50, 1000, 25_000, false},
		{"slower", 50, 100, 1000, 0, false},
		{"nothing is known", 0, 0, 1000, 0, false},
	} {
		if got := Worth(ms(c.now), ms(c.then), c.tokens, ms(c.replay)); got != c.want {
			t.Errorf("%s: %t", c.name, got)
		}
	}
}

func TestCrowd_SaysHowLongANewcomerWaits(t *testing.T) {
	c := Crowd{Away: 90 * time.Millisecond, Alone: 10 * time.Millisecond, Decode: 1000, Prefill: 5000}
	if got := c.Busy(); got != 0 {
		t.Errorf("with nobody there %d", got)
	}
	last := uint32(0)
	for _, n := range []int{1, 4, 16, 64, 256, 1 << 30} {
		c.Sessions = n
		got := c.Busy()
		if got <= last && got != mostBusy || got > mostBusy {
			t.Errorf("%d sessions make it %d, fewer %d", n, got, last)
		}
		last = got
	}
	// What is measured counts: steps took twice as long as alone among 4, and nobody has come since.
	c.Sessions, c.Stepping, c.More = 3, 4, 10_150*time.Microsecond
	if got := c.Busy(); got != 500 {
		t.Errorf("steps take twice as long, with what a hop costs, and it says %d", got)
	}
	c.Sessions = 12
	if got := c.Busy(); got <= 500 {
		t.Errorf("eight more have come, and it says %d", got)
	}
	if got := (Crowd{Share: 1000, Alone: time.Second}).Busy(); got != 333 {
		t.Errorf("with a device that computes all the time, half a pass is waited for: %d", got)
	}
	if got := (Crowd{Sessions: -1, Share: -1, More: -5, Stepping: -2}).Busy(); got != 0 {
		t.Errorf("nonsense makes it %d", got)
	}
}
