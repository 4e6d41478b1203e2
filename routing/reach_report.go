package routing

import (
	"maps"
	"slices"
	"strings"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// Reached is how others reach this process, as far as is known.
type Reached struct {
	// Confirmed are addresses at which another peer has got through from outside; Refuted those at which one has not.
	Confirmed, Refuted []ma.Multiaddr
	// Mapped are addresses that the router has mapped to this process, or that its owner announces.
	Mapped []ma.Multiaddr
	// Observers is how many peers have said what they see, BehindNAT whether any of them sees another machine's address.
	Observers int
	BehindNAT bool
	// Closed says that peers have tried and nobody got through.
	Closed bool
	// Relays are peers at which this process has a place.
	Relays []peer.ID
}

// Now returns what is known now.
func (r *Reach) Now() Reached {
	r.mu.Lock()
	defer r.mu.Unlock()
	return Reached{
		Confirmed: slices.Clone(r.confirmed), Refuted: slices.Clone(r.refuted), Mapped: r.portsMapped(),
		Observers: len(r.seen), BehindNAT: r.behindNAT(), Closed: r.private, Relays: slices.Sorted(maps.Keys(r.places)),
	}
}

// String says it in a few words.
func (s Reached) String() string {
	switch {
	case len(s.Confirmed) > 0:
		return "directly, at " + joined(s.Confirmed)
	case len(s.Mapped) > 0:
		return "by ports that the router passes on: " + joined(s.Mapped)
	case len(s.Relays) > 0 && (s.BehindNAT || s.Closed):
		names := make([]string, len(s.Relays))
		for i, id := range s.Relays {
			names[i] = id.String()
		}
		return "over relays: " + strings.Join(names, ", ")
	case s.BehindNAT || s.Closed:
		return "not at all from outside: a NAT or a firewall lies between, and no relay has a place"
	case s.Observers > 0:
		return "directly, by peers that see this machine's own addresses; nobody has tried from outside"
	}
	return "unknown: no peer has been met that could tell"
}

// Remedy says what would make it better; "": nothing has to be.
func (s Reached) Remedy(listen []ma.Multiaddr) string {
	if len(s.Confirmed) > 0 || len(s.Mapped) > 0 || !s.BehindNAT && !s.Closed {
		return ""
	}
	listen = slices.DeleteFunc(slices.Clone(listen), func(a ma.Multiaddr) bool { // which need no forwarding where there is IPv6
		_, err := a.ValueForProtocol(ma.P_IP6)
		return err == nil
	})
	advice := "forward " + ports(listen) + " to this machine in the router and --announce its address, or switch on UPnP or NAT-PMP there"
	if len(s.Relays) == 0 {
		return advice + ", or --join a swarm in which somebody serves with --relay"
	}
	return advice + ": a relay works, and is slower"
}

// ports names the ports of addresses.
func ports(addrs []ma.Multiaddr) string {
	var all []string
	for _, a := range addrs {
		for _, p := range []struct {
			code int
			name string
		}{{ma.P_TCP, "TCP"}, {ma.P_UDP, "UDP"}} {
			if n, err := a.ValueForProtocol(p.code); err == nil && !isCircuit(a) && !slices.Contains(all, p.name+" "+n) {
				all = append(all, p.name+" "+n)
			}
		}
	}
	if len(all) == 0 {
		return "a port"
	}
	slices.Sort(all) // TCP first
	return "port " + strings.Join(all, " and ")
}

func joined(addrs []ma.Multiaddr) string {
	all := make([]string, len(addrs))
	for i, a := range addrs {
		all[i] = a.String()
	}
	return strings.Join(all, ", ")
}

// tellChange logs when others reach this process in another way than before.
func (r *Reach) tellChange() {
	now := r.Now()
	said := now.String()
	r.mu.Lock()
	news := said != r.told && now.Observers > 0
	if news {
		r.told = said
	}
	r.mu.Unlock()
	if !news || !r.wide {
		return
	}
	if remedy := now.Remedy(r.host.Network().ListenAddresses()); remedy != "" {
		r.cfg.Log.Info("others reach this node "+said, "better", remedy)
		return
	}
	r.cfg.Log.Info("others reach this node " + said)
}

// Way says how a peer is reached over a host's connections: "direct tcp", "direct quic ip6", "punched quic", "relay PEER".
// o is the peer's offer, if it is known: where it says that the peer is reached over relays alone, a direct connection to an
// address that it does not name went through a hole in a NAT. "" is not at all.
func Way(conns []network.Conn, o *protocol.Offer) (way string) {
	for _, c := range conns {
		switch {
		case c.IsClosed():
		case ByRelay(c):
			way = strings.TrimSpace("relay " + RelayOf(c).String())
		default:
			return directWay(c.RemoteMultiaddr(), o)
		}
	}
	return way
}

// directWay says over what an address leads.
func directWay(a ma.Multiaddr, o *protocol.Offer) string {
	way := "direct"
	if o != nil && o.Relayed && !slices.Contains(o.Addrs, a.String()) {
		way = "punched"
	}
	if _, err := a.ValueForProtocol(ma.P_QUIC_V1); err == nil {
		way += " quic"
	} else {
		way += " tcp"
	}
	if _, err := a.ValueForProtocol(ma.P_IP6); err == nil {
		way += " ip6"
	}
	return way
}
