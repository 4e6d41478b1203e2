package node

import (
	"context"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/node/session"
	"github.com/baichuan-node/baichuan-node/protocol"
)

// hop is this node's part of one session: its books, its owner's control stream, and the way on to the next hop. One
// goroutine does, one after the other, what leaves the node for the session: so everything arrives in the order in which
// it came about, and a slow neighbour holds up nobody else.
type hop struct {
	node  *Node
	books *session.Session // guarded by the node's mutex, but for its ID
	berth *berth
	work  chan struct{} // tells the goroutine to look at its tasks; holds one

	// Guarded by the node's mutex.
	control  *stream // the owner's newest, nil while there is none
	leg      *leg    // what the newest open has said
	tasks    []any   // for the goroutine: *opening, *job, protocol.Replay, ...
	asked    int     // replays and hand-overs among them, until they are done
	openings int     // opens among them, until they are answered
	inflight []*job  // steps that have no answer yet, at most stepsInFlight, oldest first
	names    *protocol.Names
	rhythm   rhythm
	since    time.Time // it was opened for the first time
	stepped  time.Time // a short step was done
	leaveBy  time.Time // until when it is served although the node has moved away from its layers; zero: it has not

	way   *way  // the goroutine's alone; nil before the first open
	taken taken // the compute goroutine's alone
}

// leg is what holds from one open to the next. Its context ends when the next one begins: what waits for a neighbour of
// an older epoch waits no longer.
type leg struct {
	epoch  uint32
	next   *protocol.Offer // nil: what leaves goes to the owner
	ctx    context.Context
	cancel context.CancelFunc
}

// opening is an open that is to be answered on the stream that it came by.
type opening struct {
	stream *stream
	open   protocol.Open
	leg    *leg // nil: it has changed nothing
}

// ending is the last task of a hop.
type ending struct{}

// newLeg ends the hop's leg and begins another. Called with the mutex held.
func (h *hop) newLeg(epoch uint32, next *protocol.Offer) *leg {
	if h.leg != nil {
		h.leg.cancel()
	}
	l := &leg{epoch: epoch, next: next}
	l.ctx, l.cancel = context.WithCancel(h.node.ctx)
	h.leg, h.names = l, nil
	return l
}

func (h *hop) owner() peer.ID { return h.books.ID.Owner }

// deliver gives the hop's goroutine something to do. Called with the mutex held.
func (h *hop) deliver(task any) {
	h.tasks = append(h.tasks, task)
	h.wake()
}

func (h *hop) wake() {
	select {
	case h.work <- struct{}{}:
	default: // it has been told already
	}
}

// run does the hop's tasks until the last of them, or until the node ends.
func (h *hop) run() {
	defer func() {
		if h.way != nil {
			h.way.close()
		}
	}()
	for {
		select {
		case <-h.work:
		case <-h.node.ctx.Done():
			return
		}
		for {
			task := h.nextTask()
			if task == nil {
				break
			}
			if _, last := task.(ending); last {
				return
			}
			h.perform(task)
		}
		if h.way != nil && h.way.lost.Load() {
			h.way.repair()
		}
	}
}

func (h *hop) nextTask() any {
	h.node.mu.Lock()
	defer h.node.mu.Unlock()
	if len(h.tasks) == 0 {
		return nil
	}
	task := h.tasks[0]
	h.tasks[0] = nil
	h.tasks = h.tasks[1:]
	return task
}

func (h *hop) perform(task any) {
	switch t := task.(type) {
	case *opening:
		h.opened(t)
		h.openingDone()
	case *job:
		h.answer(t)
	case protocol.Replay:
		h.replay(t)
		h.askedDone()
	case protocol.HandOver:
		h.handOver(t)
		h.askedDone()
	default:
		h.tell(t)
	}
}

// tell sends the owner a message, if the owner is there.
func (h *hop) tell(msg any) {
	h.node.mu.Lock()
	st := h.control
	h.node.mu.Unlock()
	if st != nil {
		_ = st.send(msg) // the owner comes back and asks again, or not
	}
}

// fail tells the owner why something failed that is no numbered step.
func (h *hop) fail(epoch uint32, code protocol.Code, format string, args ...any) {
	f := refusal(code, format, args...)
	f.Epoch = epoch
	h.tell(f)
}

