package routing

import (
	"context"
	"time"

	"github.com/libp2p/go-libp2p/core/control"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// guard is a resource manager that bounds, beside what there is at once, how often a peer may begin: streams and connections
// cost this machine some time each, whatever becomes of them. Streams are accepted one after the other from each connection, so
// a peer that opens too many waits here with its own. A connection too many is closed after the handshake, which tells
// whose it is.
type guard struct {
	network.ResourceManager
	ctx     context.Context
	end     context.CancelFunc
	streams *Pacer
	conns   *Pacer
}

func newGuard(m network.ResourceManager) *guard {
	g := &guard{ResourceManager: m, streams: NewPacer(streamRate, streamBurst), conns: NewPacer(peerConnRate, peerConnBurst)}
	g.ctx, g.end = context.WithCancel(context.Background())
	return g
}

// Close is part of network.ResourceManager.
func (g *guard) Close() error {
	g.end()
	return g.ResourceManager.Close()
}

// OpenStream is part of network.ResourceManager.
func (g *guard) OpenStream(p peer.ID, dir network.Direction) (network.StreamManagementScope, error) {
	if dir == network.DirInbound {
		if err := g.streams.Wait(g.ctx, p, 1); err != nil {
			return nil, err
		}
	}
	return g.ResourceManager.OpenStream(p, dir)
}

// InterceptSecured is part of connmgr.ConnectionGater, as all below.
func (g *guard) InterceptSecured(dir network.Direction, p peer.ID, _ network.ConnMultiaddrs) bool {
	return dir != network.DirInbound || g.conns.Try(time.Now(), p, 1)
}

func (g *guard) InterceptPeerDial(peer.ID) bool                                  { return true }
func (g *guard) InterceptAddrDial(peer.ID, ma.Multiaddr) bool                    { return true }
func (g *guard) InterceptAccept(network.ConnMultiaddrs) bool                     { return true }
func (g *guard) InterceptUpgraded(network.Conn) (bool, control.DisconnectReason) { return true, 0 }
