package routing

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	libprotocol "github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// server answers the streams of one protocol that strangers open, a bounded number at a time.
type server struct {
	host    host.Host
	id      libprotocol.ID
	service string
	answer  func(network.Stream) error

	mu     sync.Mutex
	open   map[network.Stream]struct{} // guarded by mu, as all below
	perID  map[peer.ID]int
	closed bool
	done   sync.WaitGroup
}

// serve begins to answer. An error from answer resets the stream.
func serve(h host.Host, id libprotocol.ID, service string, answer func(network.Stream) error) *server {
	s := &server{host: h, id: id, service: service, answer: answer, open: map[network.Stream]struct{}{}, perID: map[peer.ID]int{}}
	h.SetStreamHandler(id, s.handle)
	return s
}

// handle answers one stream.
func (s *server) handle(st network.Stream) {
	who := st.Conn().RemotePeer()
	if !s.enter(st, who) {
		_ = st.ResetWithError(network.StreamResourceLimitExceeded)
		return
	}
	defer s.leave(st, who)
	if err := st.Scope().SetService(s.service); err != nil {
		_ = st.ResetWithError(network.StreamResourceLimitExceeded)
		return
	}
	if err := s.answer(st); err != nil {
		_ = st.Reset()
		return
	}
	_ = st.Close()
}

// enter counts a stream, unless there are too many.
func (s *server) enter(st network.Stream, who peer.ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.open) >= maxStreams || s.perID[who] >= maxPeerStreams {
		return false
	}
	s.open[st] = struct{}{}
	s.perID[who]++
	s.done.Add(1)
	return true
}

func (s *server) leave(st network.Stream, who peer.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, st)
	if s.perID[who]--; s.perID[who] == 0 {
		delete(s.perID, who)
	}
	s.done.Done()
}

// close ends all streams and waits for their handlers.
func (s *server) close() {
	s.host.RemoveStreamHandler(s.id)
	s.mu.Lock()
	s.closed = true
	for st := range s.open {
		_ = st.Reset()
	}
	s.mu.Unlock()
	s.done.Wait()
}

// ask opens a stream to a peer, sends one message and reads one answer. The time from sending to the answer is the round
// trip. A Failure that the peer answers with is the error.
func ask(ctx context.Context, h host.Host, id peer.ID, proto libprotocol.ID, msg any) (answer any, rtt time.Duration, err error) {
	st, err := h.NewStream(network.WithAllowLimitedConn(ctx, "directory"), id, proto)
	if err != nil {
		return nil, 0, fmt.Errorf("peer %s: %w", id, oneLine(err))
	}
	defer func() {
		if err != nil {
			_ = st.Reset()
		} else {
			_ = st.Close()
		}
	}()
	stop := context.AfterFunc(ctx, func() { _ = st.SetDeadline(time.Now()) })
	defer stop()
	sent := time.Now()
	answer, err = exchange(st, msg)
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, 0, fmt.Errorf("peer %s: %w", id, oneLine(err))
	}
	return answer, time.Since(sent), nil
}

// exchange writes one message and reads one.
func exchange(rw io.ReadWriter, msg any) (any, error) {
	if err := protocol.WriteMessage(rw, msg); err != nil {
		return nil, err
	}
	answer, err := protocol.ReadMessage(rw, protocol.Limits{})
	if errors.Is(err, io.EOF) {
		return nil, errors.New("it closed the stream without an answer")
	}
	if err != nil {
		return nil, err
	}
	if f, failed := answer.(protocol.Failure); failed {
		return nil, f
	}
	return answer, nil
}

// lineError is an error whose text is put on one line; what it wraps stays.
type lineError struct {
	text string
	err  error
}

func (e *lineError) Error() string { return e.text }
func (e *lineError) Unwrap() error { return e.err }

// oneLine puts libp2p's errors, which list every address on a line of its own, on one line.
func oneLine(err error) error {
	var dial *swarm.DialError
	if !errors.As(err, &dial) {
		if text := err.Error(); strings.ContainsAny(text, "\r\n") {
			return &lineError{strings.Join(strings.Fields(text), " "), err}
		}
		return err
	}
	var causes []string
	for _, t := range dial.DialErrors {
		causes = append(causes, fmt.Sprintf("%s: %s", t.Address, explain(t.Cause)))
	}
	if len(causes) == 0 {
		causes = []string{explain(dial.Cause)}
	}
	return &lineError{strings.Join(causes, "; "), err}
}

// explain says what a failed dial most likely means.
func explain(err error) string {
	if err == nil {
		return "no address"
	}
	text := strings.Join(strings.Fields(err.Error()), " ")
	_, other, mismatch := strings.Cut(text, "remote key matches ")
	switch {
	case mismatch: // the handshake fails for this as well
		return "another peer answers there, " + other
	case strings.Contains(text, "incoming message was too large"), strings.Contains(text, "failed to negotiate security protocol"):
		return "the peer answered but the handshake failed: wrong or missing swarm key?"
	case errors.Is(err, swarm.ErrNoTransport):
		return "addresses of this kind are not dialled (in a private swarm, TCP alone is)"
	case errors.Is(err, swarm.ErrNoGoodAddresses):
		return "no address of it can be dialled: is its name known?"
	}
	return text
}
