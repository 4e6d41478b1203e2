package node

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"

	"github.com/baichuan-node/baichuan-node/kernels"
	"github.com/baichuan-node/baichuan-node/node/session"
	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
)

// stream is a session's control stream, from its owner. The handler's own goroutine reads it, and answers at once what
// needs no computing: so the owner hears from a busy node. What the session's hop has to say is written by the hop's
// goroutine.
type stream struct {
	*frames
	hop     *hop // the reader's; nil before open and after close
	writing sync.Mutex
	broken  error // guarded by writing: a frame may have been written in part, and another would be taken for the rest of it
}

// handle serves a control stream.
func (n *Node) handle(s network.Stream) {
	if !n.enter(s) {
		_ = s.ResetWithError(network.StreamResourceLimitExceeded)
		return
	}
	defer n.leave(s)
	f, end := n.newFrames(s)
	defer end()
	st := &stream{frames: f}
	n.log.Debug("a session stream began", "relayed", routing.ByRelay(s.Conn()), "peer", st.who)
	err := st.serve()
	if st.hop != nil {
		n.detach(st)
	}
	if err == nil {
		_ = s.Close()
		return
	}
	_ = s.Reset()
	n.log.Debug("a session stream ended", "peer", st.who, "error", err)
}

// serve reads messages until the stream ends. After a clean end it returns nil.
func (st *stream) serve() error {
	for {
		patience := helloTimeout
		if st.hop != nil {
			patience = st.node.cfg.Idle
		}
		msg, reserved, err := st.next(patience, st.waited, st.beat)
		var frame *protocol.FrameError
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.As(err, &frame):
			if err := st.send(frame.Failure()); err != nil || frame.Code != protocol.CodeUnsupported {
				return err
			}
			continue
		case err != nil:
			return err
		}
		if err := st.decide(msg, reserved); err != nil {
			return err
		}
	}
}

// waited says whether the owner waits for an answer.
func (st *stream) waited() bool {
	st.node.mu.Lock()
	defer st.node.mu.Unlock()
	return st.hop != nil && len(st.hop.inflight) > 0
}

// send writes one message. Any goroutine may call it.
func (st *stream) send(msg any) error {
	st.writing.Lock()
	defer st.writing.Unlock()
	if st.broken != nil {
		return st.broken
	}
	err := st.net.SetWriteDeadline(time.Now().Add(writeTimeout))
	if err == nil {
		err = protocol.WriteMessage(st.net, msg)
	}
	if err != nil {
		st.broken = err
		st.cancel() // wakes the reader
	}
	return err
}

// touch keeps a session in use: its owner waits for an answer of the chain.
func (st *stream) touch() {
	if st.hop != nil {
		st.node.mu.Lock()
		st.hop.books.Touch(time.Now())
		st.node.mu.Unlock()
	}
}

// beat tells the owner what the hop is doing: the answer to a ping.
func (st *stream) beat() error {
	st.node.mu.Lock()
	beat := protocol.Heartbeat{Progress: st.node.computed()}
	if h := st.hop; h != nil {
		beat.Epoch = h.books.Epoch()
		if len(h.inflight) > 0 {
			j := h.inflight[0]
			beat.Epoch, beat.Number, beat.Running = j.in.Epoch, j.in.Number, j.started
		}
	}
	st.node.mu.Unlock()
	return st.send(beat)
}

// decide acts on a message from the owner.
func (st *stream) decide(msg any, reserved int) error {
	switch m := msg.(type) {
	case protocol.Step:
		in := session.Input{Epoch: m.Epoch, Number: m.Number, Position: int(m.Position), N: len(m.IDs), NewIDs: m.NewIDs, Want: m.Want}
		hashIDs(&in, m.IDs)
		out := len(m.IDs) * st.node.rowBytes() // rows come with their memory; ids become rows here
		if err := st.awaitMemory(out, st.beat); err != nil {
			return err
		}
		reserved += out
		return st.submit(&job{in: in, ids: m.IDs, through: m.Through, frames: st.frames, reserved: reserved})
	case protocol.Push:
		if st.hop == nil || st.hop.books.ID.Key != m.Session {
			st.release(reserved)
			return st.refuse(m.Epoch, m.Number, protocol.CodeLostSession, "there is no such session: open it")
		}
		return st.submit(pushed(m, st.frames, reserved))
	}
	defer st.release(reserved)
	cost := 1.0
	if _, ok := msg.(protocol.Open); ok {
		cost = openCost
	}
	if err := st.paced(cost); err != nil {
		return err
	}
	switch m := msg.(type) {
	case protocol.Open:
		return st.open(m)
	case protocol.Ping:
		st.touch()
		return st.beat()
	case protocol.Replay:
		return st.request(m.Epoch, m)
	case protocol.HandOver:
		return st.request(m.Epoch, m)
	case protocol.Close:
		if st.hop != nil && st.hop.books.ID.Key == m.Session { // else it names a session of somebody else, or none
			st.node.closeSession(st.hop)
		}
		return nil
	}
	f := refusal(protocol.CodeUnsupported, "a node takes no %T", msg)
	return st.send(f)
}

