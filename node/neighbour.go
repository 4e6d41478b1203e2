package node

import (
	"errors"
	"io"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/node/session"
	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
)

// neighbour is a push stream that another peer has opened. Nothing is said on it: whatever the peer may not send is
// dropped without a word, and what goes wrong with the rest is told to the session's owner.
type neighbour struct {
	*frames
}

// handlePush serves a push stream.
func (n *Node) handlePush(s network.Stream) {
	if !n.enter(s) {
		_ = s.ResetWithError(network.StreamResourceLimitExceeded)
		return
	}
	defer n.leave(s)
	f, end := n.newFrames(s)
	defer end()
	n.log.Debug("a push stream began", "relayed", routing.ByRelay(s.Conn()), "peer", f.who)
	if err := (&neighbour{f}).serve(); err != nil {
		n.log.Debug("a push stream ended", "peer", f.who, "error", err)
	}
	_ = s.Reset() // the other side learns that nobody reads any more
}

func (b *neighbour) serve() error {
	never := func() bool { return false }
	for {
		msg, reserved, err := b.next(b.node.cfg.Idle, never, b.idle)
		var frame *protocol.FrameError
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.As(err, &frame) && frame.Code == protocol.CodeUnsupported:
			continue
		case err != nil:
			return err
		}
		if err := b.decide(msg, reserved); err != nil {
			return err
		}
	}
}

// idle is what is said while the peer has to wait: nothing.
func (b *neighbour) idle() error { return nil }

// decide acts on a message. A frame whose session is not open here yet, or not in its epoch, waits for that.
func (b *neighbour) decide(msg any, reserved int) error {
	if m, ok := msg.(protocol.Push); ok {
		return b.push(m, reserved)
	}
	defer b.release(reserved)
	switch m := msg.(type) {
	case protocol.Names:
		h := b.find(m.Owner, m.Session, m.Epoch, (*session.Session).Prev)
		if h != nil {
			b.node.named(h, m)
		}
	case protocol.Page:
		if h := b.find(m.Owner, m.Session, m.Epoch, (*session.Session).From); h != nil {
			return h.page(b.ctx, b.who, m)
		}
	}
	return nil
}

// push queues rows, when there is room for them.
func (b *neighbour) push(m protocol.Push, reserved int) error {
	h := b.find(m.Owner, m.Session, m.Epoch, (*session.Session).Prev)
	if h == nil {
		b.release(reserved)
		return nil
	}
	j := pushed(m, b.frames, reserved)
	if err := j.check(); err != nil {
		b.node.hand(h, j, refusal(protocol.CodeBadInput, "rows from %v: %v", b.who, err))
		return err // more of it says nothing new
	}
	for {
		changed := b.node.watch()
		f := b.node.enqueue(h, j)
		switch {
		case f == nil:
			return nil
		case f.Code != protocol.CodeBusy:
			b.release(reserved)
			return nil
		}
		if err := b.await(changed, b.idle); err != nil {
			b.release(reserved)
			return err
		}
	}
}

// find gives the hop that a frame is for, if the peer at the other end is the one that may send it. It waits for the
// session to be opened in that epoch.
func (b *neighbour) find(owner peer.ID, key protocol.Key, epoch uint32, allowed func(*session.Session) peer.ID) *hop {
	n, id := b.node, session.ID{Owner: owner, Key: key}
	for deadline := time.Now().Add(earlyFor); ; {
		n.mu.Lock()
		changed := n.changed
		s := n.table.Find(id)
		switch {
		case s == nil || s.Epoch() < epoch:
		case s.Epoch() > epoch || allowed(s) != b.who || s.Gone(time.Now()):
			n.mu.Unlock()
			return nil
		default:
			h := n.hops[s]
			n.mu.Unlock()
			return h
		}
		if n.early[b.who] >= earlyPerPeer || time.Now().After(deadline) {
			n.mu.Unlock()
			return nil
		}
		n.early[b.who]++
		n.mu.Unlock()
		err := b.await(changed, b.idle)
		n.mu.Lock()
		if n.early[b.who]--; n.early[b.who] == 0 {
			delete(n.early, b.who)
		}
		n.mu.Unlock()
		if err != nil {
			return nil
		}
	}
}

// named takes the names that the hop before has sent.
func (n *Node) named(h *hop, m protocol.Names) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if h.leg.epoch == m.Epoch {
		h.names = &m
		n.broadcast()
	}
}
