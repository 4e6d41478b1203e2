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

// mayDial counts a dial for an owner. If there were too many it says how long to wait.
func (n *Node) mayDial(now time.Time, owner peer.ID) time.Duration {
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
	d.left = min(dialBurst, d.left+float64(now.Sub(d.at))/float64(dialEvery)) - 1
	d.at = now
	n.dials[owner] = d
	return time.Duration(max(0, -d.left) * float64(dialEvery))
}

// pushStream opens a push stream to the peer of an offer, dialling it for owner if it is not connected.
func (n *Node) pushStream(ctx context.Context, owner peer.ID, to *protocol.Offer) (network.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	if n.host.Network().Connectedness(to.Peer) != network.Connected {
		select {
		case <-time.After(n.mayDial(time.Now(), owner)):
		case <-ctx.Done():
			return nil, fmt.Errorf("dial %v: too many dials for one client", to.Peer)
		}
		if err := n.host.Connect(ctx, routing.Callable(n.host, to)); err != nil {
			return nil, err
		}
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
	o, err := protocol.Unseal(sealed)
	if err != nil {
		return nil, err
	}
	if o.Model != n.limits.Model {
		return nil, fmt.Errorf("it serves another model, %v", o.Model)
	}
	return o, nil
}
