package routing

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	basichost "github.com/libp2p/go-libp2p/p2p/host/basic"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// ReachConfig says what a process does to be reached, and for others.
type ReachConfig struct {
	// Relay has the process pass on the bytes of peers that can't reach each other.
	Relay bool

	// Log tells when others reach this process in another way than before. Nil: nobody is told.
	Log *slog.Logger
}

// Reach sees to it that a process can be reached: it has the router map its ports, finds out by the word of other peers
// whether that works, keeps places at relays as long as it does not, and punches holes into NATs to get rid of the
// relays again. Give it to NewHost, then Start it; Close it before the directory and the host. It is safe for concurrent
// use.
//
// libp2p's own search for relays believes public addresses alone, and keeps what it reserves elsewhere to itself: hence
// ours, which works in any network.
type Reach struct {
	cfg       ReachConfig
	wide      bool                               // it listens beyond loopback
	sockets   map[peer.ID]*quicreuse.ConnManager // of QUIC, while the host is made
	udp       *quicreuse.ConnManager             // those of the host; nil: it has none
	listen    []ma.Multiaddr                     // as its owner says, without the ports that were chosen
	announced []ma.Multiaddr                     // by which others reach it, as its owner says
	router    basichost.NATManager               // nil: no router is asked for anything
	asks      time.Time                          // when it began to ask
	host      host.Host
	directory *Directory
	tcp, quic bool // whether it is listened on

	ctx    context.Context
	cancel context.CancelFunc
	done   sync.WaitGroup
	ends   []io.Closer // in the order of their starts
	poke   chan struct{}

	asking sync.Mutex // one begins to listen, and asks how a NAT maps the port; the others wait for the answer

	mu        sync.Mutex
	confirmed []ma.Multiaddr          // guarded by mu, as the following: reached from outside
	refuted   []ma.Multiaddr          // public, and not reached
	private   bool                    // AutoNAT's first version says that nobody gets through
	seen      map[peer.ID]bool        // whether a peer sees an address that is not ours: a NAT lies between
	seenAt    ma.Multiaddr            // the NAT's address, as a peer said last
	outside   map[string]ma.Multiaddr // by own address: as others see it, where the own port sends
	places    map[peer.ID]place       // at relays
	refused   map[peer.ID]time.Time   // relays that are not asked again before
	asked     bool                    // the punching has been told to begin
	mapped    map[string]*mapping     // of UDP, by the relay's address
	punches   punches                 // that are tried again
	punch     func(peer.ID) error     // has a hole punched to a peer that has come in over a relay; nil: nothing does
	told      string                  // what was logged last
	passed    string                  // the ports mapped when they were looked at last
	changed   chan struct{}           // closed when the places change
}

// NewReach makes what NewHost is given.
func NewReach(cfg ReachConfig) *Reach {
	r := &Reach{cfg: cfg, poke: make(chan struct{}, 1), changed: make(chan struct{}), sockets: map[peer.ID]*quicreuse.ConnManager{}, seen: map[peer.ID]bool{},
		outside: map[string]ma.Multiaddr{}, places: map[peer.ID]place{}, refused: map[peer.ID]time.Time{}, mapped: map[string]*mapping{},
		punches: punches{}}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	if r.cfg.Log == nil {
		r.cfg.Log = slog.New(slog.DiscardHandler)
	}
	return r
}

// prepare learns what will be listened on and announced.
func (r *Reach) prepare(listen, announced []ma.Multiaddr) {
	if r == nil {
		return
	}
	r.listen, r.announced = listen, announced
	for _, a := range listen {
		r.wide = r.wide || !manet.IsIPLoopback(a)
		_, err := a.ValueForProtocol(ma.P_TCP)
		r.tcp, r.quic = r.tcp || err == nil, r.quic || err != nil
	}
}

