package routing

import (
	"slices"

	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// Door returns the address by which a stranger gets into the swarm of some peers: a public one, else one by way of a relay,
// else one of the local network, else one of this machine alone; "" if there is none. People paste it into a command line:
// it is of numbers and peers' ids alone.
func Door(offers []protocol.Offer) (door string) {
	best := noDoor
	for _, o := range offers {
		if o.State == protocol.Leaving {
			continue
		}
		for _, a := range o.Dialable().Addrs {
			if rank := doorRank(a); rank < best {
				best, door = rank, a.String()+"/p2p/"+o.Peer.String()
			}
		}
	}
	return door
}

// noDoor is the rank of an address that is none.
const noDoor = 4

// doorRank says how many can come in by an address; the lowest is the best.
func doorRank(a ma.Multiaddr) int {
	pasted := []int{ma.P_IP4, ma.P_IP6, ma.P_TCP, ma.P_UDP, ma.P_QUIC_V1, ma.P_P2P, ma.P_CIRCUIT}
	if !isTransport(a) || slices.ContainsFunc(a, func(c ma.Component) bool { return !slices.Contains(pasted, c.Protocol().Code) }) {
		return noDoor
	}
	switch {
	case manet.IsIPLoopback(a):
		return 3
	case manet.IsPrivateAddr(a):
		return 2
	case isCircuit(a):
		return 1
	}
	return 0
}
