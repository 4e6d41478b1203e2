// Package wire puts distance between processes of this machine: delay, a bounded line, lost packets, and partitions. It
// forwards what they say to each other, over TCP and UDP, and knows nothing of what that is.
//
// A process lives in a [Home], which has an address of its own (127.x.y.z; all of 127.0.0.0/8 is this machine). It listens
// there, and tells others the address of the home's door, which is the forwarder's. Processes that dial from the address
// at which they listen, as libp2p does, are known by it when they knock at another's door, so that both homes' lines
// count. Where a machine has 127.0.0.1 alone (macOS), and for who lives in no home, the caller's line is the one outside.
//
// What a packet goes through: the sender's line up and the receiver's down, each at its rate, all connections of a home
// together; then both homes' delays and jitter, without overtaking what was sent before by the same way. A datagram
// that is lost is gone. A lost packet of a TCP connection shows as it would to a program: nothing comes for one
// retransmission time, 200 ms and a round trip, and then all that has been held back. That is dearer than a fast
// retransmission, and what happens to a message that nothing follows, as most of ours are.
//
// Between homes that are cut off from each other nothing passes, not even the end of a connection, and datagrams are
// gone. Connections stay, and go on where they were when the cut has healed.
package wire

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Link says how a home is connected. The zero value is as good as this machine.
type Link struct {
	Delay    time.Duration // of a packet, one way, between the home and the middle of the net
	Jitter   time.Duration // at most so much more, drawn for each packet
	Up, Down int           // bytes/s that leave the home and enter it; 0: as many as come
	Loss     float64       // of its packets, either way
}

// Net is the net between some homes. Make one with New; it is safe for concurrent use. Whoever makes one must Close it.
type Net struct {
	ctx     context.Context
	end     context.CancelFunc
	seed    uint64
	flows   atomic.Uint64 // so many have been begun: the number seeds what is left to chance on each
	running sync.WaitGroup
	outside *Home

	mu      sync.Mutex
	homes   []*Home               // guarded by mu
	cut     func(a, b *Home) bool // guarded by mu; nil: nobody is
	changed chan struct{}         // guarded by mu; closed and replaced when the cut changes
}

// New makes a net without homes. outside is the line of who lives in none.
func New(seed uint64, outside Link) *Net {
	n := &Net{seed: seed, changed: make(chan struct{})}
	n.ctx, n.end = context.WithCancel(context.Background())
	n.outside = newHome(n, outside)
	return n
}

// Close hangs up all connections, closes all doors and waits until nothing runs any more.
func (n *Net) Close() error {
	n.end()
	n.mu.Lock()
	homes := slices.Clone(n.homes)
	n.mu.Unlock()
	var errs []error
	for _, h := range homes {
		errs = append(errs, h.Close())
	}
	n.running.Wait()
	return errors.Join(errs...)
}

// Outside is where those come from who live in no home.
func (n *Net) Outside() *Home { return n.outside }

// Cut parts homes from each other: those of which apart says so, in whatever order it is asked. nil heals all.
func (n *Net) Cut(apart func(a, b *Home) bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut = apart
	close(n.changed)
	n.changed = make(chan struct{})
}

// CutOff parts some homes from all that are not among them.
func (n *Net) CutOff(homes ...*Home) {
	off := make(map[*Home]bool)
	for _, h := range homes {
		off[h] = true
	}
	n.Cut(func(a, b *Home) bool { return off[a] != off[b] })
}

// apart says whether two homes are cut off from each other, and gives what is closed when that may have changed.
func (n *Net) apart(a, b *Home) (bool, <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cut != nil && (n.cut(a, b) || n.cut(b, a)), n.changed
}