// paced holds up a peer that asks too often.
func (st *stream) paced(cost float64) error { return st.node.asks.Wait(st.ctx, st.who, cost) }

// refuse answers a message that nothing is done about.
func (st *stream) refuse(epoch uint32, number uint64, code protocol.Code, format string, args ...any) error {
	if err := st.paced(1); err != nil {
		return err
	}
	f := refusal(code, format, args...)
	f.Epoch, f.Number = epoch, number
	return st.send(f)
}

// open begins or changes the stream's session. The hop answers when nothing older runs.
func (st *stream) open(m protocol.Open) error {
	n := st.node
	if st.hop != nil && st.hop.books.ID.Key != m.Session {
		return st.refuse(m.Epoch, 0, protocol.CodeBadRequest, "this stream carries another session: open one stream for each")
	}
	next, err := n.checkOffer(m.Next)
	if err != nil {
		return st.refuse(m.Epoch, 0, protocol.CodeBadRequest, "the next hop: %v", err)
	}
	for {
		changed := n.watch()
		wait, err := n.openSession(st, m, next)
		if err != nil {
			f := asFailure(err)
			f.Epoch = m.Epoch
			n.metrics.refused(f.Code)
			n.log.Debug("an open was refused", "peer", st.who, "layers", m.Span.String(), "code", f.Code.String(), "reason", f.Text)
			return st.send(f)
		}
		if !wait {
			return nil
		}
		if err := st.await(changed, st.beat); err != nil {
			return err
		}
	}
}

// request has the hop do what takes longer: send again, hand over.
func (st *stream) request(epoch uint32, m any) error {
	if st.hop == nil || !st.node.ask(st.hop, m) {
		return st.refuse(epoch, 0, protocol.CodeLostSession, "there is no session on this stream, or too much is asked of it at once")
	}
	return nil
}

// submit queues a step that the owner has sent. A third step at once is refused; rows that the owner passes on and what is
// replayed wait here, and the owner is told meanwhile that the node lives.
func (st *stream) submit(j *job) error {
	j.stream = st
	if st.hop == nil {
		st.release(j.reserved)
		return st.refuse(j.in.Epoch, j.in.Number, protocol.CodeLostSession, "there is no session on this stream: open it")
	}
	if err := j.check(); err != nil {
		st.release(j.reserved)
		f := refusal(protocol.CodeBadRequest, "%v", err)
		f.Epoch, f.Number = j.in.Epoch, j.in.Number
		st.node.mu.Lock()
		st.hop.suspect(&f)
		st.node.mu.Unlock()
		return st.send(f)
	}
	for {
		changed := st.node.watch()
		err := st.node.enqueue(st.hop, j)
		switch {
		case err == nil:
			return nil
		case err.Code != protocol.CodeBusy || j.ids != nil && j.in.Number != 0:
			st.release(j.reserved)
			return st.refuse(j.in.Epoch, j.in.Number, err.Code, "%s", err.Text)
		}
		if err := st.await(changed, st.beat); err != nil {
			st.release(j.reserved)
			return err
		}
	}
}

// pushed makes a job of rows.
func pushed(m protocol.Push, f *frames, reserved int) *job {
	j := &job{
		in:      session.Input{Epoch: m.Epoch, Number: m.Number, Position: int(m.Position), N: m.N, NewIDs: m.NewIDs, Want: m.Want},
		rows:    kernels.Rows{N: m.N, Width: m.Width, Exp: m.Exp, Half: m.Half},
		through: m.Through, frames: f, reserved: reserved, spent: m.Spent,
	}
	hash := sha256.New()
	hash.Write(m.Exp)
	hash.Write(m.Half)
	hash.Sum(j.in.Hash[:0])
	return j
}

func hashIDs(in *session.Input, ids []uint32) {
	b := make([]byte, 0, 4*len(ids))
	for _, id := range ids {
		b = binary.LittleEndian.AppendUint32(b, id)
	}
	in.Hash = sha256.Sum256(b)
}
