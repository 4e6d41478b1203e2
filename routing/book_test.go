package routing

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
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
				news, err := b.hear("relay", noted("a", a.sequence, a.life), []byte{1}, a.age, start.Add(a.after))
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
			if news, err := b.hear("relay", o, []byte{2}, 0, c.at); news || err != nil {
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
				if news, err := b.hear("relay", old, []byte{1}, 0, c.at.Add(time.Minute)); news || err != nil {
					t.Errorf("the former process is revived by its sequence %d: %v, %v", old.Sequence, news, err)
				}
			}
			if news, err := b.add(of(c.boot, c.sequence+1), []byte{3}, 0, c.at.Add(time.Minute)); !news || err != nil {
				t.Errorf("its renewal: %v, %v", news, err)
			}
		})
	}
}

// A relay that makes up peers keeps out neither those that speak for themselves nor what other relays tell.
func TestBook_SharesItsRoom(t *testing.T) {
	type step struct {
		from   string // a relay; "": each peer itself
		offers int
		taken  int
		models int // over which they are spread; 0: one
		life   time.Duration
		after  time.Duration
		times  int
	}
	for _, c := range []struct {
		name  string
		steps []step
		live  map[string]int // in the end
	}{
		{"one floods a model", []step{
			{from: "evil", offers: 2000, taken: maxModelOffers},
			{offers: 1, taken: 1},
			{from: "honest", offers: 300, taken: 300},
			{from: "evil", offers: 100, taken: 0},
		}, map[string]int{"": 1, "honest": 300, "evil": maxModelOffers - 301}},
		{"one floods with many models", []step{
			{from: "evil", offers: 5000, taken: maxOffers, models: 64},
			{offers: 1, taken: 1},
			{from: "honest", offers: 300, taken: 300},
			{from: "evil", offers: 100, taken: 0, models: 64},
		}, map[string]int{"": 1, "honest": 300, "evil": maxOffers - 301}},
		{"one floods with what is soon over", []step{
			{from: "honest", offers: 384, taken: 384, life: 2 * time.Second, after: 3 * time.Second},
			{from: "evil", offers: 1000, taken: 1000, life: 2 * time.Second, after: 3 * time.Second, times: 16},
			{from: "evil", offers: 100, taken: 0},
			{offers: 1, taken: 1},
			{from: "honest", offers: 300, taken: 300},
		}, map[string]int{"": 1, "honest": 300}},
		{"what is remembered lives still", []step{
			{from: "evil", offers: 1024, taken: 1024, life: 2 * time.Second, after: 3 * time.Second, times: 12},
			{from: "evil", offers: 4096, taken: 4096, models: 4},
			{from: "evil", offers: 100, taken: 0},
			{offers: 1, taken: 1},
		}, map[string]int{"": 1, "evil": maxOffers - 1}},
		{"honest ones were there first", []step{
			{from: "a", offers: 300, taken: 300},
			{from: "b", offers: 300, taken: 300},
			{from: "c", offers: 300, taken: 300},
			{from: "evil", offers: 1000, taken: 146}, // 124 find room, and 22 take a place: then it has half of the others' 293
			{offers: 100, taken: 100},
		}, nil},
		{"a flood was there first", []step{
			{from: "evil", offers: 2000, taken: maxModelOffers},
			{from: "honest", offers: 1000, taken: 341},
		}, map[string]int{"honest": 341, "evil": 683}},
		{"all have spoken for themselves", []step{
			{offers: maxModelOffers, taken: maxModelOffers},
			{from: "honest", offers: 100, taken: 0},
			{offers: 10, taken: 0},
		}, map[string]int{"": maxModelOffers}},
		{"most have", []step{
			{offers: 1000, taken: 1000},
			{from: "evil", offers: 100, taken: 24},
			{offers: 30, taken: 24},
		}, map[string]int{"": maxModelOffers}},
		{"all that is remembered has", []step{
			{offers: maxModelOffers, taken: maxModelOffers, life: 2 * time.Second, after: 3 * time.Second, times: maxRemembered / maxModelOffers},
			{from: "honest", offers: 10, taken: 0},
			{offers: 10, taken: 0},
		}, map[string]int{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, now, n := newBook(), time.Unix(1000, 0), 0
			itself := map[peer.ID]time.Time{} // who has spoken, and until when it counts
			for i, s := range c.steps {
				for range max(s.times, 1) {
					taken := 0
					for range s.offers {
						n++
						o := noted(fmt.Sprint(n), 1, cmp.Or(s.life, offerLife))
						o.Model = protocol.Digest{byte(n % max(s.models, 1))}
						from := peer.ID(s.from)
						if from == "" {
							from = o.Peer
						}
						if news, err := b.hear(from, o, []byte(o.Peer), 0, now); err == nil && news {
							taken++
							if s.from == "" {
								itself[o.Peer] = now.Add(time.Duration(o.LifeMS) * time.Millisecond)
							}
						}
					}
					if taken != s.taken {
						t.Fatalf("step %d: %d of %d are taken, want %d", i, taken, s.offers, s.taken)
					}
					now = now.Add(s.after)
				}
			}
			recount(t, b, now)
			live := map[string]int{}
			for _, e := range b.liveOf(protocol.ModelID{}, now) {
				live[string(e.relay)]++
			}
			if c.live != nil && fmt.Sprint(live) != fmt.Sprint(c.live) {
				t.Errorf("live are %v, want %v", live, c.live)
			}
			for id, until := range itself {
				if b.entries[id] == nil || (now.Before(until) && b.offerOf(id, now) == nil) {
					t.Fatalf("%s has spoken for itself and gave way", id)
				}
			}
		})
	}
}

