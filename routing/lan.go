package routing

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/pnet"
	"github.com/libp2p/go-libp2p/p2p/discovery/mdns"
	"github.com/libp2p/zeroconf/v2"
	ma "github.com/multiformats/go-multiaddr"
)

// lanService is what peers of one swarm ask for in their local network. A private swarm's name is made of its key, and does
// not tell it.
func lanService(key pnet.PSK) string {
	if key == nil {
		return "_baichuan._udp"
	}
	return "_bc-" + fingerprint(key)[:10] + "._udp"
}

// ServeLAN tells the local network by multicast of this process, and joins the peers of its swarm that it hears of, until
// the result is closed. The host listens already.
func ServeLAN(h host.Host, d *Directory, key pnet.PSK) (io.Closer, error) {
	ctx, cancel := context.WithCancel(context.Background())
	f := &lanFinds{ctx: ctx, directory: d, slots: make(chan struct{}, maxPeerStreams)}
	s := mdns.NewMdnsService(h, lanService(key), f)
	if err := s.Start(); err != nil {
		cancel()
		return nil, fmt.Errorf("find peers in the local network: %w", err)
	}
	return closeFunc(func() error {
		cancel()
		return s.Close()
	}), nil
}

// lanFinds joins peers that are found.
type lanFinds struct {
	ctx       context.Context
	directory *Directory
	slots     chan struct{} // whoever fills the network with names has no more of us than these
}

// HandlePeerFound is called in a goroutine for each peer that is heard of, each time.
func (f *lanFinds) HandlePeerFound(p peer.AddrInfo) {
	if f.ctx.Err() != nil || Connected(f.directory.host, p.ID) {
		return
	}
	select {
	case f.slots <- struct{}{}:
		defer func() { <-f.slots }()
	default:
		return // it is heard of again
	}
	p.Addrs = dialable(f.directory.host, p.Addrs)
	if len(p.Addrs) > 0 {
		_ = f.directory.Join(f.ctx, []peer.AddrInfo{p}) // it may have left, or belong to another swarm
	}
}

// FindLAN asks the local network for peers of a swarm until ctx ends or one is found.
func FindLAN(ctx context.Context, key pnet.PSK) []peer.AddrInfo {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	entries := make(chan *zeroconf.ServiceEntry, maxJoined)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = zeroconf.Browse(ctx, lanService(key), "local", entries) // without multicast nobody is found
	}()
	var found []peer.AddrInfo
	for {
		select {
		case e, ok := <-entries:
			if !ok {
				entries = nil // Browse ends
				continue
			}
			found = append(found, entryPeers(e)...)
			cancel()
		case <-done:
			return found[:min(len(found), maxJoined)]
		}
	}
}

// entryPeers reads what a peer has said in the local network.
func entryPeers(e *zeroconf.ServiceEntry) []peer.AddrInfo {
	var addrs []ma.Multiaddr
	for _, text := range e.Text {
		at, ok := strings.CutPrefix(text, "dnsaddr=")
		if a, err := ma.NewMultiaddr(at); ok && err == nil {
			addrs = append(addrs, a)
		}
	}
	infos, err := peer.AddrInfosFromP2pAddrs(addrs...)
	if err != nil {
		return nil
	}
	return infos
}

type closeFunc func() error

func (f closeFunc) Close() error { return f() }
