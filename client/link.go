package client

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/client/chain"
	"github.com/baichuan-node/baichuan-node/protocol"
)

// link carries out what a chain.Chain decides, over one stream to each hop. Its methods are called by one goroutine at
// a time; two goroutines a hop write and read, close waits for them.
type link struct {
	host  host.Host
	lim   protocol.Limits
	chain *chain.Chain
	hops  []*hop
	tag   string // protects the connections
	start time.Time

	events chan event
	gone   context.Context // done: the streams are to be reset
	drop   context.CancelFunc
	wg     sync.WaitGroup
}

// hop is a link's end at one peer.
type hop struct {
	info  peer.AddrInfo
	queue chan any // messages to write
	left  context.Context
	leave context.CancelFunc // resets the stream
	done  chan struct{}      // closed when the writer has ended
	quiet chan struct{}      // closed when the reader has ended

	received atomic.Int64 // bytes, so that half a frame counts as a sign of life
	noticed  int64        // of them, by the link's own goroutine
}

// event is what the goroutines of a hop tell: a message, a frame written, or the end of the stream.
type event struct {
	hop     int
	message any
	class   protocol.Class
	err     error
}

// newLink starts connecting to all hops.
func newLink(h host.Host, lim protocol.Limits, session protocol.Key, cfg chain.Config, peers []peer.AddrInfo) *link {
	l := &link{
		host: h, lim: lim, chain: chain.New(cfg), start: time.Now(),
		tag: "session/" + hex.EncodeToString(session[:]), events: make(chan event, 2*len(peers)),
	}
	l.gone, l.drop = context.WithCancel(context.Background())
	for i, info := range peers {
		p := &hop{info: info, queue: make(chan any, queueFrames), done: make(chan struct{}), quiet: make(chan struct{})}
		p.left, p.leave = context.WithCancel(l.gone)
		l.hops = append(l.hops, p)
		h.ConnManager().Protect(info.ID, l.tag)
		l.wg.Go(func() { l.write(i, p) })
	}
	return l
}

func (l *link) now() time.Duration { return time.Since(l.start) }

// drive carries out actions and what follows from them, until take says that an action was the last one. Its errors
// are the context's, take's, and the *chain.Fault that ends the session.
func (l *link) drive(ctx context.Context, actions []chain.Action, take func(chain.Action) (last bool, err error)) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		for _, a := range actions {
			if last, err := l.act(a, take); last || err != nil {
				return err
			}
		}
		wait := time.Hour
		if at, ok := l.chain.Deadline(); ok {
			wait = at - l.now()
		}
		timer.Reset(wait)
		select {
		case e := <-l.events:
			actions = l.apply(e)
		case <-timer.C:
			l.listen()
			actions = l.chain.Tick(l.now())
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (l *link) act(a chain.Action, take func(chain.Action) (bool, error)) (last bool, err error) {
	switch a := a.(type) {
	case *chain.Fault:
		return false, a
	case chain.Send:
		select {
		case l.hops[a.Hop].queue <- a.Message:
			return false, nil
		default:
			return false, &chain.Fault{Hop: a.Hop, Class: protocol.Elsewhere, Err: fmt.Errorf("it takes nothing: %d frames wait", queueFrames)}
		}
	}
	return take(a)
}

func (l *link) apply(e event) []chain.Action {
	now := l.now()
	switch {
	case e.err != nil:
		return l.chain.Lost(e.hop, e.class, e.err)
	case e.message == nil:
		l.chain.Sent(now, e.hop)
		return nil
	}
	h := l.hops[e.hop]
	h.noticed = h.received.Load()
	return l.chain.Handle(now, e.hop, e.message)
}

// listen tells the chain of hops whose frames are still arriving.
func (l *link) listen() {
	for i, h := range l.hops {
		if n := h.received.Load(); n != h.noticed {
			h.noticed = n
			l.chain.Heard(l.now(), i)
		}
	}
}

// close says goodbye to the hops, ends the streams and waits until nothing of the link runs. A hop that failed, if it
// is not -1, gets no goodbye.
func (l *link) close(failed int) {
	if failed >= 0 {
		l.hops[failed].leave()
	}
	for _, a := range l.chain.Close() {
		h := l.hops[a.(chain.Send).Hop]
		select {
		case h.queue <- a.(chain.Send).Message:
		default:
			h.leave()
		}
	}
	timer := time.AfterFunc(closeLimit, l.drop)
	defer timer.Stop()
	for _, h := range l.hops {
		for waiting := true; waiting; {
			select {
			case <-h.done:
				waiting = false
			case <-l.events: // nobody else listens any more
			}
		}
	}
	l.drop()
	l.wg.Wait()
	for _, h := range l.hops {
		l.host.ConnManager().Unprotect(h.info.ID, l.tag)
	}
}

// write connects to a hop, starts its reader, and writes what is queued until a goodbye has been written and heard: a
// frame that is still on its way when the process ends is lost, and the hop would keep the session.
func (l *link) write(i int, h *hop) {
	defer close(h.done)
	s, err := l.dial(h)
	if err != nil {
		l.tell(h, event{hop: i, class: protocol.Elsewhere, err: err})
		return
	}
	stop := context.AfterFunc(h.left, func() { s.Reset() })
	l.wg.Go(func() {
		defer close(h.quiet)
		l.read(i, h, s)
	})
	for {
		var m any
		select {
		case m = <-h.queue:
		case <-h.left.Done():
			return
		}
		if err := write(s, m); err != nil {
			l.tell(h, event{hop: i, class: classOf(s, err), err: ended("write", s, err)})
			s.Reset()
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
		l.tell(h, event{hop: i})
	}
}

// write writes one frame under a deadline of its own.
func write(s network.Stream, m any) error {
	limit := writeLimit
	if p, ok := m.(protocol.Push); ok {
		limit += time.Duration(len(p.Half)) * time.Second / writeRate
	}
	if err := s.SetWriteDeadline(time.Now().Add(limit)); err != nil {
		return err
	}
	return protocol.WriteMessage(s, m)
}

// dial opens the stream of a hop, over a relay too.
func (l *link) dial(h *hop) (network.Stream, error) {
	ctx, cancel := context.WithTimeout(network.WithAllowLimitedConn(h.left, "session"), dialLimit)
	defer cancel()
	if err := l.host.Connect(ctx, h.info); err != nil {
		return nil, oneLine("connect", err)
	}
	s, err := l.host.NewStream(ctx, h.info.ID, protocol.SessionID)
	if err != nil {
		return nil, oneLine("open a stream", err)
	}
	return s, nil
}

// read reads what a hop says until its stream ends.
func (l *link) read(i int, h *hop, s network.Stream) {
	r := &counter{r: s, n: &h.received}
	for {
		m, err := protocol.ReadMessage(r, l.lim)
		if f := (*protocol.FrameError)(nil); errors.As(err, &f) && f.Code == protocol.CodeUnsupported {
			continue // a later version's: it changes nothing that this one waits for
		}
		if err != nil {
			l.tell(h, event{hop: i, class: classOf(s, err), err: ended("read", s, err)})
			return
		}
		if !l.tell(h, event{hop: i, message: m}) {
			return
		}
	}
}

// tell hands an event to whoever drives the link; false: nobody will take it any more.
func (l *link) tell(h *hop, e event) bool {
	select {
	case l.events <- e:
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
		return errors.New("the connection to it broke")
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

// counter counts the bytes that are read.
type counter struct {
	r io.Reader
	n *atomic.Int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	return n, err
}
