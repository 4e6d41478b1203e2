package routing

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// Join connects to peers of a swarm, by addresses that users hand to each other, and asks them for offers. One that
// answers is enough: the others are given a little longer, and go on being dialled beside, as a machine that is off says
// nothing for seconds. If none answers, the error has one reason for each address.
func (d *Directory) Join(ctx context.Context, peers []peer.AddrInfo) error {
	if len(peers) == 0 {
		return nil
	}
	calls := d.dial(peers[:min(len(peers), maxJoined)])
	for asked := error(nil); ; {
		joined := calls.next(ctx)
		if len(joined) == 0 {
			calls.hangUp()
			if asked != nil {
				return fmt.Errorf("join: connected, but no directory answers: %w", asked)
			}
			return errors.New(strings.Join(calls.faults, "; "))
		}
		d.addJoined(joined)
		if _, asked = d.askAll(ctx, protocol.ModelID{}, ids(joined)); asked == nil {
			break
		}
	}
	began := d.begin(func() {
		for p := range calls.late() {
			d.addJoined([]peer.AddrInfo{p})
			_, _ = d.askAll(d.ctx, protocol.ModelID{}, []peer.ID{p.ID})
		}
	})
	if !began {
		calls.hangUp()
	}
	return nil
}

// calls are dials to peers, at once.
type calls struct {
	peers   []peer.AddrInfo
	hangUp  context.CancelFunc
	results chan called
	waiting int      // for so many results
	faults  []string // why peers have not answered
}

// called is how a dial to the peer with that index ended.
type called struct {
	at  int
	err error
}

func (d *Directory) dial(peers []peer.AddrInfo) *calls {
	ctx, cancel := context.WithTimeout(d.ctx, joinTimeout)
	c := &calls{peers: peers, hangUp: cancel, results: make(chan called, len(peers))}
	for i, p := range peers {
		if d.begin(func() { c.results <- called{i, d.connect(ctx, p)} }) {
			c.waiting++
		} else {
			c.faults = append(c.faults, "join: the directory is closed")
		}
	}
	return c
}

// next returns the peers that have answered when one has, and others could have; none if no more can.
func (c *calls) next(ctx context.Context) (joined []peer.AddrInfo) {
	defer context.AfterFunc(ctx, c.hangUp)()
	began := time.Now()
	var enough <-chan time.Time
	for c.waiting > 0 {
		select {
		case r := <-c.results:
			c.waiting--
			if r.err != nil {
				c.faults = append(c.faults, r.err.Error())
				continue
			}
			joined = append(joined, c.peers[r.at])
			if enough == nil {
				enough = time.After(max(joinGrace, 2*time.Since(began)))
			}
		case <-enough:
			return joined
		}
	}
	return joined
}

// late yields who answers later, and ends when no more can.
func (c *calls) late() iter.Seq[peer.AddrInfo] {
	return func(yield func(peer.AddrInfo) bool) {
		defer c.hangUp()
		for ; c.waiting > 0; c.waiting-- {
			if r := <-c.results; r.err == nil && !yield(c.peers[r.at]) {
				return
			}
		}
	}
}

// connect dials a peer that a user named.
func (d *Directory) connect(ctx context.Context, p peer.AddrInfo) error {
	name := "/p2p/" + p.ID.String()
	if len(p.Addrs) > 0 {
		name = p.Addrs[0].String() + name
	}
	if p.ID == d.host.ID() {
		return fmt.Errorf("join %s: this is the peer itself", name)
	}
	if err := d.host.Connect(ctx, p); err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			err = silent(d.ctx, p.Addrs)
		}
		return fmt.Errorf("join %s: no answer: %w", name, oneLine(err))
	}
	return nil
}

// silent says why a peer has not answered in time: who speaks without a swarm key to a peer that has one is not understood,
// and waits in vain.
func silent(ctx context.Context, addrs []ma.Multiaddr) error {
	dialer := net.Dialer{Timeout: knockTimeout}
	for _, a := range addrs {
		network, at, err := manet.DialArgs(a)
		if err != nil || !strings.HasPrefix(network, "tcp") {
			continue
		}
		if c, err := dialer.DialContext(ctx, network, at); err == nil {
			_ = c.Close()
			return errors.New("the peer answered but the handshake failed: wrong or missing swarm key? (Or it hangs.)")
		}
	}
	return errors.New("it did not answer in time: is it running, and is its swarm key the same?")
}

// addJoined remembers whom to ask first, and keeps the connection to it.
func (d *Directory) addJoined(peers []peer.AddrInfo) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range peers {
		if len(d.joined) < maxJoined && !slices.ContainsFunc(d.joined, func(j peer.AddrInfo) bool { return j.ID == p.ID }) {
			d.joined = append(d.joined, p)
			d.host.Peerstore().AddAddrs(p.ID, p.Addrs, peerstore.PermanentAddrTTL)
			d.host.ConnManager().Protect(p.ID, "baichuan.joined")
		}
	}
}
