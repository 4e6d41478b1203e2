package client

import (
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// pauses remembers which peers asked to be asked again later. The zero value is ready; it is safe for concurrent use.
type pauses struct {
	mu    sync.Mutex
	peers map[peer.ID]pause // guarded by mu
}

type pause struct {
	until time.Time
	next  time.Duration
}

// begin leaves a peer alone for a moment, each time for twice as long.
func (x *pauses) begin(p peer.ID, now time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.peers == nil || len(x.peers) >= maxPauses {
		x.peers = make(map[peer.ID]pause)
	}
	length := max(x.peers[p].next, pauseFirst)
	x.peers[p] = pause{until: now.Add(length), next: min(2*length, pauseLongest)}
}

// end forgets a peer that has worked.
func (x *pauses) end(p peer.ID) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.peers, p)
}

// left is how long a peer is still to be left alone.
func (x *pauses) left(p peer.ID, now time.Time) time.Duration {
	x.mu.Lock()
	defer x.mu.Unlock()
	return max(0, x.peers[p].until.Sub(now))
}
