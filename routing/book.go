package routing

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// Seen is an offer and how long ago its peer made it, as far as is known.
type Seen struct {
	Offer protocol.Offer
	Age   time.Duration
}

// book remembers offers: one for each peer, the one with the highest sequence, to the end of its life; and the sequence
// for a while longer. Its room is shared out: a relay can make up any number of peers, so what it tells gives way to what
// peers say of themselves, and to what relays tell that have told less. It is safe for concurrent use.
type book struct {
	mu      sync.Mutex
	entries map[peer.ID]*entry       // guarded by mu, as all below
	sealed  map[string]*entry        // the live offers as they came, to know them again
	live    int                      // entries with an offer
	models  map[protocol.ModelID]int // of which model
	relayed shares                   // those of them that only relays have told
	modelOf map[protocol.ModelID]shares
	spare   shares // entries that only relays have told, and whose offers' lives were over when reap looked
	reaped  time.Time
	news    chan struct{} // closed and replaced when somebody serves something else than before
}

// entry is what is remembered of a peer.
type entry struct {
	peer     peer.ID
	relay    peer.ID // who told it first, while its peer has said nothing of itself here; else ""
	sequence uint64
	most     uint64          // the highest of all its processes
	boot     uint64          // the peer's process that made it
	gone     uint64          // a former process of which nothing is believed any more; 0: none
	left     bool            // the offer said that its peer leaves
	offer    *protocol.Offer // nil once its life is over; not changed
	sealed   []byte
	born     time.Time
	ends     time.Time // of the offer
	forget   time.Time // of the sequence
}

func newBook() *book {
	return &book{entries: map[peer.ID]*entry{}, sealed: map[string]*entry{}, models: map[protocol.ModelID]int{},
		relayed: shares{}, modelOf: map[protocol.ModelID]shares{}, spare: shares{}, news: make(chan struct{})}
}

// add takes an offer from its own peer, as hear does.
func (b *book) add(o *protocol.Offer, sealed []byte, age time.Duration, now time.Time) (news bool, err error) {
	return b.hear(o.Peer, o, sealed, age, now)
}

// hear takes an offer that was made age ago, from its own peer or a relay, and reports whether it is news. An offer that is
// not above its peer's last sequence changes nothing: what is over is never revived, and no relay can make an offer younger.
// The error says that there is no room.
func (b *book) hear(from peer.ID, o *protocol.Offer, sealed []byte, age time.Duration, now time.Time) (news bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reap(now)
	old := b.entries[o.Peer]
	if old != nil && (o.Sequence <= old.sequence || (o.Boot != 0 && o.Boot == old.gone)) {
		return false, nil
	}
	born := now.Add(-age)
	ends := born.Add(time.Duration(o.LifeMS) * time.Millisecond)
	if !ends.After(now) {
		return false, nil
	}
	relay := from
	switch {
	case from == o.Peer || (old != nil && old.relay == ""):
		relay = ""
	case old != nil && old.offer != nil:
		relay = old.relay // a relay takes over nothing by being the first to tell a renewal
	}
	if err := b.room(o.Model, old, relay, now); err != nil {
		return false, err
	}
	if old == nil || old.offer == nil || moved(old.offer, o) {
		b.tell()
	}
	gone, most := uint64(0), o.Sequence
	if old != nil {
		gone, most = old.gone, max(old.most, most)
		b.bury(old)
		b.spare.drop(old)
	}
	b.live++
	b.models[o.Model]++
	sealed = bytes.Clone(sealed) // it may be a piece of a list of 1 MiB, all of which would be kept with it
	e := &entry{peer: o.Peer, relay: relay, sequence: o.Sequence, most: most, boot: o.Boot, gone: gone, left: o.State == protocol.Leaving, offer: o,
		sealed: sealed, born: born, ends: ends, forget: ends.Add(rememberFor)}
	b.sealed[string(sealed)] = e
	b.entries[o.Peer] = e
	b.share(e)
	return true, nil
}

// reborn takes a peer's own word that another process of it runs now, whose sequences may be below the former's: the machine's
// clock was set back, and nobody was left to tell it. Only what is over gives way, and nothing of that process is believed any
// more: a relay may have kept it.
func (b *book) reborn(o *protocol.Offer, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e := b.entries[o.Peer]; e.another(o, now) {
		b.confirm(e)
		e.sequence, e.boot, e.gone = o.Sequence-1, o.Boot, e.boot
	}
}

// doubtful reports whether an offer that somebody relays may be one of a peer that is born again: the peer itself can tell.
func (b *book) doubtful(o *protocol.Offer, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.entries[o.Peer].another(o, now)
}

// another reports whether an offer that seems old comes from another process than that of an entry which is over.
func (e *entry) another(o *protocol.Offer, now time.Time) bool {
	if e == nil || (e.offer != nil && now.Before(e.ends)) || e.boot == 0 || o.Boot == 0 || o.Boot == e.boot || o.Boot == e.gone {
		return false
	}
	return o.Sequence > 0 && o.Sequence <= e.sequence
}

