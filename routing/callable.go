package routing

import (
	"slices"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// Callable is where a host may dial a peer on the word of a stranger that has passed on the peer's offer: over TCP, QUIC
// or a relay, and at a private or loopback address only if the host has one such itself. Else a stranger could have our
// machine knock at doors of its own network. Names are not resolved for the same reason.
func Callable(h host.Host, o *protocol.Offer) peer.AddrInfo {
	info := o.Dialable()
	info.Addrs = slices.DeleteFunc(dialable(h, info.Addrs), func(a ma.Multiaddr) bool { return !isTransport(a) })
	return info
}

// dialable returns those of some addresses that mean the same to this host as to whom it has them from: public ones, and
// private and loopback ones if it has such itself. Names are let through.
func dialable(h host.Host, addrs []ma.Multiaddr) []ma.Multiaddr {
	own := slices.DeleteFunc(h.Addrs(), isCircuit)
	private := slices.ContainsFunc(own, func(a ma.Multiaddr) bool { return manet.IsPrivateAddr(a) && !manet.IsIPLoopback(a) })
	loopback := slices.ContainsFunc(own, manet.IsIPLoopback)
	return slices.DeleteFunc(slices.Clone(addrs), func(a ma.Multiaddr) bool {
		switch {
		case manet.IsIPLoopback(a):
			return !loopback
		case manet.IsPrivateAddr(a):
			return !private
		}
		return false
	})
}

// isTransport says whether an address is a number, and of a kind that our hosts dial.
func isTransport(a ma.Multiaddr) bool {
	if _, err := manet.ToIP(a); err != nil || !manet.IsPublicAddr(a) && !manet.IsPrivateAddr(a) && !manet.IsIPLoopback(a) {
		return false
	}
	return slices.ContainsFunc([]int{ma.P_TCP, ma.P_QUIC_V1, ma.P_CIRCUIT}, func(code int) bool {
		_, err := a.ValueForProtocol(code)
		return err == nil
	})
}

// OnLoopback says whether a peer can be reached on this machine alone. All such are equally near: what their round trips tell
// is how busy the machine was.
func OnLoopback(o *protocol.Offer) bool {
	addrs := o.Dialable().Addrs
	return len(addrs) > 0 && !slices.ContainsFunc(addrs, func(a ma.Multiaddr) bool { return !manet.IsIPLoopback(a) })
}
