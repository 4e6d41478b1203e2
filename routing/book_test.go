package routing

import (
	"fmt"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// noted is an offer with a sequence and a life.
func noted(id string, sequence uint64, life time.Duration) *protocol.Offer {
	o := told(offered(id, 0, 1, 1, 1), func(o *protocol.Offer) {
		o.Sequence, o.LifeMS, o.Model = sequence, uint32(life.Milliseconds()), protocol.Digest{1}
	})
	return &o
}

func TestBook_KeepsTheNewestOfferToItsEnd(t *testing.T) {
	start := time.Unix(1000, 0)
	type add struct {
		after    time.Duration
		sequence uint64
		life     time.Duration
		age      time.Duration
		news     bool
	}
	for _, c := range []struct {
		name string
		adds []add
		look time.Duration
		want uint64 // the sequence seen then, 0: none
		age  time.Duration
	}{
		{"alive", []add{{0, 5, 24 * time.Second, 0, true}}, 23 * time.Second, 5, 23 * time.Second},
		{"over", []add{{0, 5, 24 * time.Second, 0, true}}, 24 * time.Second, 0, 0},
		{"renewed", []add{{0, 5, 24 * time.Second, 0, true}, {8 * time.Second, 6, 24 * time.Second, 0, true}}, 31 * time.Second, 6, 23 * time.Second},
		{"replayed while alive", []add{{0, 5, 24 * time.Second, 0, true}, {20 * time.Second, 5, 24 * time.Second, 0, false}}, 24 * time.Second, 0, 0},
		{"an older one later", []add{{0, 5, 24 * time.Second, 0, true}, {time.Second, 4, 24 * time.Second, 0, false}}, 2 * time.Second, 5, 2 * time.Second},
		{"revived after its end", []add{{0, 5, 24 * time.Second, 0, true}, {time.Minute, 5, 24 * time.Second, 0, false}}, time.Minute, 0, 0},
		{"relayed with an age", []add{{0, 5, 24 * time.Second, 20 * time.Second, true}}, 4 * time.Second, 0, 0},
		{"relayed when it is over", []add{{0, 5, 24 * time.Second, 24 * time.Second, false}}, 0, 0, 0},
		{"leaving", []add{{0, 5, 24 * time.Second, 0, true}, {time.Second, 6, 5 * time.Second, 0, true}}, 6 * time.Second, 0, 0},
		{"forgotten in the end", []add{{0, 5, time.Second, 0, true}, {rememberFor + 2*time.Second, 5, time.Second, 0, true}}, rememberFor + 2*time.Second, 5, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBook()
			for _, a := range c.adds {
				news, err := b.add(noted("a", a.sequence, a.life), []byte{1}, a.age, start.Add(a.after))
				if err != nil || news != a.news {
					t.Fatalf("adding %d: news %v, %v", a.sequence, news, err)
				}
			}
			seen := b.seen(protocol.ModelID{}, start.Add(c.look))
			switch {
			case c.want == 0 && len(seen) > 0:
				t.Errorf("still there: %+v", seen)
			case c.want != 0 && (len(seen) != 1 || seen[0].Offer.Sequence != c.want || seen[0].Age != c.age):
				t.Errorf("got %+v, want sequence %d of age %v", seen, c.want, c.age)
			}
		})
	}
}

// Who knows no live offer may ask the peers whose offers have ended, but not those that have left.
func TestBook_RemembersWhoseOffersHaveEnded(t *testing.T) {
	start := time.Unix(1000, 0)
	b := newBook()
	leaves := noted("left", 5, time.Second)
	leaves.State = protocol.Leaving
	for id, o := range map[string]*protocol.Offer{"left": leaves, "ended": noted("ended", 5, time.Second), "alive": noted("alive", 5, time.Minute)} {
		if _, err := b.add(o, []byte(id), 0, start); err != nil {
			t.Fatal(err)
		}
	}
	b.seen(testModel, start.Add(2*time.Second))
	if got := b.ended(); len(got) != 1 || got[0] != peer.ID("ended") {
		t.Errorf("ended: %v", got)
	}
}

func TestBook_HoldsABoundedNumber(t *testing.T) {
	b, now := newBook(), time.Unix(1000, 0)
	fill := func(model byte, n int) (refused int) {
		for i := range n {
			o := noted(fmt.Sprintf("%d-%d", model, i), 1, 24*time.Second)
			o.Model = protocol.Digest{model}
			if _, err := b.add(o, []byte{1}, 0, now); err != nil {
				refused++
			}
		}
		return refused
	}
	if refused := fill(1, maxModelOffers+10); refused != 10 {
		t.Errorf("of one model %d of 10 too many were refused", refused)
	}
	for m := byte(2); m <= 4; m++ {
		fill(m, maxModelOffers)
	}
	if refused := fill(5, 10); refused != 10 {
		t.Errorf("of all models %d of 10 too many were refused", refused)
	}
	if _, err := b.add(noted("1-0", 2, 24*time.Second), []byte{1}, 0, now); err != nil {
		t.Errorf("a renewal was refused: %v", err)
	}
	answer := b.list(protocol.Digest{1}, 100, now)
	if len(answer.Sealed) != 100 || len(answer.AgesMS) != 100 {
		t.Errorf("a list of 100 has %d", len(answer.Sealed))
	}
	if n := len(b.list(protocol.ModelID{}, 0, now).Sealed); n != protocol.MaxListOffers {
		t.Errorf("a list of all has %d", n)
	}
	now = now.Add(25 * time.Second)
	if refused := fill(6, 10); refused != 0 {
		t.Errorf("after the others' end %d of 10 were refused", refused)
	}
}