// end lets an offer be over before its time, unless its peer has made another since.
func (b *book) end(id peer.ID, sequence uint64, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.entries[id]
	if e == nil || e.offer == nil || e.sequence != sequence {
		return
	}
	b.cut(e, now)
}

// cut ends a live offer now. Its sequence is remembered as if it had lived on. The caller holds mu.
func (b *book) cut(e *entry, now time.Time) {
	b.bury(e)
	e.ends = now
	b.tell()
}

// tell says that there are news. The caller holds mu.
func (b *book) tell() {
	close(b.news)
	b.news = make(chan struct{})
}

// moved reports whether a peer's new offer says of what it serves something else than the one before.
func moved(from, to *protocol.Offer) bool {
	return from.Model != to.Model || from.Span != to.Span || from.Target != to.Target || from.State != to.State ||
		from.Capacity != to.Capacity || from.Fixed != to.Fixed
}

// changed returns a channel that is closed when a peer comes, leaves, or serves something else than before.
func (b *book) changed() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.news
}

// room makes room for an offer that a relay tells, or its own peer if relay is empty, or refuses it. One that takes the place
// of its peer's last always has room.
func (b *book) room(model protocol.ModelID, old *entry, relay peer.ID, now time.Time) error {
	var live, over *entry // who give way
	takesAPlace := old == nil || old.offer == nil
	if n := b.models[model]; n >= maxModelOffers && (takesAPlace || old.offer.Model != model) {
		if live = b.modelOf[model].yields(relay); live == nil {
			return fmt.Errorf("%d offers of this model are kept, there is no room for more", n)
		}
	} else if takesAPlace && b.live >= maxOffers {
		if live = b.relayed.yields(relay); live == nil {
			return fmt.Errorf("%d offers are kept, there is no room for more", b.live)
		}
	}
	if old == nil && len(b.entries) >= maxRemembered {
		// To forget an offer that lives by its own word would let a relay make it younger. One that is over might be revived,
		// as it might be told to anybody who has just come.
		if over = b.spare.yields(relay); over == nil {
			return fmt.Errorf("%d offers are remembered, there is no room for more", len(b.entries))
		}
	}
	if live != nil {
		b.cut(live, now)
	}
	if over != nil {
		b.drop(over)
	}
	return nil
}

// shares are entries by the relays that have told them.
type shares map[peer.ID]map[*entry]struct{}

func (s shares) put(e *entry) {
	if s[e.relay] == nil {
		s[e.relay] = map[*entry]struct{}{}
	}
	s[e.relay][e] = struct{}{}
}

func (s shares) drop(e *entry) {
	delete(s[e.relay], e)
	if len(s[e.relay]) == 0 {
		delete(s, e.relay)
	}
}

// yields returns an entry of the relay that has told most, any of them, to give way to a peer's own word, for which relay is
// empty. It gives way to what another relay tells only if that has told clearly less, and so never to its own relay's: several
// that are honest keep their shares whatever one tells. It returns nil if there is none.
func (s shares) yields(relay peer.ID) *entry {
	var most map[*entry]struct{}
	for _, of := range s {
		if len(of) > len(most) {
			most = of
		}
	}
	if relay != "" && len(most) <= clearlyMore*(len(s[relay])+1) {
		return nil
	}
	for e := range most {
		return e
	}
	return nil
}

// share counts a live offer among those of the relay that told it, if its peer has not said anything.
func (b *book) share(e *entry) {
	if e.relay == "" {
		return
	}
	b.relayed.put(e)
	if b.modelOf[e.offer.Model] == nil {
		b.modelOf[e.offer.Model] = shares{}
	}
	b.modelOf[e.offer.Model].put(e)
}

// unshare takes a live offer out again.
func (b *book) unshare(e *entry) {
	if e.relay == "" {
		return
	}
	b.relayed.drop(e)
	of := b.modelOf[e.offer.Model]
	if of.drop(e); len(of) == 0 {
		delete(b.modelOf, e.offer.Model)
	}
}

// confirm notes that a peer has spoken for itself: no relay's word is needed for it any more, and it gives way to none.
func (b *book) confirm(e *entry) {
	if e.offer != nil {
		b.unshare(e)
	}
	b.spare.drop(e)
	e.relay = ""
}

// bury drops an entry's offer and keeps its sequence.
func (b *book) bury(e *entry) {
	if e.offer == nil {
		return
	}
	b.live--
	if b.models[e.offer.Model]--; b.models[e.offer.Model] == 0 {
		delete(b.models, e.offer.Model)
	}
	b.unshare(e)
	delete(b.sealed, string(e.sealed))
	e.offer, e.sealed = nil, nil
}

// drop forgets an entry, its sequence too.
func (b *book) drop(e *entry) {
	b.bury(e)
	b.spare.drop(e)
	delete(b.entries, e.peer)
}

