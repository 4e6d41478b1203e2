package node

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/kernels"
	"github.com/baichuan-node/baichuan-node/node/session"
	"github.com/baichuan-node/baichuan-node/protocol"
)

// stream is one session's control stream. The handler's own goroutine reads it and the writer's goroutine is alone in
// writing it, so that a client hears from a busy node and a node hears from a client that has enough.
type stream struct {
	node  *Node
	net   network.Stream
	read  *bufio.Reader
	owner peer.ID

	ctx    context.Context // ends with the stream or the node
	cancel context.CancelFunc

	session *session.Session // the reader's; nil before open and after close

	replies  chan any  // from the reader: messages to write
	outcomes chan *job // from the compute goroutine: never more than there is room for
	written  chan struct{}

	mu       sync.Mutex
	inflight []*job // steps without an answer, at most stepsInFlight, oldest first
}

// handle serves a session stream.
func (n *Node) handle(s network.Stream) {
	if !n.enter(s) {
		_ = s.ResetWithError(network.StreamResourceLimitExceeded)
		return
	}
	defer n.leave(s)
	ctx, cancel := context.WithCancel(n.ctx)
	st := &stream{
		node: n, net: s, read: bufio.NewReader(s), owner: s.Conn().RemotePeer(), ctx: ctx, cancel: cancel,
		replies: make(chan any), outcomes: make(chan *job, stepsInFlight), written: make(chan struct{}),
	}
	// A read or write that waits must end with the node.
	stop := context.AfterFunc(n.ctx, func() { _ = s.Reset() })
	defer stop()
	go st.write()
	err := st.serve()
	st.detach()
	if err == nil {
		cancel()
		<-st.written
		_ = s.Close()
		return
	}
	_ = s.Reset()
	cancel()
	<-st.written
	n.log.Debug("a session stream ended", "peer", st.owner, "error", err)
}

// serve reads messages until the stream ends. After a clean end it returns nil.
func (st *stream) serve() error {
	for {
		msg, reserved, err := st.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		var frame *protocol.FrameError
		switch {
		case errors.As(err, &frame):
			st.release(reserved)
			st.reply(frame.Failure())
			if frame.Code != protocol.CodeUnsupported {
				return nil
			}
			continue
		case err != nil:
			return err
		}
		st.decide(msg, reserved)
	}
}

// next reads one message. The memory that its frame takes is reserved first; whoever answers the message releases it.
func (st *stream) next() (msg any, reserved int, err error) {
	lengths, err := st.lengths()
	if err != nil {
		return nil, 0, err
	}
	if err := st.net.SetReadDeadline(time.Now().Add(frameTimeout)); err != nil {
		return nil, 0, err
	}
	size := uint64(binary.LittleEndian.Uint32(lengths)) + uint64(binary.LittleEndian.Uint32(lengths[4:]))
	if size <= uint64(st.node.maxFrame) { // a larger one is refused before any of it is read
		reserved = int(size)
		if !st.reserve(reserved) {
			return nil, 0, &protocol.FrameError{Code: protocol.CodeBusy, Text: "no memory to take the message"}
		}
	}
	msg, err = protocol.ReadMessage(st.read, st.node.limits)
	return msg, reserved, err
}

// lengths waits for a frame's first 8 bytes, for as long as a step is under way or the session lives.
func (st *stream) lengths() ([]byte, error) {
	patience := helloTimeout
	if st.session != nil {
		patience = st.node.cfg.Idle
	}
	for {
		if err := st.net.SetReadDeadline(time.Now().Add(patience)); err != nil {
			return nil, err
		}
		lengths, err := st.read.Peek(8)
		switch {
		case err == nil:
			return lengths, nil
		case errors.Is(err, os.ErrDeadlineExceeded) && st.oldest() != nil:
		case len(lengths) > 0 && errors.Is(err, io.EOF):
			return nil, io.ErrUnexpectedEOF
		default:
			return nil, err
		}
	}
}

// reserve asks the stream's scope for memory. Its limit (16 MiB in libp2p) is meant for us to use whole.
func (st *stream) reserve(bytes int) bool {
	return st.net.Scope().ReserveMemory(bytes, network.ReservationPriorityAlways) == nil
}

func (st *stream) release(reserved int) {
	if reserved > 0 {
		st.net.Scope().ReleaseMemory(reserved)
	}
}

// reply has the writer write a message.
func (st *stream) reply(msg any) {
	select {
	case st.replies <- msg:
	case <-st.ctx.Done():
	case <-st.written:
	}
}

// decide acts on a message from the session's owner.
func (st *stream) decide(msg any, reserved int) {
	switch m := msg.(type) {
	case protocol.Open:
		opened, err := st.open(m)
		if err != nil {
			f := asFailure(err)
			f.Epoch = m.Epoch
			st.reply(f)
		} else {
			st.reply(opened)
		}
	case protocol.Step:
		hash := sha256.New()
		hashIDs(hash, m.IDs)
		in := session.Input{Epoch: m.Epoch, Number: m.Number, Position: int(m.Position), N: len(m.IDs), NewIDs: m.NewIDs, Want: m.Want}
		hash.Sum(in.Hash[:0])
		st.submit(&job{in: in, ids: m.IDs, reserved: reserved})
		return
	case protocol.Push:
		st.push(m, reserved)
		return
	case protocol.Close:
		st.close(m)
	default:
		st.reply(refusal(protocol.CodeUnsupported, "a node takes no %T", msg))
	}
	st.release(reserved)
}

