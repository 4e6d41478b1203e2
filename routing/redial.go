package routing

import (
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
)

// Redial lets a host connect to a peer at once that it could not reach a moment ago: libp2p would refuse to for 5 s and more,
// and the peer may have been started anew since. It is for callers who bound themselves how often they try.
func Redial(h host.Host, id peer.ID) {
	if n, ok := h.Network().(interface{ Backoff() *swarm.DialBackoff }); ok {
		n.Backoff().Clear(id)
	}
}