// options asks libp2p for what it does well: mapping ports, and dialling back for peers that want to know whether they
// can be reached. On loopback there is nobody to ask.
func (r *Reach) options() (opts []libp2p.Option) {
	if r == nil {
		return nil
	}
	if r.wide {
		opts = append(opts, libp2p.EnableNATService(), libp2p.EnableAutoNATv2(), libp2p.NATManager(func(n network.Network) basichost.NATManager {
			r.router, r.asks = newRouter(n, r.hasten), time.Now()
			return r.router
		}))
	}
	return opts
}

// Start begins. d is nil where no offers are known or made. ctx bounds the start alone.
func (r *Reach) Start(h host.Host, d *Directory) error {
	r.mu.Lock()
	r.host, r.directory, r.udp = h, d, r.sockets[h.ID()]
	r.mu.Unlock()
	events, err := h.EventBus().Subscribe([]any{new(event.EvtHostReachableAddrsChanged), new(event.EvtLocalReachabilityChanged),
		new(event.EvtPeerIdentificationCompleted), new(event.EvtPeerConnectednessChanged)}, eventbus.Name("baichuan.reach"),
		eventbus.BufSize(reachEvents))
	if err != nil {
		return fmt.Errorf("find out how this machine is reached: %w", err)
	}
	r.ends = append(r.ends, events)
	if r.cfg.Relay {
		service, err := newRelay(h)
		if err != nil {
			return fmt.Errorf("offer a relay: %w", err)
		}
		r.ends = append(r.ends, service)
	}
	if err := r.startPunching(); err != nil {
		return err
	}
	if d != nil {
		d.reachedBy(r)
	}
	r.done.Go(func() { r.run(events.Out()) })
	return nil
}

// Close ends what Start began, and waits for it.
func (r *Reach) Close() error {
	if r == nil {
		return nil
	}
	r.cancel()
	defer r.cutPunches()()
	var errs []error
	for _, e := range slices.Backward(r.ends) {
		errs = append(errs, e.Close())
	}
	r.done.Wait()
	r.forgetMappings()
	return errors.Join(errs...)
}

// hasten has run look after everything now.
func (r *Reach) hasten() {
	select {
	case r.poke <- struct{}{}:
	default:
	}
}

// run follows what is heard of this process's addresses, and keeps places at relays, until Close.
func (r *Reach) run(events <-chan any) {
	tick := time.NewTicker(tendEvery)
	defer tick.Stop()
	for {
		select {
		case <-r.ctx.Done():
			return
		case e, ok := <-events:
			if !ok {
				return
			}
			if !r.notice(e) {
				continue
			}
		case <-tick.C:
		case <-r.poke:
		}
		changed := r.tend()
		if (r.mappedAnew() || changed) && r.directory != nil {
			r.directory.hurry() // the addresses are other ones now
		}
		r.punchAgain(time.Now())
		r.tellChange()
	}
}

// notice takes an event. It says whether something may have to be done.
func (r *Reach) notice(e any) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch e := e.(type) {
	case event.EvtHostReachableAddrsChanged:
		r.confirmed, r.refuted = e.Reachable, e.Unreachable
	case event.EvtLocalReachabilityChanged:
		r.private = e.Reachability == network.ReachabilityPrivate
	case event.EvtPeerIdentificationCompleted:
		r.observe(e.Conn, e.ObservedAddr)
	case event.EvtPeerConnectednessChanged:
		_, lost := r.places[e.Peer]
		return lost && e.Connectedness == network.NotConnected
	}
	return true
}

// observe learns from how a peer sees this process. The caller holds mu.
func (r *Reach) observe(c network.Conn, observed ma.Multiaddr) {
	if c == nil || observed == nil || isCircuit(c.RemoteMultiaddr()) || manet.IsIPLoopback(observed) {
		return
	}
	ip, err := manet.ToIP(observed)
	if err != nil {
		return
	}
	behind := !ownIP(ip)
	if behind && manet.IsPublicAddr(c.RemoteMultiaddr()) && !manet.IsPublicAddr(observed) {
		return // who is outside sees no private address: it would have us dial into our own network
	}
	if _, known := r.seen[c.RemotePeer()]; !known && len(r.seen) >= maxObservers {
		clear(r.seen)
	}
	r.seen[c.RemotePeer()] = behind
	if behind {
		r.seenAt = observed[:1]
	}
	local := c.LocalMultiaddr()
	if _, err := local.ValueForProtocol(ma.P_TCP); err == nil && behind && r.listensOn(local) {
		r.outside[local.String()] = observed
	}
}

