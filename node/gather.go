package node

import (
	"context"
	"time"
)

// rhythm is how long a session that decodes is away: from when its step is done until its next one is here. It is
// guarded by the node's mutex.
type rhythm struct {
	left        time.Time     // since when it is away; zero: it is not, or its steps are no short ones
	usual, more time.Duration // how long it was away lately, and by how much longer now and then; 0: unknown
}

// leaves notes that a short step is done.
func (r *rhythm) leaves(now time.Time) { r.left = now }

// returns notes that a step has come. A reader's pause is no part of the rhythm. What is usual falls at once and rises
// slowly: while a pass is computed, the answers of the one before make their way more slowly than they would if it were put
// off.
func (r *rhythm) returns(now time.Time) {
	away := now.Sub(r.left)
	isPause := r.left.IsZero() || away > decodingFor
	r.left = time.Time{}
	switch {
	case isPause:
	case r.usual == 0 || away < r.usual:
		r.usual = max(away, 1)
	default:
		r.more += (away - r.usual - r.more) / 4
		r.usual += (away - r.usual) / 16
	}
}

// due says when the session's next step will be here, probably and almost certainly.
func (r *rhythm) due() (likely, latest time.Time) {
	likely = r.left.Add(r.usual)
	return likely, likely.Add(2*r.more + gatherSlack)
}

// gather puts the next pass off for a moment if sessions that decode are about to be back: so they are computed together,
// instead of in turns in which one waits for the other's pass.
func (n *Node) gather(ctx context.Context) {
	for {
		n.mu.Lock()
		wait := time.Until(n.awaited(time.Now()))
		n.mu.Unlock()
		if wait <= 0 {
			return
		}
		timer := time.NewTimer(wait)
		select {
		case <-n.work: // look again
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return
		}
	}
}

// awaited says until when the next pass is put off: until the last session is here that is due soon, at most for a
// part of what a pass takes. What has been late so far is not waited for. Called with the mutex held.
func (n *Node) awaited(now time.Time) (until time.Time) {
	ready, waits := n.queue.oldest()
	if !waits && len(n.queue.heads) == 0 || len(n.queue.chores) > 0 {
		return until
	}
	if ready.Before(n.passEnd) {
		ready = n.passEnd
	}
	part := n.passTook / gatherPart
	limit := ready.Add(part)
	for _, h := range n.hops {
		if h.rhythm.left.IsZero() || h.rhythm.usual == 0 {
			continue
		}
		likely, latest := h.rhythm.due()
		if likely.After(limit) {
			continue
		}
		if late := likely.Add(part); latest.After(late) {
			latest = late // else all passes of that time would be put off for one that is irregular, or plays with us
		}
		if latest.Before(now) {
			continue
		}
		if latest.After(limit) {
			latest = limit
		}
		if latest.After(until) {
			until = latest
		}
	}
	return until
}
