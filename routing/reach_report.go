package routing

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

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
	// Nested is the router's own address, without a port, where that lies behind another NAT. Nil: it doesn't, as far as is known.
	Nested ma.Multiaddr
	// Asking says that a router may still pass ports on: it has been asked just now.
	Asking bool
	// Closed says that peers have tried and nobody got through.
	Closed bool
	// Relays are peers at which this process has a place.
	Relays []peer.ID
	// Listen is where the process was told to listen; port 0 is any that is free.
	Listen []ma.Multiaddr
	// Outside is the address, without a port, at which peers see a process behind a NAT. Nil: it is not known.
	Outside ma.Multiaddr
}

// Now returns what is known now.
func (r *Reach) Now() Reached {
	r.mu.Lock()
	defer r.mu.Unlock()
	mapped := r.portsMapped()
	var nested ma.Multiaddr
	if _, all := r.mappings(); len(all) > 0 {
		nested = all[0][:1]
	}
	return Reached{
		Confirmed: slices.Clone(r.confirmed), Refuted: slices.Clone(r.refuted), Mapped: mapped, Nested: nested,
		Observers: len(r.seen), BehindNAT: r.behindNAT(), Closed: r.private, Relays: slices.Sorted(maps.Keys(r.places)),
		Listen: r.listen, Outside: r.seenAt, Asking: r.router != nil && len(mapped) == 0 && time.Since(r.asks) < routerAnswers,
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
	case s.Asking && s.BehindNAT:
		return "not from outside yet: the router is being asked to pass ports on"
	case s.BehindNAT || s.Closed:
		return "not at all from outside: a NAT or a firewall lies between, and no relay has a place"
	case s.Observers > 0:
		return "directly, by peers that see this machine's own addresses; nobody has tried from outside"
	}
	return "unknown: no peer has been met that could tell"
}

// Remedy says what would make it better; "": nothing has to be, or the router may still do it.
func (s Reached) Remedy() string {
	if len(s.Confirmed) > 0 || len(s.Mapped) > 0 || s.Asking || !s.BehindNAT && !s.Closed {
		return ""
	}
	advice := "open " + portsText(s.ports()) + " in the firewall of this machine and of the router"
	switch {
	case s.Nested != nil:
		advice = fmt.Sprintf("the router passes ports on, but has the address %s itself, behind the provider's NAT: ask the provider for a public address", s.Nested[0].Value())
	case s.BehindNAT:
		advice = s.forward() + "; or switch on UPnP or NAT-PMP there"
	}
	if len(s.Relays) == 0 {
		return advice + "; or --join a swarm in which somebody serves with --relay"
	}
	return advice + "; a relay works meanwhile, and is slower"
}

// forward says how a port is passed on to this machine. One that was chosen by the system is another one with each start.
func (s Reached) forward() string {
	ports, listen := s.ports(), ""
	if len(ports) == 0 {
		ports = []port{{"tcp", usualPort}}
		listen = "--listen /ip4/0.0.0.0/tcp/" + usualPort + " "
	}
	outside := "/ip4/PUBLIC-ADDRESS"
	if s.Outside != nil {
		outside = s.Outside.String()
	}
	at := fmt.Sprintf("%s/%s/%s", outside, ports[0].kind, ports[0].number)
	if ports[0].kind == "udp" {
		at += "/quic-v1"
	}
	return fmt.Sprintf("forward %s to this machine in the router, and serve with %s--announce %s", portsText(ports), listen, at)
}

// port is one that is listened on.
type port struct{ kind, number string }

// ports are those that were asked for by number, TCP first. IPv6 needs no forwarding.
func (s Reached) ports() (all []port) {
	for _, p := range []struct {
		code int
		kind string
	}{{ma.P_TCP, "tcp"}, {ma.P_UDP, "udp"}} {
		for _, a := range s.Listen {
			_, ip6 := a.ValueForProtocol(ma.P_IP6)
			n, err := a.ValueForProtocol(p.code)
			if err == nil && ip6 != nil && n != "0" && !isCircuit(a) && !slices.Contains(all, port{p.kind, n}) {
				all = append(all, port{p.kind, n})
			}
		}
	}
	return all
}

// portsText names ports.
func portsText(ports []port) string {
	if len(ports) == 0 {
		return "a port that --listen names"
	}
	var all []string
	for _, p := range ports {
		all = append(all, strings.ToUpper(p.kind)+" "+p.number)
	}
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
	said, remedy := now.String(), now.Remedy()
	r.mu.Lock()
	news := said+remedy != r.told && now.Observers > 0
	if news {
		r.told = said + remedy
	}
	r.mu.Unlock()
	if !news || !r.wide {
		return
	}
	if remedy != "" {
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