// recount compares what a book has counted with what it has.
func recount(t *testing.T, b *book, now time.Time) {
	t.Helper()
	live, models, sealed := 0, map[protocol.ModelID]int{}, 0
	relayed, modelOf, spare := map[peer.ID]int{}, map[protocol.ModelID]map[peer.ID]int{}, map[peer.ID]int{}
	for id, e := range b.entries {
		if e.peer != id {
			t.Fatalf("the entry of %s is of %s", id, e.peer)
		}
		if e.relay != "" && e.offer == nil && !b.reaped.Before(e.forget.Add(-rememberFor)) {
			spare[e.relay]++
			if _, ok := b.spare[e.relay][e]; !ok {
				t.Fatalf("%s is not among what may be forgotten", id)
			}
		}
		if e.offer == nil {
			continue
		}
		live++
		models[e.offer.Model]++
		if b.sealed[string(e.sealed)] == e {
			sealed++
		}
		if e.relay == "" {
			continue
		}
		relayed[e.relay]++
		if modelOf[e.offer.Model] == nil {
			modelOf[e.offer.Model] = map[peer.ID]int{}
		}
		modelOf[e.offer.Model][e.relay]++
		_, of := b.relayed[e.relay][e]
		_, ofModel := b.modelOf[e.offer.Model][e.relay][e]
		if !of || !ofModel {
			t.Fatalf("%s is not among what %s has told", id, e.relay)
		}
	}
	sizes := func(s shares) map[peer.ID]int {
		n := map[peer.ID]int{}
		for id, of := range s {
			n[id] = len(of)
		}
		return n
	}
	ofModels := map[protocol.ModelID]map[peer.ID]int{}
	for m, s := range b.modelOf {
		ofModels[m] = sizes(s)
	}
	got := fmt.Sprint(b.live, b.models, len(b.sealed), sizes(b.relayed), ofModels, sizes(b.spare))
	if want := fmt.Sprint(live, models, sealed, relayed, modelOf, spare); got != want {
		t.Fatalf("counted are %s, there are %s", got, want)
	}
	if b.live > maxOffers || len(b.entries) > maxRemembered {
		t.Fatalf("%d offers are kept, and %d sequences", b.live, len(b.entries))
	}
	for m, n := range b.models {
		if n > maxModelOffers {
			t.Fatalf("%d offers are kept of model %v", n, m)
		}
	}
}

