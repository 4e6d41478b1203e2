package node

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/kernels"
	"github.com/baichuan-node/baichuan-node/node/session"
	"github.com/baichuan-node/baichuan-node/protocol"
)

// job is a step on its way through the node. Its stream made it and answers it; between the two it belongs to the
// queue and then to the compute goroutine.
type job struct {
	stream   *stream
	session  *session.Session
	in       session.Input
	ids      []uint32     // input where the session's span begins at layer 0
	rows     kernels.Rows // input elsewhere
	arrived  time.Time
	reserved int         // bytes that the stream's scope holds for the frame
	running  atomic.Bool // for heartbeats

	// Set when its turn has come, before the job is delivered to its stream.
	span     protocol.Span
	out      kernels.Rows // what the span made of it
	final    bool         // the span ends with the model's last layer: the head comes next
	sampling protocol.Sampling
	history  []uint32 // ids below Position+N, for the penalty
	failure  *protocol.Failure
}

// headJob asks for the logits of some rows. The stream that asked waits for done, or leaves.
type headJob struct {
	job  *job
	from int
	n    int
	dst  []float32  // n*vocab
	done chan error // buffered
}

// queue is the steps that wait, first come first served by session: a session that has had its turn goes to the end, so
// a long prompt in many chunks can't keep the others waiting. Nor can one peer's many sessions: each owner's first comes
// before any owner's second. Guarded by the node's mutex.
type queue struct {
	turns []*session.Session
	jobs  map[*session.Session][]*job
	heads []*headJob
	steps int
}

// push appends a step; it says no if its session has enough of them waiting.
func (q *queue) push(j *job) bool {
	waiting := q.jobs[j.session]
	if len(waiting) >= stepsInFlight {
		return false
	}
	if len(waiting) == 0 {
		q.turns = append(q.turns, j.session)
	}
	if q.jobs == nil {
		q.jobs = make(map[*session.Session][]*job)
	}
	q.jobs[j.session] = append(waiting, j)
	q.steps++
	return true
}

// take gives the next batch: the first step of each session whose turn it is, at most rows tokens together, but always
// one step if there is one.
func (q *queue) take(rows int) []*job {
	q.fair()
	var batch []*job
	for len(batch) < len(q.turns) {
		j := q.jobs[q.turns[len(batch)]][0]
		if rows -= j.in.N; rows < 0 && len(batch) > 0 {
			break
		}
		batch = append(batch, j)
	}
	q.turns = slices.Delete(q.turns, 0, len(batch))
	for _, j := range batch {
		q.steps--
		if rest := q.jobs[j.session][1:]; len(rest) > 0 {
			q.jobs[j.session] = rest
			q.turns = append(q.turns, j.session)
		} else {
			delete(q.jobs, j.session)
		}
	}
	return batch
}

// fair moves each owner's first session before all others.
func (q *queue) fair() {
	var first, others []*session.Session
	seen := make(map[peer.ID]bool)
	for _, s := range q.turns {
		if seen[s.ID.Owner] {
			others = append(others, s)
			continue
		}
		seen[s.ID.Owner] = true
		first = append(first, s)
	}
	q.turns = append(first, others...)
}

// drop removes and returns the waiting steps of a session that which says yes to.
func (q *queue) drop(s *session.Session, which func(*job) bool) []*job {
	var kept, dropped []*job
	for _, j := range q.jobs[s] {
		if which(j) {
			dropped = append(dropped, j)
		} else {
			kept = append(kept, j)
		}
	}
	if len(dropped) == 0 {
		return nil
	}
	q.steps -= len(dropped)
	q.jobs[s] = kept
	if len(kept) == 0 {
		delete(q.jobs, s)
		q.turns = slices.DeleteFunc(q.turns, func(t *session.Session) bool { return t == s })
	}
	return dropped
}

// takeHeads gives all waiting requests for logits; there is at most one for each stream.
func (q *queue) takeHeads() []*headJob {
	heads := q.heads
	q.heads = nil
	return heads
}
