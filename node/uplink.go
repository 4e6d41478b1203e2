package node

import (
	"context"
	"fmt"
	"time"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// uplink paces what is handed over, all sessions together: their owners' steps, and those of sessions that stay, go by the
// same way and must not wait behind 500 MB of cache. Guarded by the node's mutex.
type uplink struct {
	rate  float64   // bytes/s that hand-overs may take; 0: as fast as they go
	ahead int       // bytes that are to be handed over still
	free  time.Time // when the next bytes may leave
}

// takes is how long so many bytes take alone; 0 if that is not known.
func (u *uplink) takes(bytes int) time.Duration {
	if u.rate == 0 {
		return 0
	}
	return min(time.Duration(float64(bytes)/u.rate*float64(time.Second)), maxDrain)
}

// next says how long bytes that are to leave next have to wait for those before them.
func (u *uplink) next(now time.Time, bytes int) time.Duration {
	if u.free.Before(now) {
		u.free = now
	}
	wait := u.free.Sub(now)
	u.free = u.free.Add(u.takes(bytes))
	return wait
}

// cacheBytes is the size of a session's cache as it is handed over.
func (n *Node) cacheBytes(span protocol.Span, tokens int) int {
	return tokens * (span.Len()*n.kvBytes + n.rowBytes())
}

// worthwhile refuses a hand-over that would not be done while the node serves the session, or that takes longer than having the successor
// compute the tokens from what the hop before sends: then a replay is better for the owner. Called with the mutex held.
func (n *Node) worthwhile(h *hop, span protocol.Span, tokens int, to *protocol.Offer) error {
	takes := n.uplink.takes(n.uplink.ahead + n.cacheBytes(span, tokens))
	if takes == 0 || to.PrefillRate == 0 {
		return nil
	}
	replay := time.Duration(float64(tokens*span.Len())/float64(to.PrefillRate)*float64(time.Second)) + n.uplink.takes(tokens*n.rowBytes())
	by, leaves := n.servedUntil(h)
	switch {
	case takes > replay:
		return fmt.Errorf("it would take %v, and a replay %v", takes.Round(time.Millisecond), replay.Round(time.Millisecond))
	case leaves && takes > time.Until(by):
		return fmt.Errorf("it would take %v, longer than this node serves the session", takes.Round(time.Millisecond))
	}
	return nil
}

// awaitUplink waits until so many bytes may leave.
func (n *Node) awaitUplink(ctx context.Context, bytes int) error {
	n.mu.Lock()
	wait := n.uplink.next(time.Now(), bytes)
	n.mu.Unlock()
	if wait == 0 {
		return nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
