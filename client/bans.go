package client

import (
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// bans remembers which peers failed this client's sessions lately. A peer that answers questions may still fail sessions,
// so only a step that is done counts in its favour. The zero value is ready; it is safe for concurrent use.
type bans struct {
	mu    sync.Mutex
	peers map[peer.ID]ban // guarded by mu
}

type ban struct {
	until   time.Time
	struck  time.Time
	strikes int // each doubles the next ban, each success halves them
}

// strike bans a peer after a failure: for 15 s, doubled up to 10 minutes; one that is only to be asked again later, for
// a moment.
func (b *bans) strike(p peer.ID, class protocol.Class, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.peers == nil || len(b.peers) >= maxBans {
		b.peers = make(map[peer.ID]ban)
	}
	first, longest := banFirst, banLongest
	if class == protocol.Again {
		first, longest = pauseFirst, pauseLongest
	}
	x := b.peers[p]
	until := now.Add(min(first<<min(x.strikes, maxDoublings), longest))
	if x.until.After(until) {
		until = x.until // another session knows worse
	}
	b.peers[p] = ban{until: until, struck: now, strikes: x.strikes + 1}
}

// success ends a peer's ban and halves what is held against it.
func (b *bans) success(p peer.ID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch x, known := b.peers[p]; {
	case x.strikes > 1:
		b.peers[p] = ban{strikes: x.strikes / 2}
	case known:
		delete(b.peers, p)
	}
}

// left is how long a peer is still banned. mercy says that it may be tried before that where there is no other: at once
// after its first failure, then ever more rarely.
func (b *bans) left(p peer.ID, now time.Time) (left time.Duration, mercy bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	x := b.peers[p]
	pause := min(mercyFirst<<min(max(x.strikes-2, 0), maxDoublings), mercyLongest)
	return max(0, x.until.Sub(now)), x.strikes == 1 || now.Sub(x.struck) >= pause
}

// any says whether a peer is banned: a swarm that lacks layers may have had them a moment ago.
func (b *bans) any(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, x := range b.peers {
		if x.until.After(now) {
			return true
		}
	}
	return false
}
