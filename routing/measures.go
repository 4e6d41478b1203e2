package routing

import (
	"maps"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// record is what this process has measured of peers. It is safe for concurrent use.
type record struct {
	mu  sync.Mutex
	rtt map[peer.ID]time.Duration // guarded by mu
}

func newRecord() *record { return &record{rtt: map[peer.ID]time.Duration{}} }

// measured notes a round trip. A longer one than known weighs an eighth: an answer may be slow for many reasons, but none is
// faster than the link.
func (r *record) measured(id peer.ID, rtt time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old, known := r.rtt[id]
	switch {
	case known && rtt > old:
		rtt = (7*old + rtt) / 8
	case known:
	case len(r.rtt) >= maxMeasured:
		clear(r.rtt) // they are cheap to measure again
	}
	r.rtt[id] = rtt
}

// measures returns a copy, with empty maps to add to.
func (r *record) measures() Measures {
	r.mu.Lock()
	defer r.mu.Unlock()
	return Measures{RTT: maps.Clone(r.rtt), Banned: map[peer.ID]bool{}, Prefer: map[peer.ID]bool{}}
}