// TestBook_CountsRight plays at random all that can happen to an offer, and counts again. Who has once spoken for itself
// never gives way, and no peer's sequence goes back while its offer lives by its own word.
func TestBook_CountsRight(t *testing.T) {
	type last struct {
		sequence uint64
		until    time.Time
	}
	rng := rand.New(rand.NewPCG(1, 2))
	b, now := newBook(), time.Unix(1000, 0)
	lasts, itself := map[peer.ID]last{}, map[peer.ID]time.Time{}
	relays := []peer.ID{"r1", "r2", "r2", "r3", "r3", "r3", "r3", "r4", "r4", "r4", "r4", "r4", "r4", "r4", "r4"}
	fullModel, full, fullMemory, refused := 0, 0, 0, 0
	for i := range 80_000 {
		now = now.Add(time.Duration(rng.IntN(8)) * time.Millisecond)
		o := noted(fmt.Sprint(rng.IntN(25_000)), uint64(i/10+rng.IntN(1000)), time.Duration(1+rng.IntN(60))*time.Second)
		o.Model = protocol.Digest{byte(rng.IntN(1 + rng.IntN(8)))}
		from := relays[rng.IntN(len(relays))]
		if rng.IntN(8) == 0 {
			from = o.Peer
		}
		sealed := fmt.Append(nil, o.Peer, o.Sequence)
		switch rng.IntN(16) {
		case 0:
			b.end(o.Peer, b.above(o.Peer, 0), now)
		case 1:
			o.Boot = uint64(1 + rng.IntN(3))
			if from = o.Peer; b.doubtful(o, now) {
				delete(lasts, o.Peer)
			}
			b.reborn(o, now)
		case 2:
			b.has(b.sealedOf(o.Peer, now), o.Peer)
			continue
		case 3:
			b.holds(b.sealedOf(o.Peer, now), from)
			continue
		}
		if b.models[o.Model] == maxModelOffers {
			fullModel++
		}
		if b.live == maxOffers {
			full++
		}
		if len(b.entries) == maxRemembered {
			fullMemory++
		}
		news, err := b.hear(from, o, sealed, 0, now)
		if l := lasts[o.Peer]; news && o.Sequence <= l.sequence && now.Before(l.until) {
			t.Fatalf("the sequence of %s goes back from %d to %d", o.Peer, l.sequence, o.Sequence)
		}
		if news {
			lasts[o.Peer] = last{o.Sequence, now.Add(time.Duration(o.LifeMS) * time.Millisecond)}
		}
		if from == o.Peer && news {
			itself[o.Peer] = now.Add(time.Duration(o.LifeMS) * time.Millisecond).Add(rememberFor)
		}
		if err != nil {
			refused++
		}
		if i%2000 == 0 {
			recount(t, b, now)
		}
	}
	for id, until := range itself {
		if e := b.entries[id]; now.Before(until) && (e == nil || e.relay != "") {
			t.Errorf("%s has spoken for itself and gave way", id)
		}
	}
	if min(fullModel, full, fullMemory, refused) < 100 {
		t.Errorf("a model was full %d times, all %d times, the memory %d times, and %d offers were refused", fullModel, full, fullMemory, refused)
	}
}

func TestBook_KnowsWhoHasSpokenForItself(t *testing.T) {
	start := time.Unix(1000, 0)
	told := func(from string, sequence uint64, at time.Duration) func(*book) {
		return func(b *book) {
			o := noted("a", sequence, 24*time.Second)
			o.Boot = 1
			_, _ = b.hear(peer.ID(from), o, fmt.Append(nil, sequence), 0, start.Add(at))
		}
	}
	for _, c := range []struct {
		name  string
		steps []func(*book)
		relay string // in the end
	}{
		{"itself", []func(*book){told("a", 5, 0)}, ""},
		{"a relay", []func(*book){told("r", 5, 0)}, "r"},
		{"another relay renews it", []func(*book){told("r", 5, 0), told("s", 6, time.Second)}, "r"},
		{"another relay tells of it when it is over", []func(*book){told("r", 5, 0), told("s", 6, time.Minute)}, "s"},
		{"it renews it itself", []func(*book){told("r", 5, 0), told("a", 6, time.Second)}, ""},
		{"a relay renews its own", []func(*book){told("a", 5, 0), told("r", 6, time.Second)}, ""},
		{"a relay renews its own that is over", []func(*book){told("a", 5, 0), told("r", 6, time.Minute)}, ""},
		{"it puts what is known", []func(*book){told("r", 5, 0), func(b *book) { b.has([]byte("5"), "a") }}, ""},
		{"it answers with what is known", []func(*book){told("r", 5, 0), func(b *book) { b.holds([]byte("5"), "a") }}, ""},
		{"another answers with what is known", []func(*book){told("r", 5, 0), func(b *book) { b.holds([]byte("5"), "s") }}, "r"},
		{"it is born again", []func(*book){told("r", 5, 0), func(b *book) {
			o := noted("a", 4, 24*time.Second)
			o.Boot = 2
			b.reborn(o, start.Add(time.Minute))
		}}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBook()
			for _, step := range c.steps {
				step(b)
			}
			if got := string(b.entries["a"].relay); got != c.relay {
				t.Errorf("it is of relay %q, want %q", got, c.relay)
			}
			recount(t, b, start)
		})
	}
}