// healed waits until something can pass between two homes.
func (n *Net) healed(ctx context.Context, a, b *Home) error {
	for {
		apart, changed := n.apart(a, b)
		if !apart {
			return ctx.Err()
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// from finds whose address somebody knocks from.
func (n *Net) from(addr net.Addr) *Home {
	at, err := netip.ParseAddrPort(addr.String())
	if err != nil {
		return n.outside
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, h := range n.homes {
		if h.inside.Addr() == at.Addr().Unmap() && h.own {
			return h
		}
	}
	return n.outside
}

// random gives what a new flow draws from.
func (n *Net) random() *rand.Rand { return rand.New(rand.NewPCG(n.seed, n.flows.Add(1))) }

// Home is where a process lives.
type Home struct {
	net      *Net
	link     Link
	up, down line
	inside   netip.AddrPort // where the process is to listen
	own      bool           // nobody else has the address
	door     netip.AddrPort // where others find it
	tcp      net.Listener
	udp      *net.UDPConn

	sent, received atomic.Int64
}

func newHome(n *Net, l Link) *Home {
	return &Home{net: n, link: l, up: line{rate: l.Up}, down: line{rate: l.Down}}
}

// Home makes a home and opens its door.
func (n *Net) Home(l Link) (*Home, error) {
	h := newHome(n, l)
	var err error
	if h.inside, h.own, err = freeAddress(); err != nil {
		return nil, err
	}
	if err := h.openDoor(); err != nil {
		return nil, err
	}
	n.mu.Lock()
	n.homes = append(n.homes, h)
	n.mu.Unlock()
	n.running.Go(h.answerTCP)
	n.running.Go(h.answerUDP)
	return h, nil
}

// Close closes the door of a home that nobody lives in any more.
func (h *Home) Close() error {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.net.homes = slices.DeleteFunc(h.net.homes, func(other *Home) bool { return other == h })
	return errors.Join(h.tcp.Close(), h.udp.Close())
}

// freeAddress finds an address of this machine that nobody else uses, and a port that is free for TCP and UDP.
func freeAddress() (at netip.AddrPort, own bool, err error) {
	for range addressTries {
		own = true
		host := netip.AddrFrom4([4]byte{127, byte(1 + rand.IntN(254)), byte(rand.IntN(256)), byte(1 + rand.IntN(254))})
		l, u, err := both(netip.AddrPortFrom(host, 0))
		if err != nil {
			own = false
			l, u, err = both(netip.AddrPortFrom(loopback(), 0))
		}
		if err != nil {
			continue
		}
		at = l.Addr().(*net.TCPAddr).AddrPort()
		return at, own, errors.Join(l.Close(), u.Close())
	}
	return at, false, errors.New("find a free address on this machine: none is free for TCP and UDP")
}

// openDoor listens where others find the home.
func (h *Home) openDoor() (err error) {
	for range addressTries {
		if h.tcp, h.udp, err = both(netip.AddrPortFrom(loopback(), 0)); err == nil {
			h.door = h.tcp.Addr().(*net.TCPAddr).AddrPort()
			return nil
		}
	}
	return fmt.Errorf("open a door for a home: %w", err)
}

// both listens to TCP and UDP at one port.
func both(at netip.AddrPort) (net.Listener, *net.UDPConn, error) {
	l, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(at))
	if err != nil {
		return nil, nil, err
	}
	u, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(l.Addr().(*net.TCPAddr).AddrPort()))
	if err != nil {
		return nil, nil, errors.Join(err, l.Close())
	}
	return l, u, nil
}

func loopback() netip.Addr { return netip.AddrFrom4([4]byte{127, 0, 0, 1}) }

// Inside is where the process is to listen, Door where others find it.
func (h *Home) Inside() netip.AddrPort { return h.inside }
func (h *Home) Door() netip.AddrPort   { return h.door }

// Link is the home's.
func (h *Home) Link() Link { return h.link }

// Sent and Received are the bytes that have left the home and entered it, of all that was not lost.
func (h *Home) Sent() int64     { return h.sent.Load() }
func (h *Home) Received() int64 { return h.received.Load() }

// line is one direction of a home's connection. It serves one packet after the other.
type line struct {
	rate int // bytes/s; 0: no bound

	mu   sync.Mutex
	free time.Time // guarded by mu; when the last packet is through
}

// behind is how long a packet that comes now waits for those before it.
func (l *line) behind(now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.free.Sub(now)
}

// pass puts a packet on the line and says when it is through. Who comes late, because the machine was busy, catches up.
func (l *line) pass(now time.Time, bytes int) time.Time {
	if l.rate == 0 {
		return now
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if earliest := now.Add(-catchUp); l.free.Before(earliest) {
		l.free = earliest
	}
	l.free = l.free.Add(time.Duration(float64(bytes) / float64(l.rate) * float64(time.Second)))
	return l.free
}

// sleep waits until a moment.
func sleep(ctx context.Context, until time.Time) error {
	wait := time.Until(until)
	if wait <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
