package routing

import (
	"context"
	"errors"
	"maps"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// What Windows says where others say ECONNREFUSED and ENETUNREACH.
const (
	wsaRefused     syscall.Errno = 10061
	wsaUnreachable syscall.Errno = 10051
)

// doubt is a peer that may have died.
type doubt struct {
	id peer.ID
	at time.Time
}

// doubts has somebody look whether a peer still is there: its connection has ended, or it does not answer. Where many are
// in doubt already, the next that asks it finds out.
func (d *Directory) doubts(id peer.ID) {
	select {
	case d.doubted <- doubt{id, time.Now()}:
	default:
	}
}

// watch notices the ends of connections, until Close.
func (d *Directory) watch() (stop func()) {
	gone := &network.NotifyBundle{DisconnectedF: func(_ network.Network, c network.Conn) { d.doubts(c.RemotePeer()) }}
	d.host.Network().Notify(gone)
	return func() { d.host.Network().StopNotify(gone) }
}

// knockAll looks after peers in doubt, one after the other, until Close.
func (d *Directory) knockAll() {
	for {
		select {
		case <-d.ctx.Done():
			return
		case who := <-d.doubted:
			// A process that ends closes what it has in any order.
			if wait(d.ctx, time.Until(who.at.Add(knockDelay))) == nil {
				d.knock(who.id)
			}
		}
	}
}

// wait waits, unless ctx ends before.
func wait(ctx context.Context, t time.Duration) error {
	timer := time.NewTimer(t)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// knock lets a peer's offer be over if its machine says that no such process is there. Silence proves nothing, as the way
// there may be broken: then the offer lasts as long as it says. If this is wrong all the same, the peer's next renewal brings
// it back.
func (d *Directory) knock(id peer.ID) {
	o := d.book.offerOf(id, time.Now())
	if o == nil || o.Relayed || d.host.Network().Connectedness(id) != network.NotConnected || !d.knocks.Try(time.Now(), id, 1) {
		return
	}
	if refused(d.ctx, dialable(d.host, o.Dialable().Addrs)) {
		d.book.end(id, o.Sequence, time.Now())
	}
}

// askLate asks peers whose renewals have not come whether they are still there. Where all are told of each, one that is not
// there is lost, and the answer brings it; or its peer is gone: then it is out as soon as it has been silent twice, and who
// moves to take its place need not wait for the end of what it said last. before has the offers whose peers were silent in the
// look before; those of this look are returned.
func (d *Directory) askLate(before map[peer.ID]uint64) (silent map[peer.ID]uint64) {
	if _, small := d.neighbours(); !small {
		return nil
	}
	late := d.book.late(d.ownModel(), lateAfter, time.Now())
	silent = map[peer.ID]uint64{}
	var mu sync.Mutex // guards silent
	each(d.others(slices.Collect(maps.Keys(late))), func(id peer.ID) {
		_, reached := d.record.fresh(id, time.Now()) // else there may be no way to it from here, and others tell of it
		told := d.askPeer(d.ctx, id)
		switch {
		case d.ctx.Err() != nil || (told.Err == nil && told.Offer != nil):
		case told.Err == nil, before[id] == late[id] && reached: // it lives and offers nothing any more, or it is silent again
			d.book.end(id, late[id], time.Now())
		default:
			d.doubts(id)
			mu.Lock()
			defer mu.Unlock()
			silent[id] = late[id]
		}
	})
	return silent
}

// refused reports whether somebody answers at some addresses of a process, and at each that nobody listens there. Only TCP
// tells.
func refused(ctx context.Context, addrs []ma.Multiaddr) bool {
	said := false
	for _, a := range addrs {
		if !isTransport(a) || !isTCP(a) {
			continue
		}
		proto, at, err := manet.DialArgs(a)
		if err != nil {
			return false
		}
		dialer := net.Dialer{Timeout: knockTimeout}
		c, err := dialer.DialContext(ctx, proto, at)
		switch {
		case err == nil:
			_ = c.Close()
			return false
		case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, wsaRefused):
			said = true
		case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, wsaUnreachable): // nobody here reaches such addresses
		default:
			return false
		}
	}
	return said
}