func TestRecord_SmoothsRoundTripsAndIsBounded(t *testing.T) {
	r := newRecord()
	r.measured("a", 8*time.Millisecond)
	r.measured("a", 16*time.Millisecond)
	if rtt := r.measures(time.Now(), nil).RTT["a"]; rtt != 9*time.Millisecond {
		t.Errorf("a slow answer makes the round trip %v, want 9ms", rtt)
	}
	r.measured("a", 2*time.Millisecond)
	if rtt := r.measures(time.Now(), nil).RTT["a"]; rtt != 2*time.Millisecond {
		t.Errorf("a fast answer makes the round trip %v, want 2ms", rtt)
	}
	for i := range 2*maxMeasured + 1 {
		r.measured(peer.ID(fmt.Sprint(i)), time.Millisecond)
	}
	if n := len(r.measures(time.Now(), nil).RTT); n > maxMeasured {
		t.Errorf("%d round trips are kept", n)
	}
}

func TestBook_KeepsNothingOfTheListThatAnOfferCameIn(t *testing.T) {
	now := time.Unix(1000, 0)
	list := make([]byte, protocol.MaxListBytes)
	b := newBook()
	if _, err := b.add(noted("a", 1, offerLife), list[:300], 0, now); err != nil {
		t.Fatal(err)
	}
	if kept := b.sealedOf(peer.ID("a"), now); len(kept) != 300 || &kept[0] == &list[0] {
		t.Errorf("%d bytes are kept, within the list", len(kept))
	}
}

// TestBook_TellsWhenSomebodyServesSomethingElse, and not of renewals: who waits for news would never rest.
func TestBook_TellsWhenSomebodyServesSomethingElse(t *testing.T) {
	b, now := newBook(), time.Unix(1000, 0)
	sequence := uint64(0)
	add := func(change func(*protocol.Offer)) bool {
		t.Helper()
		sequence++
		o := noted("a", sequence, 24*time.Second)
		o.Layers, o.Target = 8, protocol.Span{Start: 0, End: 1}
		change(o)
		before := b.changed()
		if news, err := b.add(o, nil, 0, now); err != nil || !news {
			t.Fatalf("an offer was not taken: %v", err)
		}
		select {
		case <-before:
			return true
		default:
			return false
		}
	}
	for _, c := range []struct {
		name   string
		change func(*protocol.Offer)
		want   bool
	}{
		{"it comes", func(*protocol.Offer) {}, true},
		{"the same again", func(*protocol.Offer) {}, false},
		{"faster and busier", func(o *protocol.Offer) { o.DecodeRate, o.Queue = 7, 9 }, false},
		{"another target", func(o *protocol.Offer) { o.Target.End = 2 }, true},
		{"back again", func(*protocol.Offer) {}, true},
		{"leaving", func(o *protocol.Offer) { o.State = protocol.Leaving }, true},
	} {
		if got := add(c.change); got != c.want {
			t.Errorf("%s: told is %v", c.name, got)
		}
	}
	now = now.Add(time.Minute)
	if !add(func(o *protocol.Offer) { o.State = protocol.Leaving }) {
		t.Error("nobody is told of one whose last offer is over")
	}
}

// A peer whose clock was set back, and whom nobody has told, is believed by whom it answers itself; who relays what its former
// process said is not.
func TestBook_BelievesAPeerThatIsBornAgain(t *testing.T) {
	start := time.Unix(1000, 0)
	of := func(boot, sequence uint64) *protocol.Offer {
		o := noted("a", sequence, 24*time.Second)
		o.Boot = boot
		return o
	}
	later := start.Add(time.Minute)
	for _, c := range []struct {
		name           string
		boot, sequence uint64
		at             time.Time
		news           bool
	}{
		{"when its former process is over", 2, 5, later, true},
		{"not while that may live", 2, 5, start.Add(time.Second), false},
		{"not of the same process", 1, 5, later, false},
		{"not if it does not say", 0, 5, later, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBook()
			if _, err := b.add(of(1, 9), []byte{1}, 0, start); err != nil {
				t.Fatal(err)
			}
			o := of(c.boot, c.sequence)
			if news, err := b.add(o, []byte{2}, 0, c.at); news || err != nil {
				t.Fatalf("a relay is believed: %v, %v", news, err)
			}
			if got := b.doubtful(o, c.at); got != c.news {
				t.Errorf("the peer itself is asked: %v", got)
			}
			b.reborn(o, c.at)
			if news, err := b.add(o, []byte{2}, 0, c.at); news != c.news || err != nil {
				t.Fatalf("news %v, %v", news, err)
			}
			if !c.news {
				return
			}
			if newest := b.above(o.Peer, o.Sequence); newest != 9 {
				t.Errorf("the peer is told of sequence %d, and others remember 9", newest)
			}
			for _, old := range []*protocol.Offer{of(1, 9), of(1, 10)} {
				b.reborn(old, c.at.Add(time.Minute))
				if news, err := b.add(old, []byte{1}, 0, c.at.Add(time.Minute)); news || err != nil {
					t.Errorf("the former process is revived by its sequence %d: %v, %v", old.Sequence, news, err)
				}
			}
			if news, err := b.add(of(c.boot, c.sequence+1), []byte{3}, 0, c.at.Add(time.Minute)); !news || err != nil {
				t.Errorf("its renewal: %v, %v", news, err)
			}
		})
	}
}
