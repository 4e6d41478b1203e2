package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/shard"
	"github.com/baichuan-node/baichuan-node/shard/measure"
)

// Move serves the layers of another shard of the model from now on, which the caller has loaded on the same device: new
// sessions are opened on it, and the offer says so. Sessions whose layers are among the new ones go on where they are,
// undisturbed, as long as they last. The owners of the others are told to go elsewhere, for which they have
// Config.DrainFor; then they have lost their sessions, unless nobody else serves those layers.
//
// When the last session has left the old shard, retired is called with it, by a goroutine that Run waits for: at the latest
// when Run ends, and never if Move returns an error. Until then the shard must not be closed; afterwards it is the
// caller's. So it is with to, when the node has moved on from it or Run has returned.
func (n *Node) Move(ctx context.Context, to *shard.Shard, retired func(*shard.Shard)) error {
	span := protocol.Span(to.Span())
	err := n.checkMove(to)
	head := 0.0
	if err == nil {
		head, err = n.selfTest(ctx, to)
	}
	if err == nil {
		err = n.moveTo(newBerth(to), head, retired)
	}
	if err != nil {
		return fmt.Errorf("move to layers %v: %w", span, err)
	}
	n.wake() // nothing may be left on the old shard
	n.metrics.moves.Inc()
	n.log.Info("this node serves other layers now", "layers", span.String())
	n.announce(ctx)
	return nil
}

// checkMove refuses a shard that can't be served, or not now.
func (n *Node) checkMove(to *shard.Shard) error {
	if to.Model() != n.cfg.Model.ID {
		return fmt.Errorf("the shard is of another model, %v", to.Model())
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.mayMove(to)
}

// mayMove says why the node can't move now. Called with the mutex held.
func (n *Node) mayMove(to *shard.Shard) error {
	switch {
	case n.leaving || n.closed:
		return errors.New("the node is leaving")
	case !n.started:
		return errors.New("the node does not run yet")
	case slices.ContainsFunc(n.berths, func(b *berth) bool { return b.shard == to }):
		return errors.New("the node has that shard already")
	case len(n.berths) >= maxBerths:
		return fmt.Errorf("sessions are left on %d shards that it has moved from: try again when they have gone", len(n.berths)-1)
	}
	return nil
}

// selfTest has the compute goroutine compute a token with a shard that is not served yet, and says how fast its head is. When it returns, nothing
// touches the shard any more.
func (n *Node) selfTest(ctx context.Context, s *shard.Shard) (head float64, err error) {
	c := &chore{func(caches) { head, err = measure.SelfTest(s) }, make(chan struct{})}
	n.mu.Lock()
	n.queue.chores = append(n.queue.chores, c)
	n.mu.Unlock()
	n.wake()
	select {
	case <-c.done:
	case <-ctx.Done():
		n.withdraw(c)
	case <-n.ctx.Done():
		n.withdraw(c)
	}
	if err != nil {
		return 0, fmt.Errorf("compute a token as a self-test: %w", err)
	}
	return head, errors.Join(ctx.Err(), n.ctx.Err())
}

// withdraw takes a chore back, or waits until it is done if it has begun.
func (n *Node) withdraw(c *chore) {
	n.mu.Lock()
	waiting := len(n.queue.chores)
	n.queue.chores = slices.DeleteFunc(n.queue.chores, func(k *chore) bool { return k == c })
	begun := len(n.queue.chores) == waiting
	n.mu.Unlock()
	if begun {
		<-c.done
	}
}

// moveTo has new sessions opened on another berth, whose head is so fast.
func (n *Node) moveTo(next *berth, head float64, retired func(*shard.Shard)) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.mayMove(next.shard); err != nil {
		return err
	}
	n.current().retired = retired
	n.berths = append(n.berths, next)
	n.target = next.span()
	n.pace.now.Head, n.pace.announced.Head = head, head
	n.vacate(time.Now())
	n.broadcast()
	return nil
}

// Aim announces which layers the node is about to serve, while it still serves its own: others plan by it. The layers that
// it serves take the announcement back, and a Move ends it.
func (n *Node) Aim(ctx context.Context, target protocol.Span) error {
	if target.Start < 0 || target.Start >= target.End || target.End > n.limits.Layers {
		return fmt.Errorf("aim at layers %v: the model has layers 0:%d", target, n.limits.Layers)
	}
	n.mu.Lock()
	n.target = target
	n.mu.Unlock()
	if err := n.tellSwarm(ctx); err != nil {
		return fmt.Errorf("aim at layers %v: nobody has heard of it yet: %w", target, err)
	}
	return nil
}

// vacate sees to the sessions on shards that the node has moved from: those whose layers it does not serve any more are told
// to go elsewhere, and ended when their time is over and there is an elsewhere. Where nobody is left but owners who have
// gone, all are ended. It says how many were. Called with the mutex held.
func (n *Node) vacate(now time.Time) (ended int) {
	elsewhere := sync.OnceValue(n.servedElsewhere)
	wanted := make(map[*berth]bool)
	var out []*hop
	for _, h := range n.hops {
		span := h.books.Span()
		switch {
		case h.books.Closed():
		case n.overdue(now, h) && !slices.Contains(elsewhere()[span.Start:span.End], false):
			out = append(out, h)
		case h.books.Running() || !h.books.Gone(now):
			wanted[h.berth] = true
		}
	}
	for _, h := range n.hops {
		if !h.books.Closed() && h.berth != n.current() && !wanted[h.berth] {
			out = append(out, h)
		}
	}
	for _, h := range out {
		n.endSession(h, "this node serves other layers now")
	}
	if len(out) > 0 {
		n.broadcast()
	}
	return len(out)
}

// overdue tells the owner of a session to go elsewhere if the node has moved away from the session's layers, once, and says
// whether the time for it is over. Called with the mutex held.
func (n *Node) overdue(now time.Time, h *hop) bool {
	if within(h.books.Span(), n.current().span()) {
		h.leaveBy = time.Time{} // it may have moved back
		return false
	}
	if h.leaveBy.IsZero() {
		h.leaveBy = now.Add(n.cfg.DrainFor)
		h.deliver(n.parting(h))
	}
	return !now.Before(h.leaveBy)
}

// servedElsewhere says of each layer whether another peer offers it, as far as this node knows.
func (n *Node) servedElsewhere() []bool {
	served := make([]bool, n.limits.Layers)
	for _, s := range n.directory.Known(n.limits.Model) {
		o := s.Offer
		if o.Peer == n.host.ID() || o.State != protocol.Online || o.Layers != n.limits.Layers {
			continue
		}
		for layer := o.Span.Start; layer < o.Span.End; layer++ {
			served[layer] = true
		}
	}
	return served
}
