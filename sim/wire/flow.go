package wire

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// flow is one direction of a connection, or the datagrams of one sender.
type flow struct {
	from, to *Home
	random   *rand.Rand // the sending goroutine's alone
	last     time.Time  // when the latest arrives
	way      chan packet
}

// packet is on its way.
type packet struct {
	bytes []byte
	at    time.Time // when it arrives
	end   error     // of the connection: nothing follows. io.EOF: the sender has closed its half
}

func newFlow(from, to *Home, underWay int) *flow {
	return &flow{from: from, to: to, random: from.net.random(), way: make(chan packet, underWay)}
}

// lost draws whether one of some packets is lost.
func (f *flow) lost(packets int) bool {
	for range packets {
		if f.random.Float64() < f.from.link.Loss || f.random.Float64() < f.to.link.Loss {
			return true
		}
	}
	return false
}

// passes puts bytes on both lines, and says when they are through.
func (f *flow) passes(now time.Time, bytes int) time.Time {
	for _, through := range []time.Time{f.from.up.pass(now, bytes), f.to.down.pass(now, bytes)} {
		if through.After(now) {
			now = through
		}
	}
	return now
}

// arrives says when what has left arrives: not before what left earlier.
func (f *flow) arrives(left time.Time) time.Time {
	at := left.Add(f.delay())
	if jitter := f.from.link.Jitter + f.to.link.Jitter; jitter > 0 {
		at = at.Add(time.Duration(f.random.Int64N(int64(jitter))))
	}
	if at.After(f.last) {
		f.last = at
	}
	return f.last
}

func (f *flow) delay() time.Duration { return f.from.link.Delay + f.to.link.Delay }

// counted takes down what has passed.
func (f *flow) counted(bytes int) {
	f.from.sent.Add(int64(bytes))
	f.to.received.Add(int64(bytes))
}

// answerTCP takes the connections to the home.
func (h *Home) answerTCP() {
	for {
		conn, err := h.tcp.Accept()
		if err != nil {
			return // the door is closed
		}
		h.net.running.Go(func() { h.connect(conn.(*net.TCPConn)) })
	}
}

// connect carries a connection, until both its halves have ended. Somebody who is cut off gets no further than the door,
// and notices that as he would: nothing comes back.
func (h *Home) connect(out *net.TCPConn) {
	defer out.Close()
	from := h.net.from(out.RemoteAddr())
	if h.net.healed(h.net.ctx, from, h) != nil {
		return
	}
	dial, cancel := context.WithTimeout(h.net.ctx, dialTimeout)
	defer cancel()
	in, err := (&net.Dialer{}).DialContext(dial, "tcp4", h.inside.String())
	if err != nil {
		_ = out.SetLinger(0) // refused, as the process behind the door would
		return
	}
	defer in.Close()
	ctx, end := context.WithCancel(h.net.ctx)
	defer end()
	stop := context.AfterFunc(ctx, func() { _, _ = out.Close(), in.Close() })
	defer stop()
	var halves sync.WaitGroup
	for _, half := range []struct {
		from, to *Home
		in, out  *net.TCPConn
	}{{from, h, out, in.(*net.TCPConn)}, {h, from, in.(*net.TCPConn), out}} {
		_, _ = half.in.SetReadBuffer(socketBuffer), half.out.SetWriteBuffer(socketBuffer) // as well as the system allows
		f := newFlow(half.from, half.to, underWay)
		halves.Go(func() { f.send(ctx, half.in) })
		halves.Go(func() {
			if err := f.deliver(ctx, half.out); err != nil {
				_, _ = half.in.SetLinger(0), half.out.SetLinger(0)
				end()
			}
		})
	}
	halves.Wait()
}

// send puts what comes on the way, until nothing comes any more.
func (f *flow) send(ctx context.Context, in *net.TCPConn) {
	defer close(f.way)
	for {
		b := make([]byte, chunkBytes)
		n, err := in.Read(b)
		p := packet{bytes: b[:n], end: err}
		left := time.Now()
		if n > 0 {
			left = f.passes(left, n)
			if sleep(ctx, left) != nil {
				return
			}
			f.counted(n)
		}
		p.at = f.arrives(left)
		if n > 0 && f.lost((n+packetBytes-1)/packetBytes) {
			p.at = p.at.Add(retransmission + 2*f.delay())
			f.last = p.at
		}
		select {
		case f.way <- p:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// deliver hands over what arrives. An error ends the connection.
func (f *flow) deliver(ctx context.Context, out *net.TCPConn) error {
	for p := range f.way {
		if err := sleep(ctx, p.at); err != nil {
			return err
		}
		if err := f.from.net.healed(ctx, f.from, f.to); err != nil {
			return err
		}
		if _, err := out.Write(p.bytes); err != nil {
			return err
		}
		if p.end != nil && !errors.Is(p.end, io.EOF) {
			return p.end
		}
	}
	return out.CloseWrite()
}
