package routing

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/client"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/proto"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/relay"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	wire "github.com/baichuan-node/baichuan-node/protocol"
)

// newRelay passes on the bytes of peers that can't reach each other. libp2p's own limits end a relayed connection after
// 128 KiB, some 13 tokens of an answer; ours are there so that a connection tells that it is relayed. It runs whether this
// machine is known to be public or not: that its owner asked for it is enough.
func newRelay(h host.Host) (*relay.Relay, error) {
	r := relay.DefaultResources()
	r.Limit = &relay.RelayLimit{Duration: relayDuration, Data: relayBytes}
	r.MaxReservations, r.MaxReservationsPerIP, r.MaxReservationsPerASN = relayPlaces, subnetConns, relayPlaces
	r.MaxCircuits, r.BufferSize = relayCircuits, relayBuffer
	r.ReservationTTL = relayKeeps
	return relay.New(h, relay.WithResources(r))
}

// addRelayLimits makes room for relayed connections: each takes two buffers and a stream at either end.
func addRelayLimits(l *rcmgr.ScalingLimitConfig) {
	all := rcmgr.BaseLimit{Streams: 2 * protocolStreams, StreamsInbound: protocolStreams, StreamsOutbound: protocolStreams, Memory: relayMemory}
	each := rcmgr.BaseLimit{Streams: 4 * relayCircuits, StreamsInbound: 2 * relayCircuits, StreamsOutbound: 2 * relayCircuits,
		Memory: 4 * relayCircuits * relayBuffer}
	l.AddServiceLimit(relay.ServiceName, all, rcmgr.BaseLimitIncrease{})
	l.AddServicePeerLimit(relay.ServiceName, each, rcmgr.BaseLimitIncrease{})
	for _, id := range []wireID{proto.ProtoIDv2Hop, proto.ProtoIDv2Stop} {
		l.AddProtocolLimit(id, all, rcmgr.BaseLimitIncrease{})
		l.AddProtocolPeerLimit(id, each, rcmgr.BaseLimitIncrease{})
	}
}

// place is what a relay keeps for this process.
type place struct {
	addrs []ma.Multiaddr // <relay>/p2p/<its id>/p2p-circuit
	renew time.Time
}

// ways returns the addresses at which a router or a relay takes connections for this process.
func (r *Reach) ways() (all []ma.Multiaddr) {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.announced) == 0 {
		all = r.portsMapped()
	}
	for _, id := range slices.Sorted(maps.Keys(r.places)) {
		all = append(all, r.places[id].addrs...)
	}
	return all
}