// open begins or changes the stream's session, waits until nothing older of it runs, and gives the answer. Its errors
// are protocol.Failures.
func (st *stream) open(m protocol.Open) (opened protocol.Opened, err error) {
	n := st.node
	own := n.shard.Span()
	if m.Span.Start < own.Start || m.Span.End > own.End {
		return opened, refusal(protocol.CodeNoSuchSpan, "this node serves layers %v, not %v", own, m.Span)
	}
	if st.session != nil && st.session.ID.Key != m.Session {
		return opened, refusal(protocol.CodeBadRequest, "this stream carries another session: open one stream for each")
	}
	if err := n.checkNext(m.Next); err != nil {
		return opened, refusal(protocol.CodeBadRequest, "%v", err)
	}
	s, err := n.openSession(st, m)
	if err != nil {
		return opened, err
	}
	for {
		n.mu.Lock()
		settled := n.settled
		done, closed := s.Settled(), s.Closed()
		opened = s.Opened()
		n.mu.Unlock()
		switch {
		case closed:
			return opened, refusal(protocol.CodeLostSession, "the session has ended here: open it anew")
		case done:
			return opened, nil
		}
		select {
		case <-settled:
		case <-st.ctx.Done():
			return opened, refusal(protocol.CodeDraining, "this node is leaving")
		}
	}
}

// checkNext refuses a next hop whose offer is not what it should be. None is in order: then rows go to the client.
func (n *Node) checkNext(sealed []byte) error {
	if len(sealed) == 0 {
		return nil
	}
	o, err := protocol.Unseal(sealed)
	if err != nil {
		return fmt.Errorf("the next hop: %w", err)
	}
	if o.Model != n.limits.Model {
		return fmt.Errorf("the next hop serves another model, %v", o.Model)
	}
	return nil
}

// push takes rows from the owner. Rows from the hop before will come by a protocol of their own, and end here as well.
func (st *stream) push(m protocol.Push, reserved int) {
	in := session.Input{Epoch: m.Epoch, Number: m.Number, Position: int(m.Position), N: m.N, NewIDs: m.NewIDs, Want: m.Want}
	j := &job{in: in, rows: kernels.Rows{N: m.N, Width: m.Width, Exp: m.Exp, Half: m.Half}, reserved: reserved}
	j.stream = st
	if st.session == nil || st.session.ID.Key != m.Session {
		st.refuse(j, refusal(protocol.CodeLostSession, "there is no such session: open it"))
		return
	}
	if err := j.rows.CheckCanonical(); err != nil {
		st.refuse(j, refusal(protocol.CodeBadRequest, "%v", err))
		return
	}
	hash := sha256.New()
	hash.Write(m.Exp)
	hash.Write(m.Half)
	hash.Sum(j.in.Hash[:0])
	st.submit(j)
}

// submit queues a step of the stream's session.
func (st *stream) submit(j *job) {
	j.stream, j.session, j.arrived = st, st.session, time.Now()
	if j.session == nil {
		st.refuse(j, refusal(protocol.CodeLostSession, "there is no session on this stream: open it"))
		return
	}
	st.mu.Lock()
	full := len(st.inflight) >= stepsInFlight
	if !full {
		st.inflight = append(st.inflight, j)
	}
	st.mu.Unlock()
	if !full && st.node.enqueue(j) {
		return
	}
	st.answered(j)
	st.refuse(j, refusal(protocol.CodeBusy, "%d steps of this session are under way, which is the limit", stepsInFlight))
}

// refuse answers a step that was not queued.
func (st *stream) refuse(j *job, f protocol.Failure) {
	j.fail(f)
	st.reply(*j.failure)
	st.release(j.reserved)
}

// close ends the stream's session. A key that is not this stream's names a session of somebody else, or none.
func (st *stream) close(m protocol.Close) {
	if st.session == nil || st.session.ID.Key != m.Session {
		return
	}
	st.node.closeSession(st.session)
	st.session = nil
}

// detach leaves the session without this stream, and takes back what it had queued.
func (st *stream) detach() {
	if st.session != nil {
		st.node.detach(st)
	}
}

// answered forgets a step that has its answer.
func (st *stream) answered(j *job) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.inflight = slices.DeleteFunc(st.inflight, func(k *job) bool { return k == j })
}

// oldest gives the step that has waited for its answer for the longest time, nil if there is none.
func (st *stream) oldest() *job {
	st.mu.Lock()
	defer st.mu.Unlock()
	if len(st.inflight) == 0 {
		return nil
	}
	return st.inflight[0]
}

func hashIDs(w io.Writer, ids []uint32) {
	b := make([]byte, 0, 4*len(ids))
	for _, id := range ids {
		b = binary.LittleEndian.AppendUint32(b, id)
	}
	w.Write(b) // a hash never fails
}
