package wire

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"
)

// answerUDP takes the datagrams to the home. Each sender has a socket towards the process, so that it can tell them apart
// and answer.
func (h *Home) answerUDP() {
	senders := make(map[netip.AddrPort]*flow)
	b := make([]byte, maxDatagram)
	for {
		n, who, err := h.udp.ReadFromUDPAddrPort(b)
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue // somebody to whom the last one went is not there any more
		}
		f := senders[who]
		if f == nil && len(senders) < maxSenders {
			if f = h.newSender(who); f != nil {
				senders[who] = f
			}
		}
		if f != nil {
			f.offer(b[:n])
		}
	}
}

// newSender makes the way from a sender to the home, and back. nil: it can't be made.
func (h *Home) newSender(who netip.AddrPort) *flow {
	in, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(h.inside))
	if err != nil {
		return nil
	}
	from := h.net.from(net.UDPAddrFromAddrPort(who))
	there, back := newFlow(from, h, datagramsUnderWay), newFlow(h, from, datagramsUnderWay)
	context.AfterFunc(h.net.ctx, func() { _ = in.Close() })
	h.net.running.Go(func() { there.drop(func(b []byte) { _, _ = in.Write(b) }) })
	h.net.running.Go(func() { back.drop(func(b []byte) { _, _ = h.udp.WriteToUDPAddrPort(b, who) }) })
	h.net.running.Go(func() {
		b := make([]byte, maxDatagram)
		for h.net.ctx.Err() == nil {
			if n, err := in.Read(b); err == nil {
				back.offer(b[:n])
			} else {
				_ = sleep(h.net.ctx, time.Now().Add(time.Millisecond)) // the process does not listen, or not yet
			}
		}
	})
	return there
}

// offer puts a datagram on the way, unless it is lost.
func (f *flow) offer(b []byte) {
	now := time.Now()
	apart, _ := f.from.net.apart(f.from, f.to)
	if apart || f.lost(1) || max(f.from.up.behind(now), f.to.down.behind(now)) > maxBacklog {
		return
	}
	p := packet{bytes: append([]byte(nil), b...), at: f.arrives(f.passes(now, len(b)))}
	select {
	case f.way <- p:
		f.counted(len(b))
	default: // it would be more than the way holds
	}
}

// drop delivers datagrams until the net is closed.
func (f *flow) drop(deliver func([]byte)) {
	ctx := f.from.net.ctx
	for {
		select {
		case p := <-f.way:
			if err := sleep(ctx, p.at); err != nil {
				return
			}
			if apart, _ := f.from.net.apart(f.from, f.to); !apart {
				deliver(p.bytes)
			}
		case <-ctx.Done():
			return
		}
	}
}
