package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/baichuan-node/baichuan-node/node/session"
	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/shard"
	"github.com/baichuan-node/baichuan-node/shard/measure"
)

// berth is a shard with the sessions that run through it. Each hop belongs to one berth for life.
type berth struct {
	shard   *shard.Shard       // the compute goroutine's alone once Run has begun, but for what never changes
	tokens  *session.Budget    // of its cache; guarded by the node's mutex
	hops    int                // whose caches are not freed yet; guarded by the node's mutex
	retired func(*shard.Shard) // told that nothing is left on it; set when the node moves away
}

func newBerth(s *shard.Shard) *berth {
	return &berth{shard: s, tokens: session.NewBudget(s.CacheFree())}
}

func (b *berth) span() protocol.Span { return protocol.Span(b.shard.Span()) }

// within says whether all layers of one span are among those of another.
func within(span, of protocol.Span) bool { return span.Start >= of.Start && span.End <= of.End }

// byBerth sorts what is to be computed by the shard that it runs through.
func byBerth[T any](all []T, of func(T) *berth) (groups [][]T) {
	for len(all) > 0 {
		first := of(all[0])
		var same, others []T
		for _, x := range all {
			if of(x) == first {
				same = append(same, x)
			} else {
				others = append(others, x)
			}
		}
		groups, all = append(groups, same), others
	}
	return groups
}

// Move serves the layers of another shard of the model from now on, which the caller has loaded on the same device: new
// sessions are opened on it, and the offer says so. Sessions whose layers are among the new ones go on where they are,
// undisturbed, as long as they last. The owners of the others are told to go elsewhere, for which they have
// Config.DrainFor; then they have lost their sessions.
//
// When the last session has left the old shard, retired is called with it, by a goroutine that Run waits for: at the latest
// when Run ends, and never if Move returns an error. Until then the shard must not be closed; afterwards it is the
// caller's. So it is with to, when the node has moved on from it or Run has returned.
func (n *Node) Move(ctx context.Context, to *shard.Shard, retired func(*shard.Shard)) error {
	span := protocol.Span(to.Span())
	if err := n.checkMove(to); err != nil {
		return fmt.Errorf("move to layers %v: %w", span, err)
	}
	if err := n.selfTest(ctx, to); err != nil {
		return fmt.Errorf("move to layers %v: compute a token as a self-test: %w", span, err)
	}
	next := newBerth(to)
	n.mu.Lock()
	err := n.mayMove(to)
	if err == nil {
		n.current().retired = retired
		n.berths = append(n.berths, next)
		n.target = span
		n.partOutside(time.Now())
		n.broadcast()
	}
	n.mu.Unlock()
	if err != nil {
		return fmt.Errorf("move to layers %v: %w", span, err)
	}
	n.wake() // nothing may be left on the old shard
	n.log.Info("this node serves other layers", "layers", span)
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
		return fmt.Errorf("sessions are left on %d shards that retire: try again when they have gone", len(n.berths)-1)
	}
	return nil
}

