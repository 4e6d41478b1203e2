package simnet

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// stream is one end of a stream.
type stream struct {
	conn    *conn
	far     *stream
	number  int
	proto   protocol.ID
	dir     network.Direction
	in, out *pipe
	over    bool // it was reset at this end
	ends    int  // of reading and writing that were closed at this end
}

var _ network.Stream = (*stream)(nil)

// pipe carries bytes one way. The net's mutex guards it.
type pipe struct {
	link     *link
	from, to *Host
	queue    []chunk
	size     int   // bytes in the queue
	readErr  error // why nothing can be read any more
	writeErr error
	readBy   time.Time // deadlines; zero: none
	writeBy  time.Time
	news     chan struct{} // holds one while the reader has to look again
	room     chan struct{} // likewise for the writer
}

// chunk is bytes, or the end of the stream, and when they arrive.
type chunk struct {
	bytes []byte
	end   bool
	at    time.Time
}

func (p *pipe) init(from, to *Host) {
	p.from, p.to = from, to
	p.news, p.room = make(chan struct{}, 1), make(chan struct{}, 1)
}

func (p *pipe) wake() {
	signal(p.news)
	signal(p.room)
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// put sends something on its way.
func (p *pipe) put(c chunk, now time.Time) {
	if p.link.dark {
		p.size += len(c.bytes) // until the window is full
		return
	}
	left := now
	if r := p.from.rate; r > 0 {
		if p.from.sentBy.After(left) {
			left = p.from.sentBy
		}
		left = left.Add(time.Duration(len(c.bytes)) * time.Second / time.Duration(r))
		p.from.sentBy = left
	}
	c.at = left.Add(p.link.net.oneWay(p.from, p.to))
	if n := len(p.queue); n > 0 && p.queue[n-1].at.After(c.at) {
		c.at = p.queue[n-1].at
	}
	p.queue = append(p.queue, c)
	p.size += len(c.bytes)
	signal(p.news)
}

// take gives what has arrived, or says until when there is nothing; zero: until there are news.
func (p *pipe) take(b []byte, now time.Time) (n int, until time.Time, ok bool, err error) {
	switch {
	case p.readErr != nil:
		return 0, until, true, p.readErr
	case !p.readBy.IsZero() && !now.Before(p.readBy):
		return 0, until, true, os.ErrDeadlineExceeded
	}
	until = p.readBy
	if len(p.queue) == 0 || p.link.cut {
		return 0, until, false, nil
	}
	c := &p.queue[0]
	switch {
	case c.at.After(now):
		if until.IsZero() || c.at.Before(until) {
			until = c.at
		}
		return 0, until, false, nil
	case c.end:
		return 0, until, true, io.EOF
	}
	n = copy(b, c.bytes)
	c.bytes = c.bytes[n:]
	if len(c.bytes) == 0 {
		p.queue = p.queue[1:]
	}
	p.size -= n
	signal(p.room)
	return n, until, true, nil
}

// Read is part of network.Stream.
func (s *stream) Read(b []byte) (int, error) {
	for {
		unlock := s.conn.lock()
		n, until, ok, err := s.in.take(b, time.Now())
		unlock()
		if ok {
			return n, err
		}
		await(s.in.news, until)
	}
}

// await waits for a signal or a time; zero: none.
func await(c chan struct{}, until time.Time) {
	if until.IsZero() {
		<-c
		return
	}
	t := time.NewTimer(time.Until(until))
	defer t.Stop()
	select {
	case <-c:
	case <-t.C:
	}
}

// Write is part of network.Stream. It blocks while the window is full.
func (s *stream) Write(b []byte) (int, error) {
	cfg := &s.conn.link.net.cfg
	from, to := s.conn.host.id, s.conn.far.host.id
	if cfg.Sent != nil {
		cfg.Sent(from, to, s.proto, b)
	}
	lost := s.dir == network.DirInbound && cfg.Lose != nil && cfg.Lose(from, to, s.proto)
	for {
		unlock := s.conn.lock()
		p, now := s.out, time.Now()
		var err error
		switch {
		case p.writeErr != nil:
			err = p.writeErr
		case !p.writeBy.IsZero() && !now.Before(p.writeBy):
			err = os.ErrDeadlineExceeded
		case p.size < window:
			if !lost {
				p.put(chunk{bytes: append([]byte(nil), b...)}, now)
			}
			unlock()
			return len(b), nil
		}
		until := p.writeBy
		unlock()
		if err != nil {
			return 0, err
		}
		await(p.room, until)
	}
}

// end ends this end of the stream.
func (s *stream) end(why error) {
	s.over = true
	if s.in.readErr == nil {
		s.in.readErr = why
	}
	if s.out.writeErr == nil {
		s.out.writeErr = why
	}
	s.in.wake()
	s.out.wake()
	delete(s.conn.streams, s)
}

// reset ends the stream here now, and at the other end when it hears of it.
func (s *stream) reset(why error) {
	if s.over {
		return
	}
	s.end(network.ErrReset)
	s.conn.after(func() { s.far.end(why) })
}

// Reset is part of network.Stream, as are the following.
func (s *stream) Reset() error {
	defer s.conn.lock()()
	s.reset(network.ErrReset)
	return nil
}

func (s *stream) ResetWithError(code network.StreamErrorCode) error {
	defer s.conn.lock()()
	s.reset(&network.StreamError{ErrorCode: code, Remote: true})
	return nil
}

func (s *stream) CloseWrite() error {
	defer s.conn.lock()()
	s.closeWrite()
	return nil
}

func (s *stream) closeWrite() {
	if s.out.writeErr != nil {
		return
	}
	s.out.writeErr = network.ErrReset
	s.out.put(chunk{end: true}, time.Now())
	s.closed()
}

// closed counts that one direction was closed at this end: after both the connection forgets the stream.
func (s *stream) closed() {
	if s.ends++; s.ends == 2 {
		delete(s.conn.streams, s)
	}
}

func (s *stream) CloseRead() error {
	defer s.conn.lock()()
	s.closeRead()
	return nil
}

func (s *stream) closeRead() {
	if s.in.readErr != nil {
		return
	}
	s.in.readErr = network.ErrReset
	s.in.wake()
	s.closed()
}

func (s *stream) Close() error {
	defer s.conn.lock()()
	s.closeWrite()
	s.closeRead()
	return nil
}

func (s *stream) SetDeadline(t time.Time) error {
	_ = s.SetReadDeadline(t)
	return s.SetWriteDeadline(t)
}

func (s *stream) SetReadDeadline(t time.Time) error {
	defer s.conn.lock()()
	s.in.readBy = t
	signal(s.in.news)
	return nil
}

func (s *stream) SetWriteDeadline(t time.Time) error {
	defer s.conn.lock()()
	s.out.writeBy = t
	signal(s.out.room)
	return nil
}

func (s *stream) ID() string                    { return fmt.Sprint(s.number) }
func (s *stream) Protocol() protocol.ID         { return s.proto }
func (s *stream) SetProtocol(protocol.ID) error { return nil }
func (s *stream) Stat() network.Stats           { return network.Stats{Direction: s.dir, Opened: s.conn.opened} }
func (s *stream) Conn() network.Conn            { return s.conn }
func (s *stream) Scope() network.StreamScope    { return &network.NullScope{} }
