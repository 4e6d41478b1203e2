package node

import (
	"context"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
)

// dials is how many dials a client may cause still, guarded by the node's mutex: a node must not be made to knock at
// doors for others.
type dials struct {
	left float64
	at   time.Time
}

// mayDial says whether a dial may be made for an owner now, and counts it.
func (n *Node) mayDial(now time.Time, owner peer.ID) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for who, d := range n.dials {
		if now.Sub(d.at) > dialBurst*dialEvery {
			delete(n.dials, who) // it has all of them again
		}
	}
	d, ok := n.dials[owner]
	if !ok {
		d = dials{left: dialBurst, at: now}
	}
	d.left = min(dialBurst, d.left+float64(now.Sub(d.at))/float64(dialEvery))
	d.at = now
	may := d.left >= 1
	if may {
		d.left--
	}
	n.dials[owner] = d
	return may
}

// reach connects to the peer of an offer, when a dial may be made for owner or when one for another session has got through.
func (n *Node) reach(ctx context.Context, owner peer.ID, to *protocol.Offer) error {
	poll := time.NewTicker(dialPoll)
	defer poll.Stop()
	for !routing.Connected(n.host, to.Peer) {
		if n.mayDial(time.Now(), owner) {
			return n.host.Connect(network.WithAllowLimitedConn(ctx, "push"), routing.Callable(n.host, to))
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return fmt.Errorf("dial %v: too many dials for one client", to.Peer)
		}
	}
	return nil
}

// pushStream opens a push stream to the peer of an offer, dialling it for owner if it is not connected.
func (n *Node) pushStream(ctx context.Context, owner peer.ID, to *protocol.Offer) (network.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	if err := n.reach(ctx, owner, to); err != nil {
		return nil, err
	}
	s, err := n.host.NewStream(network.WithAllowLimitedConn(ctx, "push"), to.Peer, protocol.PushID)
	if err != nil {
		return nil, err
	}
	if err := s.Scope().SetService(pushService); err != nil {
		_ = s.Reset()
		return nil, err
	}
	return s, nil
}

// checkOffer refuses a peer's offer, as a client has passed it on, that is not what it should be. None is nil.
func (n *Node) checkOffer(sealed []byte) (*protocol.Offer, error) {
	if len(sealed) == 0 {
		return nil, nil
	}
	o, err := n.directory.Unseal(sealed)
	if err != nil {
		return nil, err
	}
	if o.Model != n.limits.Model {
		return nil, fmt.Errorf("it serves another model, %v", o.Model)
	}
	return o, nil
}
