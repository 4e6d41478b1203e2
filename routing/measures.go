package routing

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// record is what this process has measured of peers. It is safe for concurrent use.
type record struct {
	mu    sync.Mutex
	peers map[peer.ID]measured // guarded by mu
}

// measured is what is known of a peer.
type measured struct {
	rtt   time.Duration
	asked time.Time // for it, the last time
	heard time.Time // when it was measured; zero: never

	busy   uint32
	told   time.Time // when the peer said how busy it is; zero: never
	pace   int64     // of its steps beside what was predicted, in thousandths
	walked time.Time // when that was measured; zero: never
}

func newRecord() *record { return &record{peers: map[peer.ID]measured{}} }

// change has how change what is known of a peer.
func (r *record) change(id peer.ID, how func(*measured)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	x, known := r.peers[id]
	if !known && len(r.peers) >= maxMeasured {
		clear(r.peers) // all is cheap to measure again
	}
	how(&x)
	r.peers[id] = x
}

// measured notes a round trip. A longer one than known weighs an eighth: an answer may be slow for many reasons, but none is
// faster than the link.
func (r *record) measured(id peer.ID, rtt time.Duration) {
	now := time.Now()
	r.change(id, func(x *measured) {
		if !x.heard.IsZero() && rtt > x.rtt {
			rtt = (7*x.rtt + rtt) / 8
		}
		x.rtt, x.heard, x.asked = rtt, now, now
	})
}

// tried notes that a peer is asked.
func (r *record) tried(id peer.ID, now time.Time) { r.change(id, func(x *measured) { x.asked = now }) }

// due gives those of some peers who are to be asked anew, at most so many: whoever has not been asked for longest comes
// first.
func (r *record) due(peers []peer.ID, most int) []peer.ID {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := time.Now().Add(-nearAgain)
	var all []peer.ID
	for _, id := range peers {
		if r.peers[id].asked.Before(old) {
			all = append(all, id)
		}
	}
	slices.SortStableFunc(all, func(a, b peer.ID) int { return r.peers[a].asked.Compare(r.peers[b].asked) })
	return all[:min(len(all), most)]
}

// fresh gives a round trip that was measured lately.
func (r *record) fresh(id peer.ID, now time.Time) (rtt time.Duration, fresh bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	x := r.peers[id]
	return x.rtt, !x.heard.IsZero() && now.Sub(x.heard) < nearLife
}

// stepped notes what a token took through a chain, beside what was predicted. Where it was lost is not known: each hop gets
// its share by what it computes, and who is slow in several chains is found out. Only more than predicted, by enough that it
// is not chance, counts against anybody.
func (r *record) stepped(chain []Hop, predicted Cost, took time.Duration, now time.Time) {
	work := predicted.Compute
	if work <= 0 || took <= 0 {
		return
	}
	extra := took - (predicted.Total() - predicted.Lacking)
	if slack := took / 5; extra > slack {
		extra -= slack
	} else if extra > -slack {
		extra = 0
	} else {
		extra += slack
	}
	ratio := min(max(1000+int64(1000*extra/work), leastPace), mostPace)
	for _, h := range chain {
		r.change(h.Peer, func(x *measured) {
			old := cmp.Or(x.pace, 1000)
			x.pace, x.walked = min(max(old*(15_000+ratio)/16_000, leastPace), mostPace), now
		})
	}
}

// measures returns a copy, of what is known of some peers (nil: of all), with empty maps to add to.
func (r *record) measures(now time.Time, only map[peer.ID]bool) Measures {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := Measures{RTT: make(map[peer.ID]time.Duration, len(r.peers)), Busy: map[peer.ID]uint32{}, Pace: map[peer.ID]uint32{},
		Banned: map[peer.ID]bool{}, Prefer: map[peer.ID]bool{}}
	for id, x := range r.peers {
		if only != nil && !only[id] {
			continue
		}
		if !x.heard.IsZero() {
			m.RTT[id] = x.rtt
		}
		if !x.told.IsZero() && now.Sub(x.told) < busyLife {
			m.Busy[id] = x.busy
		}
		if !x.walked.IsZero() && now.Sub(x.walked) < nearLife && x.pace != 1000 {
			m.Pace[id] = uint32(x.pace)
		}
	}
	return m
}

// Heard notes a round trip to a peer that somebody else has measured, in a session.
func (d *Directory) Heard(id peer.ID, rtt time.Duration) {
	if rtt > 0 {
		d.record.measured(id, rtt)
	}
}

// Told notes how busy a peer is, as it says itself.
func (d *Directory) Told(id peer.ID, busy uint32) {
	now := time.Now()
	d.record.change(id, func(x *measured) { x.busy, x.told = busy, now })
}

// Stepped notes what a token took through a chain.
func (d *Directory) Stepped(chain []Hop, took time.Duration) {
	now := time.Now()
	chain = slices.Clone(chain)
	known := make(map[peer.ID]bool, len(chain))
	for i, h := range chain {
		known[h.Peer] = true
		if o := d.book.offerOf(h.Peer, now); o != nil {
			chain[i].Offer = *o
		}
	}
	d.record.stepped(chain, Predict(chain, d.record.measures(now, known)), took, now)
}
