package node

import (
	"slices"
	"time"

	"github.com/baichuan-node/baichuan-node/node/session"
	"github.com/baichuan-node/baichuan-node/protocol"
)

// openSession begins or changes the session that a stream carries, in the books, and has its hop answer. It does nothing yet,
// and says so, if the hop has several opens to answer already, or if many sessions that have ended are not freed yet.
func (n *Node) openSession(st *stream, m protocol.Open, next *protocol.Offer) (wait bool, err error) {
	now := time.Now()
	id := session.ID{Owner: st.who, Key: m.Session}
	n.mu.Lock()
	defer n.mu.Unlock()
	before := n.table.Find(id)
	on, err := n.berthFor(before, m)
	if err != nil {
		return false, err
	}
	begins := before == nil || n.hops[before].berth != on
	if n.closed || n.draining() && begins {
		return false, refusal(protocol.CodeDraining, "this node takes no new sessions: it is paused or leaving")
	}
	if before != nil && n.hops[before].openings >= maxAsked || begins && n.table.Dropped() >= maxDropped {
		return true, nil
	}
	higher := begins || m.Epoch > before.Epoch()
	if begins && before != nil {
		n.begunAnew(st, n.hops[before])
	}
	s, err := n.table.Open(now, st.who, m, on.tokens)
	n.wake() // others may have had to give way
	if err != nil {
		return false, err
	}
	h := n.hops[s]
	if h == nil {
		h = &hop{node: n, books: s, berth: on, since: now, work: make(chan struct{}, 1)}
		n.hops[s] = h
		on.hops++
		n.handlers.Go(h.run)
		n.host.ConnManager().Protect(st.who, protectTag(m.Session))
	}
	if m.Epoch >= s.Epoch() || h.control == nil { // else it comes late: the owner is on a newer stream
		n.attach(now, st, h)
	}
	o := &opening{stream: st, open: m}
	if higher {
		o.leg = h.newLeg(m.Epoch, next)
		n.refuseQueued(h, func(j *job) bool { return j.in.Epoch < m.Epoch }, "the session is in a newer epoch")
	}
	h.openings++
	h.deliver(o)
	n.broadcast()
	return false, nil
}

// begunAnew ends a session that begins again on another shard. Its owner is on a newer stream, if that is another one.
// Called with the mutex held.
func (n *Node) begunAnew(st *stream, old *hop) {
	n.endSession(old, "the session has been opened anew")
	if old.control != nil && old.control != st {
		old.control.cancel()
	}
}

// attach makes a stream the control stream of a session, in place of an older one: the owner has come back. Called with the
// mutex held.
func (n *Node) attach(now time.Time, st *stream, h *hop) {
	if st.hop != nil && st.hop != h {
		st.hop.leaveStream(now, st) // its session was forgotten, and has been opened anew
	}
	st.hop = h
	if h.control == st {
		return
	}
	if h.control != nil {
		h.control.cancel()
		h.leaveStream(now, h.control)
	}
	h.books.Attach(now)
	h.control = st
}

// leaveStream leaves the hop without its control stream, and takes from the queue what it had brought. Called with the
// mutex held.
func (h *hop) leaveStream(now time.Time, st *stream) {
	if h.control != st {
		return
	}
	h.control = nil
	h.books.Detach(now)
	for _, j := range h.node.queue.drop(h, func(j *job) bool { return j.stream == st }) {
		h.giveUp(now, j, "the stream that it came by has ended")
	}
}

// giveUp answers a step that is not to be computed any further. It makes room for others at once: its answer may have to
// wait. Called with the mutex held.
func (h *hop) giveUp(now time.Time, j *job, why string) {
	if j.started {
		h.books.Abandon(now, j.in, j.done)
	}
	h.node.metrics.cancelled.Add(float64(j.in.N - j.done))
	h.unlist(j)
	j.fail(refusal(protocol.CodeLostSession, "%s", why))
	h.deliver(j)
}

// detach takes a stream that has ended from its session.
func (n *Node) detach(st *stream) {
	n.mu.Lock()
	defer n.mu.Unlock()
	st.hop.leaveStream(time.Now(), st)
	if st.hop.control == nil { // nobody waits for what neighbours have sent either
		n.refuseQueued(st.hop, func(*job) bool { return true }, "the session's owner has gone")
	}
	n.broadcast()
}

// closeSession ends a session at its owner's wish.
func (n *Node) closeSession(h *hop) {
	n.mu.Lock()
	n.endSession(h, "the session has been closed")
	n.broadcast()
	n.mu.Unlock()
	n.wake()
}

// endSession forgets a session, and answers its steps that wait. The compute goroutine is to be woken: it frees the cache.
// Called with the mutex held.
func (n *Node) endSession(h *hop, why string) {
	n.table.Close(h.books)
	n.refuseQueued(h, func(*job) bool { return true }, why)
}

// refuseQueued answers waiting steps of a session, which must not wait for their turn to hear it. Called with the mutex
// held.
func (n *Node) refuseQueued(h *hop, which func(*job) bool, why string) {
	for _, j := range n.queue.drop(h, which) {
		h.giveUp(time.Now(), j, why)
	}
}

// enqueue queues a step of a session, or says why not: busy if enough of them are under way. One that is under way already
// has come again: it is answered once.
func (n *Node) enqueue(h *hop, j *job) *protocol.Failure {
	n.mu.Lock()
	defer n.mu.Unlock()
	var f protocol.Failure
	switch {
	case h.books.Closed():
		f = refusal(protocol.CodeLostSession, "the session has ended here: open it anew")
	case h.underWay(j.in):
		j.frames.release(j.reserved)
		return nil
	case len(h.inflight) >= stepsInFlight:
		f = refusal(protocol.CodeBusy, "%d steps of this session are under way, which is the limit", stepsInFlight)
	default:
		j.hop, j.arrived = h, time.Now()
		h.rhythm.returns(j.arrived)
		h.books.Touch(j.arrived)
		h.inflight = append(h.inflight, j)
		n.queue.push(j)
		n.wake()
		return nil
	}
	return &f
}

// underWay says whether an equal step has no answer yet. Called with the mutex held.
func (h *hop) underWay(in session.Input) bool {
	return slices.ContainsFunc(h.inflight, func(j *job) bool {
		return j.in.Epoch == in.Epoch && j.in.Number == in.Number && j.in.Position == in.Position && j.in.Hash == in.Hash
	})
}

// hand delivers a step that is refused before it was queued.
func (n *Node) hand(h *hop, j *job, f protocol.Failure) {
	n.mu.Lock()
	defer n.mu.Unlock()
	j.hop = h
	j.fail(f)
	h.suspect(j.failure)
	h.deliver(j)
}

// controlOf gives the owner's stream, nil if there is none.
func (n *Node) controlOf(h *hop) *stream {
	n.mu.Lock()
	defer n.mu.Unlock()
	return h.control
}

// enqueueHead queues a request for logits.
func (n *Node) enqueueHead(h *headJob) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.requestHead(h)
	n.wake()
}

// requestHead is enqueueHead. A request of a session which has been freed is refused: its shard may be gone. Called with the mutex
// held.
func (n *Node) requestHead(h *headJob) {
	if n.hops[h.hop.books] != h.hop {
		h.done <- refusal(protocol.CodeLostSession, "the session has ended here")
		return
	}
	n.queue.heads = append(n.queue.heads, h)
}
