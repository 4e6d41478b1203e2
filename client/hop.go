package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
)

// hop is a link's end of one stream.
type hop struct {
	link  *link
	id    int
	info  peer.AddrInfo
	queue chan any // messages to write
	left  context.Context
	leave context.CancelFunc // resets the stream
	done  chan struct{}      // closed when the writer has ended
	quiet chan struct{}      // closed when the reader has ended

	received atomic.Int64 // bytes, so that half a frame counts as a sign of life
	noticed  int64        // of them, by the link's own goroutine
	failed   bool         // the stream is of no use any more; the link's own goroutine's
}

// event is what the goroutines of a hop tell: a message that came, one that was written, or the end of the stream.
type event struct {
	hop     int
	message any
	sent    any
	class   protocol.Class
	err     error
}

func newHop(l *link, id int, info peer.AddrInfo) *hop {
	h := &hop{
		link: l, id: id, info: info, queue: make(chan any, queueFrames), done: make(chan struct{}), quiet: make(chan struct{}),
	}
	h.left, h.leave = context.WithCancel(l.gone)
	return h
}

// queued queues a message, if there is room.
func (h *hop) queued(m any) bool {
	select {
	case h.queue <- m:
		return true
	default:
		return false
	}
}

// goodbye queues the last message, and sees to it that the hop is not waited for too long.
func (h *hop) goodbye(m any) bool {
	if !h.queued(m) {
		return false
	}
	stop := time.AfterFunc(closeLimit, h.leave)
	context.AfterFunc(h.left, func() { stop.Stop() })
	return true
}

// write connects to the hop, starts its reader, and writes what is queued until a goodbye has been written and heard: a
// frame that is still on its way when the process ends is lost, and the hop would keep the session.
func (h *hop) write() {
	defer close(h.done)
	defer h.leave()
	s, err := h.dial()
	if err != nil {
		h.tell(event{hop: h.id, class: protocol.Elsewhere, err: err})
		return
	}
	stop := context.AfterFunc(h.left, func() { s.Reset() })
	h.link.wg.Go(func() {
		defer close(h.quiet)
		h.read(s)
	})
	if routing.ByRelay(s.Conn()) {
		h.link.wg.Go(func() { h.straighten(s) })
	}
	for {
		var m any
		select {
		case m = <-h.queue:
		case <-h.left.Done():
			return
		}
		if err := h.writeOne(s, m); err != nil {
			h.tell(event{hop: h.id, class: classOf(s, err), err: ended("write", s, err)})
			return
		}
		if _, ok := m.(protocol.Close); ok {
			s.CloseWrite()
			select {
			case <-h.quiet: // the hop has closed its end
				if stop() {
					s.Close()
				}
			case <-h.left.Done():
			}
			return
		}
		h.tell(event{hop: h.id, sent: m})
	}
}

// straighten ends a stream over a relay once there is a direct connection to the peer: a stream stays where it was opened. The
// session opens it anew at once, with the peer's cache as it is.
func (h *hop) straighten(s network.Stream) {
	if routing.UntilDirect(h.left, h.link.host, h.info.ID) == nil {
		s.Reset()
	}
}

// writeOne writes one frame under a deadline of its own.
func (h *hop) writeOne(s network.Stream, m any) error {
	limit := writeLimit
	if p, ok := m.(protocol.Push); ok {
		limit += time.Duration(len(p.Half)) * time.Second / writeRate
	}
	if err := s.SetWriteDeadline(time.Now().Add(limit)); err != nil {
		return err
	}
	return protocol.WriteMessage(&counter{w: s, n: []*atomic.Int64{&h.link.bytes}}, m)
}

// dial opens the stream of the hop, over a relay too. That the peer could not be reached a moment ago does not count: it may
// have been started anew since, and how often it is tried is the session's to say.
func (h *hop) dial() (network.Stream, error) {
	ctx, cancel := context.WithTimeout(network.WithAllowLimitedConn(h.left, "session"), dialLimit)
	defer cancel()
	routing.Redial(h.link.host, h.info.ID)
	if err := h.link.host.Connect(ctx, h.info); err != nil {
		return nil, unreached(err)
	}
	s, err := h.link.host.NewStream(ctx, h.info.ID, protocol.SessionID)
	if err != nil {
		return nil, oneLine("open a stream", err)
	}
	return s, nil
}

// unreached says why a peer could not be connected to. How each of its addresses failed would fill a screen.
func unreached(err error) error {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return errors.New("it refuses connections")
	case errors.Is(err, context.DeadlineExceeded):
		return errors.New("it does not answer")
	}
	return errors.New("it can't be connected to")
}

// read reads what the hop says until its stream ends.
func (h *hop) read(s network.Stream) {
	r := &counter{r: s, n: []*atomic.Int64{&h.received, &h.link.bytes}}
	for {
		m, err := protocol.ReadMessage(r, h.link.lim)
		if f := (*protocol.FrameError)(nil); errors.As(err, &f) && f.Code == protocol.CodeUnsupported {
			continue // a later version's: it changes nothing that this one waits for
		}
		if err != nil {
			h.tell(event{hop: h.id, class: classOf(s, err), err: ended("read", s, err)})
			return
		}
		if !h.tell(event{hop: h.id, message: m}) {
			return
		}
	}
}

// tell hands an event to whoever drives the link; false: nobody will take it any more.
func (h *hop) tell(e event) bool {
	select {
	case h.link.events <- e:
		return true
	case <-h.left.Done():
		return false
	}
}

// classOf says what the end of a stream means: a peer whose connection lives may only have no room, or have restarted
// its handler. A frame that can't be right, or a passed deadline, is another matter.
func classOf(s network.Stream, err error) protocol.Class {
	if f := (*protocol.FrameError)(nil); errors.As(err, &f) {
		return protocol.Elsewhere
	}
	if f := (*network.StreamError)(nil); errors.As(err, &f) && f.ErrorCode == network.StreamResourceLimitExceeded {
		return protocol.Again
	}
	if t := (interface{ Timeout() bool })(nil); errors.As(err, &t) && t.Timeout() || s.Conn().IsClosed() {
		return protocol.Elsewhere
	}
	return protocol.Again
}

// ended says how reading from a hop, or writing to it, came to its end. How the layers below saw it is of no use to a reader.
func ended(doing string, s network.Stream, err error) error {
	switch {
	case errors.Is(err, io.EOF):
		return errors.New("it closed the stream")
	case s.Conn().IsClosed():
		return errBroken
	case errors.Is(err, network.ErrReset):
		return errors.New("it ended the stream")
	}
	return oneLine(doing, err)
}

// oneLine makes an error of libp2p's, which may fill a screen, fit for one line.
func oneLine(doing string, err error) error {
	const most = 240
	return fmt.Errorf("%s: %s", doing, protocol.CleanText(err.Error(), most))
}

// counter counts the bytes that are read or written.
type counter struct {
	r io.Reader
	w io.Writer
	n []*atomic.Int64
}

func (c *counter) count(n int) {
	for _, sum := range c.n {
		sum.Add(int64(n))
	}
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.count(n)
	return n, err
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.count(n)
	return n, err
}
