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
// for a while longer. It is safe for concurrent use.
type book struct {
	mu      sync.Mutex
	entries map[peer.ID]*entry // guarded by mu, as all below
	live    int                // entries with an offer
}

// entry is what is remembered of a peer.
type entry struct {
	sequence uint64
	offer    *protocol.Offer // nil once its life is over; not changed
	sealed   []byte
	born     time.Time
	ends     time.Time // of the offer
	forget   time.Time // of the sequence
}

func newBook() *book { return &book{entries: map[peer.ID]*entry{}} }

// add takes an offer that was made age ago, and reports whether it is news. An offer that is not above its peer's last
// sequence changes nothing: what is over is never revived, and no relay can make an offer younger. The error says that
// there is no room.
func (b *book) add(o *protocol.Offer, sealed []byte, age time.Duration, now time.Time) (news bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reap(now)
	old := b.entries[o.Peer]
	if old != nil && o.Sequence <= old.sequence {
		return false, nil
	}
	born := now.Add(-age)
	ends := born.Add(time.Duration(o.LifeMS) * time.Millisecond)
	if !ends.After(now) {
		return false, nil
	}
	if old == nil || old.offer == nil {
		if err := b.room(o.Model, old == nil); err != nil {
			return false, err
		}
		b.live++
	}
	b.entries[o.Peer] = &entry{sequence: o.Sequence, offer: o, sealed: sealed, born: born, ends: ends, forget: ends.Add(rememberFor)}
	return true, nil
}

// room refuses an offer for which there is none.
func (b *book) room(model protocol.ModelID, newPeer bool) error {
	if b.live >= maxOffers || (newPeer && len(b.entries) >= maxRemembered) {
		return fmt.Errorf("%d offers are kept, there is no room for more", b.live)
	}
	n := 0
	for _, e := range b.entries {
		if e.offer != nil && e.offer.Model == model {
			n++
		}
	}
	if n >= maxModelOffers {
		return fmt.Errorf("%d offers of this model are kept, there is no room for more", n)
	}
	return nil
}

// reap forgets what is over.
func (b *book) reap(now time.Time) {
	for id, e := range b.entries {
		if e.offer != nil && !now.Before(e.ends) {
			e.offer, e.sealed = nil, nil
			b.live--
		}
		if !now.Before(e.forget) {
			delete(b.entries, id)
		}
	}
}

// has reports whether exactly this sealed offer of a peer is known already.
func (b *book) has(sealed []byte, id peer.ID) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.entries[id]
	return e != nil && bytes.Equal(e.sealed, sealed)
}

// liveOf returns the live entries of a model, of any for the zero model, sorted by peer.
func (b *book) liveOf(model protocol.ModelID, now time.Time) []entry {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reap(now)
	var all []entry
	for _, e := range b.entries {
		if e.offer != nil && (model == protocol.ModelID{} || e.offer.Model == model) {
			all = append(all, *e)
		}
	}
	slices.SortFunc(all, func(x, y entry) int { return strings.Compare(string(x.offer.Peer), string(y.offer.Peer)) })
	return all
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
	if e := b.entries[id]; e != nil && e.offer != nil {
		answer.Sealed = [][]byte{e.sealed}
		answer.AgesMS = []uint32{uint32(now.Sub(e.born).Milliseconds())}
	}
	return answer
}
