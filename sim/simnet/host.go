package simnet

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/libp2p/go-libp2p/core/connmgr"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
	"github.com/libp2p/go-libp2p/p2p/host/peerstore/pstoremem"
	ma "github.com/multiformats/go-multiaddr"
)

// state is what became of a host.
type state int

const (
	up     state = iota
	gone         // closed or killed: its machine refuses connections
	silent       // its machine is dead: nothing is answered
)

// Host is a libp2p host in a Net. Close is a polite death, as it is of a real one; Kill and Crash are not.
type Host struct {
	connmgr.NullConnMgr
	net      *Net
	id       peer.ID
	addr     ma.Multiaddr
	store    peerstore.Peerstore
	bus      event.Bus
	found    event.Emitter // of event.EvtPeerIdentificationCompleted
	changed  event.Emitter // of event.EvtPeerConnectednessChanged
	handlers map[protocol.ID]network.StreamHandler
	conns    map[peer.ID]*conn
	state    state
	lag      time.Duration // more for each round trip
	rate     int           // bytes/s that leave; 0: no bound
	sentBy   time.Time     // when what it has sent so far has left
}

var _ host.Host = (*Host)(nil)

func newHost(n *Net, key crypto.PrivKey, addr ma.Multiaddr) (*Host, error) {
	id, err := peer.IDFromPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("start a simulated host: %w", err)
	}
	store, err := pstoremem.NewPeerstore()
	if err != nil {
		return nil, fmt.Errorf("start a simulated host: %w", err)
	}
	h := &Host{
		net: n, id: id, addr: addr, store: store, bus: eventbus.NewBus(),
		handlers: make(map[protocol.ID]network.StreamHandler), conns: make(map[peer.ID]*conn),
	}
	h.found, err = h.bus.Emitter(new(event.EvtPeerIdentificationCompleted))
	if err == nil {
		h.changed, err = h.bus.Emitter(new(event.EvtPeerConnectednessChanged))
	}
	err = errors.Join(err, store.AddPrivKey(id, key), store.AddPubKey(id, key.GetPublic()))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start a simulated host: %w", err), store.Close())
	}
	store.AddAddr(id, addr, peerstore.PermanentAddrTTL)
	return h, nil
}

// Slow makes a host's round trips longer by lag, and lets at most rate bytes/s leave it (0: no bound).
func (h *Host) Slow(lag time.Duration, rate int) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.lag, h.rate = lag, rate
}

// Kill ends the host as the end of a process does: its connections break at once, and it refuses others.
func (h *Host) Kill() { h.down(gone) }

// Crash ends the host as the loss of a machine does: no word of it reaches anybody any more. What runs over the host finds
// itself without a network, and can end.
func (h *Host) Crash() { h.down(silent) }

// Close is part of host.Host.
func (h *Host) Close() error {
	h.down(gone)
	return errors.Join(h.found.Close(), h.changed.Close(), h.store.Close())
}

func (h *Host) down(to state) {
	h.net.mu.Lock()
	if h.state != up {
		h.net.mu.Unlock()
		return
	}
	h.state = to
	conns := slices.Collect(maps.Values(h.conns))
	for _, c := range conns {
		if to == silent {
			c.link.dark = true
			c.link.watch()
			c.end(network.ErrReset)
		} else {
			c.close()
		}
	}
	h.net.mu.Unlock()
}

// errDown is what a host that is down finds.
var errDown = errors.New("the network is down")

// Connect is part of host.Host.
func (h *Host) Connect(ctx context.Context, to peer.AddrInfo) error {
	h.store.AddAddrs(to.ID, to.Addrs, peerstore.TempAddrTTL)
	_, err := h.dial(ctx, to.ID)
	return err
}