// listensOn says whether an address's port is one of those that are listened on: then others see a port that can be dialled.
func (r *Reach) listensOn(a ma.Multiaddr) bool {
	port, err := a.ValueForProtocol(ma.P_TCP)
	return err == nil && slices.ContainsFunc(r.host.Network().ListenAddresses(), func(l ma.Multiaddr) bool {
		p, err := l.ValueForProtocol(ma.P_TCP)
		return err == nil && p == port
	})
}

// ownIP says whether an address is one of this machine's.
func ownIP(ip net.IP) bool {
	own, err := net.InterfaceAddrs()
	return err != nil || slices.ContainsFunc(own, func(a net.Addr) bool {
		n, ok := a.(*net.IPNet)
		return ok && n.IP.Equal(ip)
	})
}

// behindNAT says whether peers see another address than this machine has. The caller holds mu.
func (r *Reach) behindNAT() bool {
	for _, behind := range r.seen {
		if behind {
			return true
		}
	}
	return false
}

// relayed says whether others reach this process over relays alone, as far as is known.
func (r *Reach) relayed() bool {
	if r == nil {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.places) > 0 && len(r.confirmed) == 0 && (r.behindNAT() || r.private) && len(r.portsMapped()) == 0
}

// relays says whether this process is a relay.
func (r *Reach) relays() bool { return r != nil && r.cfg.Relay }

// BeyondLoopback says whether the process listens where others than this machine may come from.
func (r *Reach) BeyondLoopback() bool { return r.wide }

// portsMapped returns the addresses that a router has mapped to this process, or that its owner says are, always in the same
// order; not those that others can't reach, as the router lies behind another NAT, for example that of its provider. The
// caller holds mu.
func (r *Reach) portsMapped() (all []ma.Multiaddr) {
	all, _ = r.mappings()
	return append(slices.Clone(r.announced), all...)
}

// mappings returns the addresses that a router has mapped to this process, and apart those that lie behind another NAT. The
// caller holds mu.
func (r *Reach) mappings() (open, nested []ma.Multiaddr) {
	if r.router == nil || r.host == nil || !r.router.HasDiscoveredNAT() {
		return nil, nil
	}
	own, err := r.host.Network().InterfaceListenAddresses()
	if err != nil {
		return nil, nil
	}
	for _, a := range own {
		m := r.router.GetMapping(a)
		switch {
		case m == nil || ma.Contains(r.announced, m) || ma.Contains(r.refuted, m):
		case manet.IsPublicAddr(m) || r.seenAt != nil && m[:1].Equal(r.seenAt):
			open = append(open, m)
		default:
			nested = append(nested, m)
		}
	}
	slices.SortFunc(open, ma.Multiaddr.Compare)
	return ma.Unique(open), nested
}

// mappedAnew says whether the router passes other ports on than when it was asked last.
func (r *Reach) mappedAnew() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := joined(r.portsMapped())
	anew := now != r.passed
	r.passed = now
	return anew
}

// Direct says whether a host is connected to a peer without a relay.
func Direct(h host.Host, id peer.ID) bool {
	return slices.ContainsFunc(h.Network().ConnsToPeer(id), func(c network.Conn) bool { return !ByRelay(c) && !c.IsClosed() })
}

// ByRelay says whether a connection leads through a relay.
func ByRelay(c network.Conn) bool { return c.Stat().Limited || isCircuit(c.RemoteMultiaddr()) }

// Connected says whether a host is connected to a peer, over a relay or without.
func Connected(h host.Host, id peer.ID) bool {
	c := h.Network().Connectedness(id)
	return c == network.Connected || c == network.Limited
}

func isCircuit(a ma.Multiaddr) bool {
	_, err := a.ValueForProtocol(ma.P_CIRCUIT)
	return err == nil
}
