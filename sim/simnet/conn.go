package simnet

import (
	"context"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	ma "github.com/multiformats/go-multiaddr"
)

// link is what the two ends of a connection share. The net's mutex guards it, as it does all here.
type link struct {
	net  *Net
	ends [2]*conn
	cut  bool     // what is on its way waits
	dark bool     // one of its hosts is silent for ever
	cuts int      // how often it was cut
	held []func() // what waits
}

// conn is one host's end of a connection.
type conn struct {
	link    *link
	host    *Host
	far     *conn
	number  int
	dir     network.Direction
	opened  time.Time
	streams map[*stream]struct{}
	ended   bool
}

var _ network.Conn = (*conn)(nil)

// connect makes a connection, of which it returns the dialler's end.
func connect(from, to *Host) *conn {
	n := from.net
	l := &link{net: n}
	n.count.conns++
	for i, h := range []*Host{from, to} {
		l.ends[i] = &conn{
			link: l, host: h, number: n.count.conns, dir: network.DirOutbound, opened: time.Now(), streams: make(map[*stream]struct{}),
		}
	}
	l.ends[0].far, l.ends[1].far = l.ends[1], l.ends[0]
	l.ends[1].dir = network.DirInbound
	from.conns[to.id], to.conns[from.id] = l.ends[0], l.ends[1]
	n.open[l] = struct{}{}
	return l.ends[0]
}

// setCut cuts or heals a link.
func (l *link) setCut(cut bool) {
	if cut == l.cut {
		return
	}
	l.cut = cut
	if cut {
		l.watch()
		return
	}
	for _, f := range l.held {
		f()
	}
	l.held = nil
	for _, c := range l.ends {
		for s := range c.streams {
			s.in.wake()
		}
	}
}

// watch breaks the connection when nothing has been heard for too long.
func (l *link) watch() {
	l.cuts++
	cuts := l.cuts
	time.AfterFunc(silence, func() {
		l.net.mu.Lock()
		defer l.net.mu.Unlock()
		if (l.cut || l.dark) && l.cuts == cuts {
			for _, c := range l.ends {
				c.end(network.ErrReset)
			}
		}
	})
}

// after does something at the other end when word of it has arrived there.
func (c *conn) after(f func()) {
	l := c.link
	arrive := func() {
		switch {
		case l.dark:
		case l.cut:
			l.held = append(l.held, f)
		default:
			f()
		}
	}
	time.AfterFunc(l.net.oneWay(c.host, c.far.host), func() {
		l.net.mu.Lock()
		defer l.net.mu.Unlock()
		arrive()
	})
}

// close ends the connection here now, and at the other end when it hears of it.
func (c *conn) close() {
	if c.ended {
		return
	}
	c.end(network.ErrReset)
	c.after(func() { c.far.end(network.ErrReset) })
}

// end ends this end of the connection.
func (c *conn) end(why error) {
	if c.ended {
		return
	}
	c.ended = true
	for s := range c.streams {
		s.end(why)
	}
	if c.host.conns[c.far.host.id] == c {
		delete(c.host.conns, c.far.host.id)
	}
	if c.far.ended {
		delete(c.link.net.open, c.link)
	}
	changed, lost := c.host.changed, event.EvtPeerConnectednessChanged{Peer: c.far.host.id, Connectedness: network.NotConnected}
	time.AfterFunc(0, func() { _ = changed.Emit(lost) }) // without the net's mutex: a listener may need it
}

// open makes a stream, whose handler at the other end runs when word of it arrives.
func (c *conn) open(protos []protocol.ID) *stream {
	n := c.link.net
	n.count.streams++
	near, far := &pipe{link: c.link}, &pipe{link: c.link} // named for who reads
	near.init(c.far.host, c.host)
	far.init(c.host, c.far.host)
	s := &stream{conn: c, number: n.count.streams, in: near, out: far, dir: network.DirOutbound}
	if len(protos) > 0 {
		s.proto = protos[0]
	}
	t := &stream{conn: c.far, number: n.count.streams, in: far, out: near, proto: s.proto, dir: network.DirInbound}
	s.far, t.far = t, s
	c.streams[s] = struct{}{}
	c.after(func() {
		handle := t.conn.host.handlers[t.proto]
		if t.conn.ended || handle == nil {
			t.reset(&network.StreamError{ErrorCode: network.StreamProtocolNegotiationFailed})
			return
		}
		t.conn.streams[t] = struct{}{}
		go handle(t)
	})
	return s
}

func (c *conn) lock() func() {
	c.link.net.mu.Lock()
	return c.link.net.mu.Unlock
}

// Close is part of network.Conn, as are the following.
func (c *conn) Close() error {
	defer c.lock()()
	c.close()
	return nil
}

func (c *conn) CloseWithError(network.ConnErrorCode) error { return c.Close() }

func (c *conn) IsClosed() bool {
	defer c.lock()()
	return c.ended
}

func (c *conn) NewStream(context.Context) (network.Stream, error) {
	defer c.lock()()
	if c.ended {
		return nil, network.ErrReset
	}
	return c.open(nil), nil
}

func (c *conn) GetStreams() (all []network.Stream) {
	defer c.lock()()
	for s := range c.streams {
		all = append(all, s)
	}
	return all
}

func (c *conn) As(any) bool                        { return false }
func (c *conn) ID() string                         { return fmt.Sprint(c.number) }
func (c *conn) LocalPeer() peer.ID                 { return c.host.id }
func (c *conn) RemotePeer() peer.ID                { return c.far.host.id }
func (c *conn) RemotePublicKey() crypto.PubKey     { return c.host.store.PubKey(c.far.host.id) }
func (c *conn) ConnState() network.ConnectionState { return network.ConnectionState{} }
func (c *conn) LocalMultiaddr() ma.Multiaddr       { return c.host.addr }
func (c *conn) RemoteMultiaddr() ma.Multiaddr      { return c.far.host.addr }
func (c *conn) Scope() network.ConnScope           { return &network.NullScope{} }
func (c *conn) Stat() network.ConnStats {
	return network.ConnStats{Stats: network.Stats{Direction: c.dir, Opened: c.opened}}
}