// dial gives the connection to a peer, a new one if there is none.
func (h *Host) dial(ctx context.Context, id peer.ID) (*conn, error) {
	h.net.mu.Lock()
	c, down := h.conns[id], h.state != up
	h.net.mu.Unlock()
	switch {
	case down:
		return nil, errDown
	case c != nil:
		return c, nil
	case id == h.id:
		return nil, errors.New("a dial to itself")
	}
	last := errors.New("no address")
	addrs := h.store.Addrs(id)
	for _, a := range addrs {
		if c, last = h.dialAt(ctx, id, a.String()); last == nil {
			return c, nil
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, fmt.Errorf("dial %s: %w", id, last)
}

// dialAt dials an address. An address where nobody has ever been is silent.
func (h *Host) dialAt(ctx context.Context, id peer.ID, addr string) (*conn, error) {
	began := time.Now()
	times := attempts()
	for _, at := range times[:len(times)-1] {
		if err := sleep(ctx, at-time.Since(began)); err != nil {
			return nil, err
		}
		far, answers := h.at(addr)
		if !answers {
			continue
		}
		if err := sleep(ctx, handshakes*h.trip(far)); err != nil {
			return nil, err
		}
		if c, err := h.meet(far, id); c != nil || err != nil {
			return c, err
		}
	}
	if err := sleep(ctx, times[len(times)-1]-time.Since(began)); err != nil {
		return nil, err
	}
	return nil, os.ErrDeadlineExceeded
}

// at finds who is at an address, if anything there answers.
func (h *Host) at(addr string) (far *Host, answers bool) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	far = h.net.at[addr]
	return far, far != nil && far.state != silent && !h.net.apart(h.id, far.id)
}

func (h *Host) trip(far *Host) time.Duration {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	return 2 * h.net.oneWay(h, far)
}

// meet makes the connection, or gives the one that has been made meanwhile. Both nil: it is not answered after all.
func (h *Host) meet(far *Host, id peer.ID) (*conn, error) {
	n := h.net
	n.mu.Lock()
	c := h.conns[id]
	switch {
	case h.state != up:
		n.mu.Unlock()
		return nil, errDown
	case c != nil:
		n.mu.Unlock()
		return c, nil
	case far.state == silent || n.apart(h.id, far.id):
		n.mu.Unlock()
		return nil, nil
	case far.state == gone:
		n.mu.Unlock()
		return nil, &os.SyscallError{Syscall: "connect", Err: syscall.ECONNREFUSED}
	case far.id != id:
		n.mu.Unlock()
		return nil, fmt.Errorf("peer id mismatch: %s is there", far.id)
	}
	c = connect(h, far)
	n.mu.Unlock()
	h.identify(c)
	far.identify(c.far)
	return c, nil
}

// identify learns what the peer of a new connection says of itself.
func (h *Host) identify(c *conn) {
	far := c.far.host
	h.net.mu.Lock()
	protos := slices.Sorted(maps.Keys(far.handlers))
	h.net.mu.Unlock()
	h.store.AddAddr(far.id, far.addr, peerstore.RecentlyConnectedAddrTTL)
	_ = h.store.AddPubKey(far.id, far.store.PubKey(far.id))
	_ = h.store.SetProtocols(far.id, protos...) // a store in memory refuses nothing
	_ = h.found.Emit(event.EvtPeerIdentificationCompleted{Peer: far.id, Conn: c, Protocols: protos})
}

// sleep lets time pass.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// NewStream is part of host.Host. Like libp2p's it is there at once, and a protocol that the peer lacks shows when the
// stream is read.
func (h *Host) NewStream(ctx context.Context, id peer.ID, protos ...protocol.ID) (network.Stream, error) {
	c, err := h.dial(ctx, id)
	if err != nil {
		return nil, err
	}
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	if c.ended {
		return nil, network.ErrReset
	}
	return c.open(protos), nil
}

// ID is part of host.Host, as are the following.
func (h *Host) ID() peer.ID                      { return h.id }
func (h *Host) Peerstore() peerstore.Peerstore   { return h.store }
func (h *Host) Addrs() []ma.Multiaddr            { return []ma.Multiaddr{h.addr} }
func (h *Host) Network() network.Network         { return view{h} }
func (h *Host) Mux() protocol.Switch             { return nil } // nobody asks
func (h *Host) ConnManager() connmgr.ConnManager { return h.NullConnMgr }
func (h *Host) EventBus() event.Bus              { return h.bus }

func (h *Host) SetStreamHandler(id protocol.ID, f network.StreamHandler) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.handlers[id] = f
}

func (h *Host) SetStreamHandlerMatch(id protocol.ID, _ func(protocol.ID) bool, f network.StreamHandler) {
	h.SetStreamHandler(id, f)
}

func (h *Host) RemoveStreamHandler(id protocol.ID) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	delete(h.handlers, id)
}

// view is a Host as a network.Network, whose methods have other forms.
type view struct{ *Host }

func (v view) LocalPeer() peer.ID                                { return v.id }
func (v view) SetStreamHandler(network.StreamHandler)            {} // the host has a handler for each protocol
func (v view) Listen(...ma.Multiaddr) error                      { return errors.New("it listens already") }
func (v view) ListenAddresses() []ma.Multiaddr                   { return v.Addrs() }
func (v view) InterfaceListenAddresses() ([]ma.Multiaddr, error) { return v.Addrs(), nil }
func (v view) ResourceManager() network.ResourceManager          { return &network.NullResourceManager{} }
func (v view) CanDial(peer.ID, ma.Multiaddr) bool                { return true }
func (v view) Notify(network.Notifiee)                           {} // nobody of ours listens
func (v view) StopNotify(network.Notifiee)                       {}

func (v view) NewStream(ctx context.Context, id peer.ID) (network.Stream, error) {
	return v.Host.NewStream(ctx, id)
}

func (v view) DialPeer(ctx context.Context, id peer.ID) (network.Conn, error) {
	c, err := v.dial(ctx, id)
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (v view) ClosePeer(id peer.ID) error {
	v.net.mu.Lock()
	defer v.net.mu.Unlock()
	if c := v.conns[id]; c != nil {
		c.close()
	}
	return nil
}

func (v view) Connectedness(id peer.ID) network.Connectedness {
	v.net.mu.Lock()
	defer v.net.mu.Unlock()
	if v.conns[id] != nil {
		return network.Connected
	}
	return network.NotConnected
}

func (v view) Peers() []peer.ID {
	v.net.mu.Lock()
	defer v.net.mu.Unlock()
	return slices.Sorted(maps.Keys(v.conns))
}

func (v view) Conns() (all []network.Conn) {
	for _, id := range v.Peers() {
		all = append(all, v.ConnsToPeer(id)...)
	}
	return all
}

func (v view) ConnsToPeer(id peer.ID) []network.Conn {
	v.net.mu.Lock()
	defer v.net.mu.Unlock()
	if c := v.conns[id]; c != nil {
		return []network.Conn{c}
	}
	return nil
}
