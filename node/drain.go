package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// Pause has the node hold: it withdraws its offer, takes no new session, and tells the owners of those that are there to
// go elsewhere, for which they have until ctx ends. It returns when no session is left. With an error the node holds all the
// same, unless Resume came between: it goes on serving the sessions that stay.
func (n *Node) Pause(ctx context.Context) error {
	n.part(ctx, &n.paused)
	if err := n.tellSwarm(ctx); err != nil {
		n.log.Debug("nobody has heard that this node holds", "error", err)
	}
	return n.awaitParted(ctx)
}

// Resume offers the node again after a Pause, and takes new sessions.
func (n *Node) Resume(ctx context.Context) error {
	n.mu.Lock()
	left := n.leaving || n.closed
	was := n.paused
	n.paused = false
	n.broadcast()
	n.mu.Unlock()
	if left {
		return errors.New("resume: the node is leaving")
	}
	if was {
		n.log.Info("this node takes sessions again")
	}
	n.announce(ctx)
	return ctx.Err()
}

// draining says whether the node takes no new sessions. Called with the mutex held.
func (n *Node) draining() bool { return n.paused || n.leaving }

// part takes no new session from now on, and tells the owners of those that are there for how long they are served, unless
// they have been told for the same reason.
func (n *Node) part(ctx context.Context, why *bool) {
	by, ok := ctx.Deadline()
	if !ok {
		by = time.Now().Add(maxDrain)
	}
	n.mu.Lock()
	again := n.leaving || *why
	if !again {
		*why, n.leaveBy = true, by
		for _, h := range n.hops {
			h.deliver(n.parting(h))
		}
	}
	present := n.table.Present(time.Now())
	n.mu.Unlock()
	if !again {
		n.log.Info("this node takes no more sessions; those that it has are to go elsewhere",
			"sessions", present, "within", time.Until(by).Round(time.Second))
	}
}

// parting is what the owner of a session is told by a node that drains. Called with the mutex held.
func (n *Node) parting(h *hop) protocol.Parting {
	by, _ := n.servedUntil(h)
	within := min(max(0, time.Until(by)), maxDrain)
	takes := n.uplink.Takes(n.cacheBytes(h.books.Span(), h.books.Length()))
	return protocol.Parting{WithinMS: uint32(within.Milliseconds()), HandOverMS: uint32(takes.Milliseconds())}
}

// servedUntil says until when a session is served, if the node drains or has moved away from the session's layers. Called with
// the mutex held.
func (n *Node) servedUntil(h *hop) (by time.Time, leaves bool) {
	by, moved := h.leaveBy, !h.leaveBy.IsZero()
	if n.draining() && (!moved || n.leaveBy.Before(by)) {
		by = n.leaveBy
	}
	return by, moved || n.draining()
}

// tellParting tells an owner who has come back that the node drains, or has moved away from the session's layers.
func (n *Node) tellParting(h *hop) {
	n.mu.Lock()
	_, leaves := n.servedUntil(h)
	msg := n.parting(h)
	n.mu.Unlock()
	if leaves {
		h.tell(msg)
	}
}

// awaitParted waits until no session is left whose owner may still want something.
func (n *Node) awaitParted(ctx context.Context) error {
	began := time.Now()
	poll := time.NewTicker(drainPoll)
	defer poll.Stop()
	for {
		n.mu.Lock()
		left, draining := n.wanted(began, time.Now()), n.draining()
		busy := n.busy || n.queue.steps > 0
		n.mu.Unlock()
		switch {
		case !draining:
			return errors.New("pause: the node was told to go on meanwhile")
		case left == 0 && !busy:
			n.log.Info("no session is left at this node")
			return nil
		}
		select {
		case <-poll.C:
		case <-n.ctx.Done():
			return errors.New("pause: the node has ended meanwhile")
		case <-ctx.Done():
			return fmt.Errorf("pause: %d sessions are left: %w", left, ctx.Err())
		}
	}
}

// wanted is how many sessions a node that drains waits for, since it began to. One that leaves does not wait for those that
// rest: whoever could have taken them over would have begun to by now, they are computed anew when they are used, and behind
// a connection that is silent there may be nobody. Called with the mutex held.
func (n *Node) wanted(began, now time.Time) int {
	if !n.leaving || now.Sub(began) < restsFor || n.handing() {
		return n.table.Present(now)
	}
	return n.table.UsedSince(now.Add(-restsFor), now)
}

// handing says whether caches or rows are on their way to other peers. Called with the mutex held.
func (n *Node) handing() bool {
	for _, h := range n.hops {
		if h.asked > 0 {
			return true
		}
	}
	return false
}