// selfTest has the compute goroutine compute a token with a shard that is not served yet. When it returns, nothing
// touches the shard any more.
func (n *Node) selfTest(ctx context.Context, s *shard.Shard) (err error) {
	c := &chore{func(caches) { err = measure.SelfTest(s) }, make(chan struct{})}
	n.mu.Lock()
	n.queue.chores = append(n.queue.chores, c)
	n.mu.Unlock()
	n.wake()
	select {
	case <-c.done:
		return err
	case <-ctx.Done():
	case <-n.ctx.Done():
	}
	n.mu.Lock()
	waiting := len(n.queue.chores)
	n.queue.chores = slices.DeleteFunc(n.queue.chores, func(k *chore) bool { return k == c })
	taken := len(n.queue.chores) == waiting
	n.mu.Unlock()
	if taken {
		<-c.done
	}
	return errors.Join(ctx.Err(), n.ctx.Err(), err)
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

// current is the berth that takes new sessions. Called with the mutex held.
func (n *Node) current() *berth { return n.berths[len(n.berths)-1] }

// berthFor says on which shard a session is opened, or why on none. One that is there stays where it is; but on a shard that
// retires it keeps its cache, and what would keep nothing of it begins anew on the current one. Called with the mutex
// held.
func (n *Node) berthFor(before *session.Session, m protocol.Open) (*berth, error) {
	own := n.current()
	if before != nil && (m.Epoch <= before.Epoch() || m.Span == before.Span() && m.Position > 0) {
		return n.hops[before].berth, nil
	}
	if !within(m.Span, own.span()) {
		return nil, refusal(protocol.CodeNoSuchSpan, "this node serves layers %v, not %v", own.span(), m.Span)
	}
	return own, nil
}

// partOutside sees to the sessions on shards that retire: those whose layers the node does not serve any more are told to
// go elsewhere, and ended when their time is over. Where nobody is left but owners who have gone, all are ended. It says
// how many were. Called with the mutex held.
func (n *Node) partOutside(now time.Time) (ended int) {
	end := func(h *hop, why string) {
		if !h.books.Closed() {
			ended++
			n.endSession(h, why)
		}
	}
	present := make(map[*berth]bool)
	for _, h := range n.hops {
		outside := !within(h.books.Span(), n.current().span())
		switch {
		case !outside:
			h.leaveBy = time.Time{}
		case h.leaveBy.IsZero():
			h.leaveBy = now.Add(n.cfg.DrainFor)
			h.deliver(n.parting(h))
		}
		if outside && !now.Before(h.leaveBy) {
			end(h, "this node serves other layers now")
		}
		if h.books.Running() || !h.books.Closed() && !h.books.Gone(now) {
			present[h.berth] = true
		}
	}
	for _, h := range n.hops {
		if h.berth != n.current() && !present[h.berth] {
			end(h, "the shard of the session has retired")
		}
	}
	if ended > 0 {
		n.broadcast()
	}
	return ended
}

// retire gives the shards back that nothing is left on. It is called by the compute goroutine, between two passes.
func (n *Node) retire() {
	n.mu.Lock()
	defer n.mu.Unlock()
	current := n.current()
	n.berths = slices.DeleteFunc(n.berths, func(b *berth) bool {
		empty := b != current && b.hops == 0
		if empty {
			n.giveBack(b)
		}
		return empty
	})
}

// giveBack gives a shard back to whom it belongs. Called with the mutex held, or when nothing runs any more.
func (n *Node) giveBack(b *berth) {
	n.progress += b.shard.Progress()
	n.log.Info("nothing is left on the layers that this node served before", "layers", b.span())
	if b.retired != nil {
		n.retirees.Go(func() { b.retired(b.shard) })
	}
}

// retireAll gives all shards back but the current one, and waits until that is done. It is called when nothing else runs.
func (n *Node) retireAll() {
	n.mu.Lock()
	for _, b := range n.berths[:len(n.berths)-1] {
		n.giveBack(b)
	}
	n.berths = n.berths[len(n.berths)-1:]
	n.mu.Unlock()
	n.retirees.Wait()
}

// computed counts the layers that the node has computed, whoever for: it only grows. Called with the mutex held.
func (n *Node) computed() uint64 {
	sum := n.progress
	for _, b := range n.berths {
		sum += b.shard.Progress()
	}
	return sum
}

// promised is the tokens of cache that sessions have been promised. Called with the mutex held.
func (n *Node) promised() (sum int) {
	for _, b := range n.berths {
		sum += b.tokens.Promised()
	}
	return sum
}

// cacheUsed is the bytes of cache in use. It is called by the compute goroutine.
func (n *Node) cacheUsed() (sum int64) {
	n.mu.Lock()
	berths := slices.Clone(n.berths)
	n.mu.Unlock()
	for _, b := range berths {
		sum += b.shard.CacheBytes()
	}
	return sum
}
