// Package simnet is a network in memory for simulated swarms: libp2p hosts whose links take time, lose replies, are cut and
// healed, and whose machines are slow, die with a word or without one. It is made for testing/synctest: it waits in no other
// way than by timers and channels, opens no socket, and each stream has a goroutine at its handler's end alone.
//
// What it simulates is what our code sees of libp2p: connections that carry bytes in order or break, streams on them with
// deadlines, dials that are refused or not answered. Handshakes and keys are not made; a peer's identity is its host's word.
package simnet

import (
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	ma "github.com/multiformats/go-multiaddr"
)

// Config says what a network is like.
type Config struct {
	// RTT is the round trip between two peers, whichever asks. Required.
	RTT func(a, b peer.ID) time.Duration

	// Lose is asked for each message that a stream's answering side sends, and true makes it vanish. Nil: none does.
	Lose func(from, to peer.ID, id protocol.ID) bool

	// Sent is told of each message. Nil: nobody is told.
	Sent func(from, to peer.ID, id protocol.ID, message []byte)
}

// Net is a network. Its methods, and those of its hosts, are safe for concurrent use.
type Net struct {
	cfg Config

	mu    sync.Mutex           // guards all below, and all of hosts, connections and streams that changes
	at    map[string]*Host     // the newest host at each address
	sides func(id peer.ID) int // only peers of one side reach each other; nil: all do
	open  map[*link]struct{}   // connections
	count struct{ conns, streams int }
}

// New makes a network without hosts.
func New(cfg Config) *Net {
	return &Net{cfg: cfg, at: make(map[string]*Host), open: make(map[*link]struct{})}
}

// Host starts a host at an address. One that was there before must be down.
func (n *Net) Host(key crypto.PrivKey, addr ma.Multiaddr) (*Host, error) {
	h, err := newHost(n, key, addr)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.at[addr.String()] = h
	return h, nil
}

// Partition lets only peers of the same side reach each other: what is on its way between others waits. Connections
// between them break after some seconds, if it is not healed before. nil heals it.
func (n *Net) Partition(sides func(id peer.ID) int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sides = sides
	for l := range n.open {
		l.setCut(n.apart(l.ends[0].host.id, l.ends[1].host.id))
	}
}

func (n *Net) apart(a, b peer.ID) bool { return n.sides != nil && n.sides(a) != n.sides(b) }

// oneWay is how long a byte travels.
func (n *Net) oneWay(a, b *Host) time.Duration { return (n.rtt(a.id, b.id) + a.lag + b.lag) / 2 }

func (n *Net) rtt(a, b peer.ID) time.Duration { return n.cfg.RTT(a, b) }

const (
	// silence is how long nothing must have been heard for a connection to break: yamux's two keep-alives.
	silence = 10 * time.Second

	// window is the bytes that may be on their way in a stream.
	window = 1 << 20

	// handshakes is the round trips of a dial: TCP, TLS, identify.
	handshakes = 3
)

// attempts are when a dial that is not answered is tried again, as TCP does, and when it is given up.
func attempts() []time.Duration {
	return []time.Duration{0, time.Second, 3 * time.Second, 5 * time.Second}
}
