package node

import (
	"context"
	"time"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// Drain refuses new sessions from now on, tells the swarm and the sessions' owners so, and waits until the last session
// has gone elsewhere or ctx ends. The node goes on serving those that it has.
func (n *Node) Drain(ctx context.Context) {
	n.part(ctx)
	n.announce(ctx)
	n.awaitParted(ctx)
}

// part takes no new session from now on, and tells the owners of those that are there for how long they are served.
func (n *Node) part(ctx context.Context) {
	by, ok := ctx.Deadline()
	if !ok {
		by = time.Now().Add(maxDrain)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.draining, n.leaveBy = true, by
	for _, h := range n.hops {
		h.deliver(parting(by))
	}
}

func parting(by time.Time) protocol.Parting {
	within := min(max(0, time.Until(by)), maxDrain)
	return protocol.Parting{WithinMS: uint32(within.Milliseconds())}
}

// tellParting tells an owner who has come back that the node is leaving.
func (n *Node) tellParting(h *hop) {
	n.mu.Lock()
	draining, by := n.draining, n.leaveBy
	n.mu.Unlock()
	if draining {
		h.tell(parting(by))
	}
}

// awaitParted waits until no session is left whose owner may still want something, or ctx ends.
func (n *Node) awaitParted(ctx context.Context) {
	poll := time.NewTicker(drainPoll)
	defer poll.Stop()
	for n.present() {
		select {
		case <-poll.C:
		case <-ctx.Done():
			return
		}
	}
}

func (n *Node) present() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.busy || n.queue.steps > 0 || n.table.Present(time.Now()) > 0
}
