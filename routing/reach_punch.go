package routing

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/connmgr"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/pnet"
	libprotocol "github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/core/transport"
	"github.com/libp2p/go-libp2p/p2p/protocol/identify"
	identifypb "github.com/libp2p/go-libp2p/p2p/protocol/identify/pb"
	quic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	"github.com/libp2p/go-msgio/pbio"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
	msmux "github.com/multiformats/go-multistream"
)

// wireID and identifier are libp2p's names for things of which this package has its own.
type (
	wireID     = libprotocol.ID
	identifier = identify.IDService
)

// quicTransport makes the transport, and remembers the sockets: what leaves by them comes from the ports that are
// listened on. The helper that dials back for other peers is made by it as well, under a name of its own.
func (r *Reach) quicTransport(key crypto.PrivKey, udp *quicreuse.ConnManager, psk pnet.PSK, gater connmgr.ConnectionGater, limits network.ResourceManager) (transport.Transport, error) {
	if id, err := peer.IDFromPrivateKey(key); r != nil && err == nil {
		r.sockets[id] = udp
	}
	return quic.NewTransport(key, udp, psk, gater, limits)
}

// mapping is how a NAT maps the port of UDP that is listened on. As long as the connection lives, so does it.
type mapping struct {
	outside ma.Multiaddr
	conn    transport.CapableConn
}

// punchAddrs returns where a hole can be punched to this process: as others see the ports that it sends from. It is
// called when a hole is wanted, with another peer waiting.
func (r *Reach) punchAddrs() []ma.Multiaddr {
	r.mu.Lock()
	first := !r.asked
	r.asked = true
	all := slices.Collect(maps.Values(r.outside))
	r.mu.Unlock()
	if first { // the service asks whether it should begin at all
		return []ma.Multiaddr{ma.StringCast("/ip4/0.0.0.0/udp/0/quic-v1")}
	}
	if a := r.outsideUDP(); a != nil {
		all = append(all, a)
	}
	for _, a := range r.host.Network().ListenAddresses() { // without a NAT, behind a firewall
		if manet.IsPublicAddr(a) {
			all = append(all, a)
		}
	}
	r.cfg.Log.Debug("a hole is to be punched", "addresses", all)
	return ma.Unique(all)
}

// holes says which addresses are dialled because another peer asks for it.
type holes Reach

// FilterLocal is part of libp2p's holepunch.AddrFilter: punchAddrs has chosen.
func (h *holes) FilterLocal(_ peer.ID, own []ma.Multiaddr) []ma.Multiaddr { return own }

// FilterRemote is part of libp2p's holepunch.AddrFilter. Private addresses are dialled if others see this process at one: then
// all that it can be reached from is a private network. Else a stranger could have our machine knock at doors of its own.
func (h *holes) FilterRemote(_ peer.ID, theirs []ma.Multiaddr) []ma.Multiaddr {
	h.mu.Lock()
	defer h.mu.Unlock()
	private := false
	for _, a := range h.outside {
		private = private || manet.IsPrivateAddr(a)
	}
	for _, m := range h.mapped {
		private = private || manet.IsPrivateAddr(m.outside)
	}
	theirs = slices.DeleteFunc(slices.Clone(theirs), func(a ma.Multiaddr) bool {
		return !isTransport(a) || !manet.IsPublicAddr(a) && (!private || manet.IsIPLoopback(a))
	})
	return theirs[:min(len(theirs), maxHoles)]
}

// outsideUDP returns how relays see the port that QUIC sends from. Who does not listen, as clients, begins to.
func (r *Reach) outsideUDP() ma.Multiaddr {
	if r.udp == nil {
		return nil
	}
	r.asking.Lock()
	defer r.asking.Unlock()
	if !r.listensUDP() {
		if err := r.host.Network().Listen(ma.StringCast("/ip4/0.0.0.0/udp/0/quic-v1")); err != nil {
			return nil
		}
	}
	ctx, cancel := context.WithTimeout(r.ctx, observeTimeout)
	defer cancel()
	for _, id := range r.throughRelays() {
		for _, a := range r.host.Peerstore().Addrs(id) {
			if _, err := a.ValueForProtocol(ma.P_QUIC_V1); err != nil || isCircuit(a) || manet.IsIP6LinkLocal(a) {
				continue
			}
			if m := r.mappingBy(ctx, id, a); m != nil {
				return m
			}
		}
	}
	return nil
}

func (r *Reach) listensUDP() bool {
	return slices.ContainsFunc(r.host.Network().ListenAddresses(), func(a ma.Multiaddr) bool {
		_, err := a.ValueForProtocol(ma.P_QUIC_V1)
		return err == nil
	})
}

// mappingBy asks a relay at an address, or remembers what it said.
func (r *Reach) mappingBy(ctx context.Context, id peer.ID, at ma.Multiaddr) ma.Multiaddr {
	r.mu.Lock()
	m := r.mapped[at.String()]
	r.mu.Unlock()
	if m != nil && !m.conn.IsClosed() {
		return m.outside
	}
	m, err := r.askMapping(ctx, id, at)
	if err != nil {
		r.cfg.Log.Debug("a relay does not say how it sees this machine", "relay", id, "address", at, "error", oneLine(err))
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if old := r.mapped[at.String()]; old != nil {
		_ = old.conn.Close()
	}
	r.mapped[at.String()] = m
	return m.outside
}

// askMapping connects to a relay from the port that is listened on, and has it say which port it sees. It does so under a
// name made up for it: under its own the relay would take the connection for one that carries streams.
func (r *Reach) askMapping(ctx context.Context, id peer.ID, at ma.Multiaddr) (*mapping, error) {
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		return nil, err
	}
	t, err := quic.NewTransport(key, r.udp, nil, nil, &network.NullResourceManager{})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, observeOneTimeout)
	defer cancel()
	conn, err := t.Dial(ctx, at, id)
	if err != nil {
		return nil, err
	}
	outside, err := observedBy(ctx, conn)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return &mapping{outside: outside, conn: conn}, nil
}

// observedBy has the peer at the other end of a connection say which address it sees at this one.
func observedBy(ctx context.Context, conn transport.CapableConn) (ma.Multiaddr, error) {
	s, err := conn.OpenStream(ctx)
	if err != nil {
		return nil, err
	}
	defer s.Reset()
	deadline, _ := ctx.Deadline()
	if err := s.SetDeadline(deadline); err != nil {
		return nil, err
	}
	if err := msmux.SelectProtoOrFail[wireID](identify.ID, s); err != nil {
		return nil, err
	}
	var said identifypb.Identify
	if err := pbio.NewDelimitedReader(s, maxIdentify).ReadMsg(&said); err != nil {
		return nil, err
	}
	a, err := ma.NewMultiaddrBytes(said.GetObservedAddr())
	if err != nil {
		return nil, err
	}
	if _, err := a.ValueForProtocol(ma.P_UDP); err != nil {
		return nil, errors.New("it sees no port of UDP")
	}
	return a, nil
}

// forgetMappings ends the connections that keep mappings alive.
func (r *Reach) forgetMappings() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.mapped {
		_ = m.conn.Close()
	}
	clear(r.mapped)
}

// UntilDirect waits until a host has a direct connection to a peer that it reaches over a relay: a hole has been punched, and
// streams that are opened anew go that way. An error means that ctx ended before.
func UntilDirect(ctx context.Context, h host.Host, id peer.ID) error {
	poll := time.NewTicker(directPoll)
	defer poll.Stop()
	for !Direct(h, id) {
		select {
		case <-poll.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for a direct connection: %w", ctx.Err())
		}
	}
	return nil
}
