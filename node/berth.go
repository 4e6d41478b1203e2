package node

import (
	"slices"

	"github.com/baichuan-node/baichuan-node/node/session"
	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/shard"
)

// berth is a shard with the sessions that run through it. Each hop belongs to one berth for life. A node that does not move
// has one.
type berth struct {
	shard *shard.Shard // the compute goroutine's alone once it is served, but for what never changes

	// Guarded by the node's mutex.
	tokens  *session.Budget    // of the shard's cache
	hops    int                // whose caches are not freed yet
	retired func(*shard.Shard) // is told that nothing is left on it; set when the node moves away
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

// current is the berth that takes new sessions. Called with the mutex held.
func (n *Node) current() *berth { return n.berths[len(n.berths)-1] }

// berthFor says on which shard a session is opened, or why on none. One that is there stays where it is as long as it keeps
// some of its cache; what would keep nothing begins anew on the current shard. Called with the mutex held.
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

// retire gives back the shards that the node has moved from and that nothing is left on. It is called by the compute
// goroutine, between two passes.
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

// giveBack gives a shard back to whom it belongs. Called with the mutex held.
func (n *Node) giveBack(b *berth) {
	n.progress += b.shard.Progress()
	n.retirees.Go(func() {
		n.log.Info("no session is left on layers that this node has moved from", "layers", b.span().String())
		if b.retired != nil {
			b.retired(b.shard)
		}
	})
}

// retireAll gives all shards back but the current one, and waits until that is done. Nothing else runs any more.
func (n *Node) retireAll() {
	n.mu.Lock()
	last := len(n.berths) - 1
	for _, b := range n.berths[:last] {
		n.giveBack(b)
	}
	n.berths = n.berths[last:]
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