// Settle waits for a first place at a relay if this process needs one and knows a relay, so that the first thing that others
// hear of it is how to reach it.
func (r *Reach) Settle(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	for {
		r.mu.Lock()
		changed, settled := r.changed, len(r.places) > 0 || len(r.confirmed) > 0 || !r.behindNAT() || len(r.portsMapped()) > 0
		r.mu.Unlock()
		if settled || len(r.candidates(time.Now())) == 0 {
			return
		}
		r.hasten()
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// tend keeps places at relays as long as nobody is known to get through otherwise. A firewall without a NAT can't be told
// from an open door until somebody knocks, nor can a port that the owner says is forwarded, so a place is taken wherever a
// relay is known.
//
// It says whether the places are other ones now.
func (r *Reach) tend() (changed bool) {
	if r.cfg.Relay || !r.tcp && !r.quic {
		return false
	}
	now := time.Now()
	r.mu.Lock()
	needed := len(r.confirmed) == 0
	held := maps.Clone(r.places)
	r.mu.Unlock()
	for id, p := range held {
		switch {
		case !needed || !Direct(r.host, id):
			r.mu.Lock()
			r.leave(id)
			r.mu.Unlock()
		case now.After(p.renew) && !r.take(id):
		default:
			continue
		}
		delete(held, id)
		changed = true
	}
	for _, id := range r.candidates(now) {
		if !needed || len(held) >= relaysKept || r.ctx.Err() != nil {
			break
		}
		if r.take(id) {
			held[id] = place{}
			changed = true
		}
	}
	return changed
}

// candidates returns relays that may have a place: those that are connected first, then those that offers name.
func (r *Reach) candidates(now time.Time) (all []peer.ID) {
	isRelay := func(id peer.ID) bool {
		has, err := r.host.Peerstore().SupportsProtocols(id, proto.ProtoIDv2Hop)
		return err == nil && len(has) > 0
	}
	for _, id := range r.host.Network().Peers() {
		if Direct(r.host, id) && isRelay(id) {
			all = append(all, id)
		}
	}
	var offered []peer.ID
	if r.directory != nil {
		for _, s := range r.directory.Known(wire.ModelID{}) {
			if s.Offer.Relay && s.Offer.Peer != r.host.ID() && !slices.Contains(all, s.Offer.Peer) {
				offered = append(offered, s.Offer.Peer)
			}
		}
	}
	rand.Shuffle(len(offered), func(i, j int) { offered[i], offered[j] = offered[j], offered[i] })
	all = append(all, offered...)
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.DeleteFunc(all, func(id peer.ID) bool {
		_, held := r.places[id]
		return held || now.Before(r.refused[id])
	})
}

// take takes a place at a relay, or takes it for longer.
func (r *Reach) take(id peer.ID) bool {
	ctx, cancel := context.WithTimeout(r.ctx, reserveTimeout)
	defer cancel()
	p, err := r.reserve(ctx, id)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		if len(r.refused) >= maxObservers {
			clear(r.refused)
		}
		r.refused[id] = time.Now().Add(refusedFor)
		r.cfg.Log.Debug("a relay has no place", "relay", id, "error", oneLine(err))
		r.leave(id)
		return false
	}
	r.host.ConnManager().Protect(id, relayTag)
	r.places[id] = p
	r.placesChanged()
	return true
}

// leave forgets a place. The caller holds mu.
func (r *Reach) leave(id peer.ID) {
	if _, held := r.places[id]; held {
		delete(r.places, id)
		r.host.ConnManager().Unprotect(id, relayTag)
		r.placesChanged()
	}
}

// placesChanged wakes who waits for a place. The caller holds mu.
func (r *Reach) placesChanged() {
	close(r.changed)
	r.changed = make(chan struct{})
}

// reserve asks a relay for a place, and puts the addresses together itself: a relay names its public ones alone.
func (r *Reach) reserve(ctx context.Context, id peer.ID) (place, error) {
	got, err := client.Reserve(ctx, r.host, peer.AddrInfo{ID: id})
	if err != nil {
		return place{}, err
	}
	conns := slices.DeleteFunc(r.host.Network().ConnsToPeer(id), ByRelay)
	if len(conns) == 0 {
		return place{}, errors.New("the connection to it has ended")
	}
	p := place{renew: time.Now().Add(renewAfter(time.Until(got.Expiration)))}
	for _, at := range relayAddrs(conns[0].RemoteMultiaddr(), r.host.Peerstore().Addrs(id)) {
		circuit, err := ma.NewMultiaddr(fmt.Sprintf("%s/p2p/%s/p2p-circuit", at, id))
		if err == nil {
			p.addrs = append(p.addrs, circuit)
		}
	}
	return p, nil
}

// renewAfter says when to ask for a place anew that is kept for so long, as far as this machine's clock tells beside the
// relay's: one of them may be wrong.
func renewAfter(kept time.Duration) time.Duration { return min(max(kept/2, placeYoung), placeOld) }

// relayAddrs chooses where others may dial a relay: at one address of TCP and one of QUIC, public ones if there are any,
// and else beside the one at which we reach it; and at one more for those who have IPv6 alone, or IPv4 alone.
func relayAddrs(used ma.Multiaddr, known []ma.Multiaddr) (chosen []ma.Multiaddr) {
	used, _ = peer.SplitAddr(used)
	ip, err := manet.ToIP(used)
	if err != nil {
		return nil
	}
	all := slices.DeleteFunc(append([]ma.Multiaddr{used}, known...), func(a ma.Multiaddr) bool {
		at, err := manet.ToIP(a)
		return err != nil || isCircuit(a) || !at.Equal(ip) && !manet.IsPublicAddr(a)
	})
	as := func(a ma.Multiaddr) int { // lower is better
		n := 0
		if !manet.IsPublicAddr(a) {
			n = 2
		}
		if isIP6(a) != isIP6(used) {
			n++
		}
		return n
	}
	slices.SortStableFunc(all, func(a, b ma.Multiaddr) int { return as(a) - as(b) })
	for _, code := range []int{ma.P_TCP, ma.P_QUIC_V1} {
		i := slices.IndexFunc(all, func(a ma.Multiaddr) bool { _, err := a.ValueForProtocol(code); return err == nil })
		if i >= 0 {
			chosen = append(chosen, all[i])
		}
	}
	slices.SortStableFunc(all, func(a, b ma.Multiaddr) int { return kind(a) - kind(b) }) // TCP first
	i := slices.IndexFunc(all, func(a ma.Multiaddr) bool {
		return manet.IsPublicAddr(a) && !slices.ContainsFunc(chosen, func(c ma.Multiaddr) bool { return isIP6(c) == isIP6(a) })
	})
	if i >= 0 {
		chosen = append(chosen, all[i])
	}
	return chosen
}

func kind(a ma.Multiaddr) int {
	if isTCP(a) {
		return 0
	}
	return 1
}

func isIP6(a ma.Multiaddr) bool {
	_, err := a.ValueForProtocol(ma.P_IP6)
	return err == nil
}

// throughRelays returns the relays over which this host is connected to anybody, and those at which it has a place.
func (r *Reach) throughRelays() []peer.ID {
	r.mu.Lock()
	all := slices.Collect(maps.Keys(r.places))
	r.mu.Unlock()
	for _, c := range r.host.Network().Conns() {
		if id := RelayOf(c); id != "" && !slices.Contains(all, id) {
			all = append(all, id)
		}
	}
	slices.Sort(all)
	return all
}

// RelayOf returns the relay that a connection leads through, or nobody.
func RelayOf(c network.Conn) peer.ID {
	if !isCircuit(c.RemoteMultiaddr()) {
		return ""
	}
	text, err := c.RemoteMultiaddr().ValueForProtocol(ma.P_P2P)
	if err != nil {
		return ""
	}
	id, err := peer.Decode(text)
	if err != nil {
		return ""
	}
	return id
}