// reap forgets what is over, once a second at most: readers look at each offer's end themselves.
func (b *book) reap(now time.Time) {
	if now.Sub(b.reaped) < time.Second {
		return
	}
	b.reaped = now
	for _, e := range b.entries {
		if !now.Before(e.ends) {
			b.bury(e)
		}
		switch {
		case !now.Before(e.forget):
			b.drop(e)
		case e.relay != "" && !now.Before(e.forget.Add(-rememberFor)): // cut or not, by its own word it is over
			b.spare.put(e)
		}
	}
}

// has reports whether exactly this sealed offer of a peer is known already, when that peer tells it itself.
func (b *book) has(sealed []byte, id peer.ID) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.entries[id]
	if e == nil || !bytes.Equal(e.sealed, sealed) {
		return false
	}
	b.confirm(e)
	return true
}

// holds reports whether exactly this sealed offer is known already, whosever it is, when its own peer or a relay tells it.
func (b *book) holds(sealed []byte, from peer.ID) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.sealed[string(sealed)]
	if e != nil && e.peer == from {
		b.confirm(e)
	}
	return e != nil
}

// above returns the highest sequence of a peer, of any process of it, if it is above another, else 0.
func (b *book) above(id peer.ID, sequence uint64) uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e := b.entries[id]; e != nil && e.most > sequence {
		return e.most
	}
	return 0
}

// leaving reports whether the last word of a peer was that it leaves.
func (b *book) leaving(id peer.ID) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.entries[id]
	return e != nil && e.left
}

// ended returns the peers whose offers are over, and who have not said that they leave.
func (b *book) ended() (peers []peer.ID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for id, e := range b.entries {
		if e.offer == nil && !e.left {
			peers = append(peers, id)
		}
	}
	return peers
}

// liveOf returns the live entries of a model, of any for the zero model, sorted by peer.
func (b *book) liveOf(model protocol.ModelID, now time.Time) []entry {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reap(now)
	var all []entry
	for _, e := range b.entries {
		if e.offer != nil && now.Before(e.ends) && (model == protocol.ModelID{} || e.offer.Model == model) {
			all = append(all, *e)
		}
	}
	slices.SortFunc(all, func(x, y entry) int { return strings.Compare(string(x.offer.Peer), string(y.offer.Peer)) })
	return all
}

// endsWithin reports whether a live offer of a model will be over in a while, unless it is renewed. Who leaves means it.
func (b *book) endsWithin(model protocol.ModelID, d time.Duration, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.entries {
		if e.offer != nil && !e.left && e.offer.Model == model && now.Before(e.ends) && e.ends.Before(now.Add(d)) {
			return true
		}
	}
	return false
}

// late returns the live offers of a model that are older than an age, but for those of who leaves: their sequences by peer.
func (b *book) late(model protocol.ModelID, age time.Duration, now time.Time) map[peer.ID]uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	late := map[peer.ID]uint64{}
	for id, e := range b.entries {
		if e.offer != nil && !e.left && e.offer.Model == model && now.Before(e.ends) && now.Sub(e.born) > age {
			late[id] = e.sequence
		}
	}
	return late
}

// seen returns the live offers of a model, of any for the zero model, sorted by peer.
func (b *book) seen(model protocol.ModelID, now time.Time) []Seen {
	var all []Seen
	for _, e := range b.liveOf(model, now) {
		o := *e.offer
		o.Addrs = slices.Clone(o.Addrs)
		all = append(all, Seen{Offer: o, Age: now.Sub(e.born)})
	}
	return all
}

// sealedOf returns a peer's live offer in the form in which it came, or nil.
func (b *book) sealedOf(id peer.ID, now time.Time) []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.entries[id]
	if e == nil || !now.Before(e.ends) {
		return nil
	}
	return e.sealed
}

// offerOf returns a peer's live offer, which must not be changed, or nil.
func (b *book) offerOf(id peer.ID, now time.Time) *protocol.Offer {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.entries[id]
	if e == nil || !now.Before(e.ends) {
		return nil
	}
	return e.offer
}

// list makes the answer to List: all, or a random sample of limit.
func (b *book) list(model protocol.ModelID, limit int, now time.Time) (answer protocol.Offers) {
	all := b.liveOf(model, now)
	if limit <= 0 || limit > protocol.MaxListOffers {
		limit = protocol.MaxListOffers
	}
	if len(all) > limit {
		rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		all = all[:limit]
	}
	size := 0
	for _, e := range all {
		if size += len(e.sealed); size > protocol.MaxListBytes {
			break
		}
		answer.Sealed = append(answer.Sealed, e.sealed)
		answer.AgesMS = append(answer.AgesMS, uint32(now.Sub(e.born).Milliseconds()))
	}
	return answer
}

// one makes the answer to Info: a peer's own offer, if it has one.
func (b *book) one(id peer.ID, now time.Time) (answer protocol.Offers) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reap(now)
	if e := b.entries[id]; e != nil && e.offer != nil && now.Before(e.ends) {
		answer.Sealed = [][]byte{e.sealed}
		answer.AgesMS = []uint32{uint32(now.Sub(e.born).Milliseconds())}
	}
	return answer
}