// forget takes a step that is about to have its answer from those that wait for one. Whoever has the answer may send
// another.
func (h *hop) forget(j *job) {
	h.node.mu.Lock()
	defer h.node.mu.Unlock()
	h.unlist(j)
	h.node.broadcast()
}

// unlist is forget with the mutex held.
func (h *hop) unlist(j *job) {
	h.inflight = slices.DeleteFunc(h.inflight, func(k *job) bool { return k == j })
}

// ask queues a request that takes longer, unless the session has ended or too many wait.
func (n *Node) ask(h *hop, request any) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if h.books.Closed() || h.asked >= maxAsked {
		return false
	}
	h.asked++
	h.deliver(request)
	return true
}

func (h *hop) askedDone() {
	h.node.mu.Lock()
	h.asked--
	h.node.mu.Unlock()
}

func (h *hop) openingDone() {
	h.node.mu.Lock()
	h.openings--
	h.node.broadcast()
	h.node.mu.Unlock()
}

// opened answers an open: when nothing older runs, when what is there already has been found, and before the next hop is
// looked for.
func (h *hop) opened(o *opening) {
	if o.leg == nil {
		h.openedBefore(o)
		return
	}
	if h.way != nil {
		h.way.close()
		h.way = nil
	}
	if !h.settled(o.leg) {
		return // a newer open is there, or the session has ended
	}
	names := h.find(o)
	h.node.mu.Lock()
	opened, closed := h.node.openedNow(h), h.books.Closed()
	h.node.mu.Unlock()
	if closed {
		_ = o.stream.send(protocol.Failure{Epoch: o.open.Epoch, Code: protocol.CodeLostSession, Text: "the session has ended here: open it anew"})
		return
	}
	_ = o.stream.send(opened)
	h.node.tellParting(h)
	h.way = h.newWay(o.leg, o.open.Prev, names)
}

// openedBefore answers an open that has changed nothing.
func (h *hop) openedBefore(o *opening) {
	h.node.mu.Lock()
	l := h.leg
	h.node.mu.Unlock()
	if !h.settled(l) {
		return
	}
	h.node.mu.Lock()
	opened := h.node.openedNow(h)
	h.node.mu.Unlock()
	_ = o.stream.send(opened)
	h.node.tellParting(h)
}

// settled waits until nothing of an older epoch runs.
func (h *hop) settled(l *leg) bool {
	for {
		h.node.mu.Lock()
		changed, done := h.node.changed, h.books.Settled()
		h.node.mu.Unlock()
		if done {
			return true
		}
		select {
		case <-changed:
		case <-l.ctx.Done():
			return false
		}
	}
}

// find fills an empty cache with pages that are there already, frees what the session has been cut by, and gives the names
// by which the next hop may find its own.
func (h *hop) find(o *opening) []protocol.Digest {
	h.node.mu.Lock()
	may := h.books.MayFind() && o.open.Position >= protocol.PageTokens
	cut := h.books.Excess()
	span := h.books.Span()
	named := o.leg.next != nil && h.books.Length() >= protocol.PageTokens
	h.node.mu.Unlock()
	names := o.open.Names
	if may && span.Start > 0 && o.open.Prev != "" {
		names = h.awaitNames(o.leg)
	}
	may = may && len(names) > 0
	if !may && !cut && !named {
		return nil
	}
	var own []protocol.Digest
	done := h.node.do(o.leg.ctx, func(all caches) {
		if cut {
			h.trim(all)
		}
		if may {
			own = h.adopt(all, o, names)
		} else {
			own = h.ownNames(all)
		}
	})
	if !done {
		return nil
	}
	return own
}

// awaitNames waits for the names that the hop before sends.
func (h *hop) awaitNames(l *leg) []protocol.Digest {
	timer := time.NewTimer(namesTimeout)
	defer timer.Stop()
	for {
		h.node.mu.Lock()
		names, changed := h.names, h.node.changed
		h.node.mu.Unlock()
		if names != nil {
			return names.Names
		}
		select {
		case <-changed:
		case <-timer.C:
			return nil
		case <-l.ctx.Done():
			return nil
		}
	}
}
