package routing

import (
	"maps"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// record is what this process knows of peers by its own experience. It is safe for concurrent use.
type record struct {
	mu   sync.Mutex
	rtt  map[peer.ID]time.Duration // guarded by mu, as all below
	bans map[peer.ID]ban
}

// ban keeps a peer out until a time; length is what the next one doubles.
type ban struct {
	until  time.Time
	length time.Duration
}

func newRecord() *record {
	return &record{rtt: map[peer.ID]time.Duration{}, bans: map[peer.ID]ban{}}
}

// failed bans a peer: 15 s, each time twice as long, 10 minutes at most.
func (r *record) failed(id peer.ID, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	b, known := r.bans[id]
	if !known && len(r.bans) >= maxMeasured {
		r.forget(now)
	}
	b.length = min(max(2*b.length, banFirst), banMost)
	b.until = now.Add(b.length)
	r.bans[id] = b
}

// worked lifts a ban, halves the next one, and notes the round trip if it was measured. A new measure weighs a quarter,
// so that one slow answer is not taken for a slow link.
func (r *record) worked(id peer.ID, rtt time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if b, known := r.bans[id]; known {
		b.until, b.length = time.Time{}, b.length/2
		if b.length < banFirst {
			delete(r.bans, id)
		} else {
			r.bans[id] = b
		}
	}
	if rtt <= 0 {
		return
	}
	old, known := r.rtt[id]
	switch {
	case known:
		rtt = (3*old + rtt) / 4
	case len(r.rtt) >= maxMeasured:
		clear(r.rtt) // they are cheap to measure again
	}
	r.rtt[id] = rtt
}

// forget drops the bans that are over, or all if none is.
func (r *record) forget(now time.Time) {
	before := len(r.bans)
	maps.DeleteFunc(r.bans, func(_ peer.ID, b ban) bool { return !now.Before(b.until) })
	if len(r.bans) == before {
		clear(r.bans)
	}
}

// measures returns a copy, for Plan.
func (r *record) measures(now time.Time) Measures {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := Measures{RTT: maps.Clone(r.rtt), Banned: map[peer.ID]bool{}}
	for id, b := range r.bans {
		if now.Before(b.until) {
			m.Banned[id] = true
		}
	}
	return m
}