// An offer that has given way is not told again, by its relay nor as if it were younger; its peer's next one is.
func TestBook_RemembersWhatHasGivenWay(t *testing.T) {
	b, now := newBook(), time.Unix(1000, 0)
	for i := range maxModelOffers {
		if _, err := b.hear("evil", noted(fmt.Sprint(i), 5, 24*time.Second), fmt.Append(nil, i), 0, now); err != nil {
			t.Fatal(err)
		}
	}
	news := b.changed()
	if _, err := b.add(noted("a", 1, 24*time.Second), []byte("a"), 0, now); err != nil {
		t.Fatal(err)
	}
	select {
	case <-news:
	default:
		t.Error("nobody is told that somebody's offer is no more")
	}
	ended := b.ended()
	if len(ended) != 1 {
		t.Fatalf("%d have given way", len(ended))
	}
	id := ended[0]
	if b.offerOf(id, now) != nil || b.sealedOf(id, now) != nil || len(b.seen(protocol.ModelID{}, now)) != maxModelOffers {
		t.Error("what has given way is seen")
	}
	for _, at := range []time.Duration{0, time.Second, time.Minute} {
		for _, from := range []peer.ID{"evil", "honest", id} {
			for sequence := range uint64(6) {
				if news, err := b.hear(from, noted(string(id), sequence, 24*time.Second), []byte("again"), 0, now.Add(at)); news || err != nil {
					t.Errorf("after %v %s brings back sequence %d: %v, %v", at, from, sequence, news, err)
				}
			}
		}
	}
	if news, err := b.hear("honest", noted(string(id), 6, 24*time.Second), []byte("6"), 0, now.Add(time.Minute)); !news || err != nil {
		t.Errorf("its renewal: %v, %v", news, err)
	}
}

// A peer may put its offer however many others somebody has made up.
func TestDirectory_TakesAPeersOwnOfferInAFlood(t *testing.T) {
	sealed := func() (peer.ID, []byte) {
		key, _, err := crypto.GenerateEd25519Key(nil)
		if err != nil {
			t.Fatal(err)
		}
		o := layers(0, 6)
		o.Version, o.Sequence, o.LifeMS, o.Boot = protocol.OfferVersion, 5, 60_000, 9
		if o.Peer, err = peer.IDFromPrivateKey(key); err != nil {
			t.Fatal(err)
		}
		s, err := protocol.Seal(o, key)
		if err != nil {
			t.Fatal(err)
		}
		return o.Peer, s
	}
	k := newMember(t, true)
	k.mustAnnounce(t, layers(0, 6))
	first, firsts := sealed()
	k.learn("evil", firsts, leastAge, time.Now())
	if done := k.take(first, protocol.Put{Offer: firsts}); done != (protocol.PutDone{}) {
		t.Fatalf("a peer that puts what is known is told %v", done)
	}
	for range maxModelOffers - 2 {
		_, s := sealed()
		k.learn("evil", s, leastAge, time.Now())
	}
	if n := len(k.Known(testModel)); n != maxModelOffers {
		t.Fatalf("%d offers are known", n)
	}
	put, puts := sealed()
	if done := k.take(put, protocol.Put{Offer: puts}); done != (protocol.PutDone{}) {
		t.Errorf("a peer that puts its offer is told %v", done)
	}
	answers, answer := sealed()
	k.learn(answers, answer, leastAge, time.Now())
	honest, relayed := sealed()
	k.learn("honest", relayed, leastAge, time.Now())
	for _, id := range []peer.ID{k.ID(), first, put, answers, honest} {
		if k.Sealed(id) == nil {
			t.Errorf("the offer of %s is not known", id)
		}
	}
}
