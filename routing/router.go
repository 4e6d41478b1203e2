package routing

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"sync"
	"time"

	natpmp "github.com/jackpal/go-nat-pmp"
	"github.com/libp2p/go-libp2p/core/network"
	basichost "github.com/libp2p/go-libp2p/p2p/host/basic"
	"github.com/libp2p/go-netroute"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// router has this machine's router pass on the ports that are listened on: it asks by NAT-PMP (RFC 6886), which is answered
// in milliseconds, and leaves routers that don't speak it to libp2p, whose search by UPnP takes five seconds. libp2p would
// speak NAT-PMP too; it looks for the way to 0.0.0.0 to find the router, and go-netroute 0.4 refuses that on Linux.
type router struct {
	network network.Network
	ctx     context.Context
	cancel  context.CancelFunc
	done    sync.WaitGroup
	heard   chan struct{} // the ports that are listened on may be other ones
	answers func()        // called when it has been asked

	mu     sync.Mutex
	mapped map[portOf]outside   // guarded by mu, as the following: by NAT-PMP
	upnp   basichost.NATManager // nil: the router has not been asked by UPnP
}

// portOf is a port of this machine: tcp or udp, and the number.
type portOf struct {
	kind   string
	number uint16
}

// outside is where a port is reached from outside, and until when.
type outside struct {
	at    netip.AddrPort
	until time.Time
}

// newRouter begins to ask, and calls answers, which must not wait, each time that it has. Close ends it.
func newRouter(n network.Network, answers func()) *router {
	r := &router{network: n, answers: answers, heard: make(chan struct{}, 1), mapped: map[portOf]outside{}}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.done.Go(r.run)
	return r
}

// Close has the router forget the ports.
func (r *router) Close() error {
	r.cancel()
	r.done.Wait()
	r.mu.Lock()
	upnp := r.upnp
	r.mu.Unlock()
	if upnp == nil {
		return nil
	}
	return upnp.Close()
}

// run keeps the ports mapped until Close.
func (r *router) run() {
	listens := &network.NotifyBundle{ListenF: r.changes, ListenCloseF: r.changes}
	r.network.Notify(listens)
	defer r.network.StopNotify(listens)
	again := time.NewTicker(mapEvery)
	defer again.Stop()
	for {
		if ports := r.listened(); len(ports) > 0 {
			r.ask(ports)
			r.answers()
		}
		select {
		case <-r.heard:
		case <-again.C:
		case <-r.ctx.Done():
			r.forget()
			return
		}
	}
}

func (r *router) changes(network.Network, ma.Multiaddr) {
	select {
	case r.heard <- struct{}{}:
	default:
	}
}

// ask has the router map the ports for a while, and tries UPnP where it doesn't by NAT-PMP. What it has mapped before holds
// when it says nothing now.
func (r *router) ask(ports []portOf) {
	now, mapped := time.Now(), map[portOf]outside{}
	c, address, err := speaksPMP()
	for _, p := range ports {
		if err != nil || r.ctx.Err() != nil {
			break
		}
		// The same port outside as here, if it is free: then the address stays as it is from start to start.
		got, refused := c.AddPortMapping(p.kind, int(p.number), int(p.number), int(mapFor/time.Second))
		if refused == nil {
			mapped[p] = outside{netip.AddrPortFrom(address, got.MappedExternalPort), now.Add(mapFor)}
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range ports {
		if before, ok := r.mapped[p]; ok && mapped[p] == (outside{}) && now.Before(before.until) {
			mapped[p] = before
		}
	}
	r.mapped = mapped
	if len(mapped) == 0 && r.upnp == nil && r.ctx.Err() == nil {
		r.upnp = basichost.NewNATManager(r.network)
	}
}

// forget takes the mappings back.
func (r *router) forget() {
	r.mu.Lock()
	mapped := maps.Clone(r.mapped)
	clear(r.mapped)
	r.mu.Unlock()
	if len(mapped) == 0 {
		return
	}
	c, _, err := speaksPMP()
	for p := range mapped {
		if err != nil {
			return // they end by themselves
		}
		_, err = c.AddPortMapping(p.kind, int(p.number), 0, 0)
	}
}

// speaksPMP finds this machine's router, and its address outside. An error says that it doesn't speak NAT-PMP, or that there
// is none.
func speaksPMP() (*natpmp.Client, netip.Addr, error) {
	routes, err := netroute.New()
	if err != nil {
		return nil, netip.Addr{}, fmt.Errorf("find the router: %w", err)
	}
	_, gateway, _, err := routes.Route(net.IPv4(8, 8, 8, 8)) // any address far away: nothing is sent there
	if err != nil {
		return nil, netip.Addr{}, fmt.Errorf("find the router: %w", err)
	}
	if gateway == nil {
		return nil, netip.Addr{}, errors.New("find the router: there is none")
	}
	c := natpmp.NewClientWithTimeout(gateway, mapAnswers)
	own, err := c.GetExternalAddress()
	if err != nil {
		return nil, netip.Addr{}, fmt.Errorf("ask the router %s by NAT-PMP: %w", gateway, err)
	}
	at := netip.AddrFrom4(own.ExternalIPAddress)
	if at.IsUnspecified() {
		return nil, netip.Addr{}, fmt.Errorf("ask the router %s by NAT-PMP: it is not connected itself", gateway)
	}
	return c, at, nil
}

// listened returns the ports that are listened on beyond loopback.
func (r *router) listened() (all []portOf) {
	seen := map[portOf]bool{}
	for _, a := range r.network.ListenAddresses() {
		if p, _, ok := portIn(a); ok && !seen[p] {
			seen[p] = true
			all = append(all, p)
		}
	}
	return all
}

// HasDiscoveredNAT says whether there is a router that passes ports on.
func (r *router) HasDiscoveredNAT() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.mapped) > 0 || r.upnp != nil && r.upnp.HasDiscoveredNAT()
}

// GetMapping returns the address outside that leads to one that is listened on, or nil.
func (r *router) GetMapping(a ma.Multiaddr) ma.Multiaddr {
	r.mu.Lock()
	defer r.mu.Unlock()
	p, rest, ok := portIn(a)
	if !ok {
		return nil
	}
	if to, ok := r.mapped[p]; ok {
		return ma.Join(ma.StringCast(fmt.Sprintf("/ip4/%s/%s/%d", to.at.Addr(), p.kind, to.at.Port())), rest)
	}
	if r.upnp != nil {
		return r.upnp.GetMapping(a)
	}
	return nil
}

// portIn returns the port of an address of IPv4 that a router may pass something on to, and what follows it in the address.
func portIn(a ma.Multiaddr) (portOf, ma.Multiaddr, bool) {
	if len(a) < 2 || a[0].Protocol().Code != ma.P_IP4 || manet.IsIPLoopback(a) {
		return portOf{}, nil, false
	}
	at, err := manet.ToNetAddr(a[:2])
	if err != nil {
		return portOf{}, nil, false
	}
	switch at := at.(type) {
	case *net.TCPAddr:
		return portOf{"tcp", uint16(at.Port)}, a[2:], true
	case *net.UDPAddr:
		return portOf{"udp", uint16(at.Port)}, a[2:], true
	}
	return portOf{}, nil, false
}
