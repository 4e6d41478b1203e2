package client

import (
	"fmt"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// bans remembers which peers failed this client's sessions lately, and which had no room. A peer that answers questions may
// still fail sessions, so only a step that is done counts in its favour. The zero value is ready; it is safe for
// concurrent use.
type bans struct {
	mu    sync.Mutex
	peers map[peer.ID]ban // guarded by mu
}

type ban struct {
	until   time.Time
	struck  time.Time
	strikes int    // each doubles the next ban, each success halves them
	boot    uint64 // of the process that failed
	why     error

	pauses int       // refusals for lack of room since the last success: each doubles the next pause
	resume time.Time // until then it is left alone
}

// standing is what bans know of a peer.
type standing struct {
	banned time.Duration // for so long yet
	why    error

	// mercy says that it may be tried before that where there is no other: at once after its first failure, then ever more
	// rarely. fresh says that it was started anew since it failed: it may be tried at once, connected or not.
	mercy, fresh bool

	paused time.Duration // it had no room, and is to be left alone for so long yet
}

// String says why a peer is left alone, and for how long; "": it is not.
func (s standing) String() string {
	switch {
	case s.banned > 0 && s.why != nil:
		return fmt.Sprintf("it failed (%v), and is left alone for another %v", s.why, max(s.banned.Round(time.Second), time.Second))
	case s.banned > 0:
		return fmt.Sprintf("it failed, and is left alone for another %v", max(s.banned.Round(time.Second), time.Second))
	case s.paused > 0:
		return fmt.Sprintf("it had no room for a session, and is left alone for another %v", s.paused.Round(time.Millisecond))
	}
	return ""
}

// strike bans a peer after a failure: for 15 s, doubled up to 10 minutes. boot is that of its offer.
func (b *bans) strike(p peer.ID, boot uint64, why error, now time.Time) {
	b.change(p, func(x *ban) {
		until := now.Add(min(banFirst<<min(x.strikes, maxDoublings), banLongest))
		if x.until.Before(until) {
			x.until = until
		}
		x.struck, x.boot, x.why = now, boot, why
		x.strikes++
	})
}

// pardon takes the newest strike of a peer back.
func (b *bans) pardon(p peer.ID) {
	b.change(p, func(x *ban) {
		x.strikes = max(0, x.strikes-1)
		x.until, x.why = time.Time{}, nil
	})
}

// pause leaves a peer alone for a moment that has no room now.
func (b *bans) pause(p peer.ID, now time.Time) {
	b.change(p, func(x *ban) {
		x.resume = now.Add(min(pauseFirst<<min(x.pauses, maxDoublings), pauseLongest))
		x.pauses++
	})
}

func (b *bans) change(p peer.ID, how func(*ban)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.peers == nil || len(b.peers) >= maxBans {
		b.peers = make(map[peer.ID]ban)
	}
	x := b.peers[p]
	how(&x)
	b.peers[p] = x
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

// of tells what is known of a peer whose newest offer has some boot.
func (b *bans) of(p peer.ID, boot uint64, now time.Time) (s standing) {
	b.mu.Lock()
	defer b.mu.Unlock()
	x, known := b.peers[p]
	if !known {
		return s
	}
	patience := min(mercyFirst<<min(max(x.strikes-2, 0), maxDoublings), mercyLongest)
	s.banned, s.why = max(0, x.until.Sub(now)), x.why
	s.fresh = boot != 0 && x.boot != 0 && boot != x.boot
	s.mercy = s.fresh || x.strikes == 1 || now.Sub(x.struck) >= patience
	s.paused = max(0, x.resume.Sub(now))
	return s
}

// any says whether a peer is banned or paused: a swarm that lacks layers may have had them a moment ago.
func (b *bans) any(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, x := range b.peers {
		if x.until.After(now) || x.resume.After(now) {
			return true
		}
	}
	return false
}
