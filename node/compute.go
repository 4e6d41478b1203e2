package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/baichuan-node/baichuan-node/node/session"
	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/shard"
	"github.com/baichuan-node/baichuan-node/shard/store"
)

// compute is the one goroutine that uses the device and every cache. It ends with ctx.
func (n *Node) compute(ctx context.Context) {
	caches := make(map[*session.Session]*shard.Cache)
	defer func() {
		for _, c := range caches {
			c.Close()
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.work:
		}
		for ctx.Err() == nil && n.round(caches) {
		}
	}
}

// wake tells the compute goroutine that there is something to do.
func (n *Node) wake() {
	select {
	case n.work <- struct{}{}:
	default: // it has been told already
	}
}

// round applies the head where it is asked for, then computes one batch of steps. It says whether there was anything.
func (n *Node) round(caches map[*session.Session]*shard.Cache) bool {
	now := time.Now()
	n.mu.Lock()
	heads := n.queue.takeHeads()
	batch := n.queue.take(batchRows)
	steps := make([]*job, 0, len(batch)) // to be computed
	for _, j := range batch {
		if n.begin(now, j) {
			steps = append(steps, j)
		}
	}
	n.busy = len(steps) > 0
	dropped := n.table.TakeDropped()
	n.mu.Unlock()

	for _, s := range dropped {
		n.release(s, caches)
	}
	for _, j := range batch {
		if !j.running.Load() {
			j.stream.outcomes <- j
		}
	}
	n.answerHeads(heads)
	if len(steps) > 0 {
		n.forward(steps, caches)
	}
	n.metrics.cacheBytes.Set(float64(n.shard.CacheBytes()))
	return len(batch)+len(heads)+len(dropped) > 0
}

// begin tests a step whose turn has come, and says whether it is to be computed. If not, its answer is there: a
// refusal, or what an equal step has led to before. Called with the mutex held.
func (n *Node) begin(now time.Time, j *job) bool {
	s := j.session
	j.span = s.Span()
	if (j.ids != nil) != (j.span.Start == 0) {
		j.fail(refusal(protocol.CodeBadRequest, "layers %v begin with rows or with ids, as the step did not", j.span))
		return false
	}
	again, err := s.Begin(now, j.in)
	if err != nil {
		j.fail(asFailure(err))
		return false
	}
	j.final = j.span.End == n.limits.Layers
	if j.final && j.in.Want == protocol.WantCandidates {
		j.sampling, j.history = s.Sampling(), s.History(j.in.Position+j.in.N)
	}
	if again != nil {
		j.out = again.Rows
		return false
	}
	j.running.Store(true)
	return true
}

// release gives back what a forgotten session held.
func (n *Node) release(s *session.Session, caches map[*session.Session]*shard.Cache) {
	if c := caches[s]; c != nil {
		c.Close()
		delete(caches, s)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.table.Find(s.ID) == nil { // it may have been opened anew meanwhile
		n.host.ConnManager().Unprotect(s.ID.Owner, protectTag(s.ID.Key))
	}
}

// forward computes steps that have begun, records them in the books and delivers them.
func (n *Node) forward(jobs []*job, caches map[*session.Session]*shard.Cache) {
	steps := make([]*shard.Step, len(jobs))
	for i, j := range jobs {
		steps[i] = &shard.Step{Cache: n.cacheOf(j, caches), IDs: j.ids, In: j.rows}
	}
	begun := time.Now()
	n.shard.Forward(steps...)

	now := time.Now()
	n.mu.Lock()
	n.busy = false
	n.pace.pass(jobs, now.Sub(begun))
	for i, j := range jobs {
		if err := steps[i].Err; err != nil {
			n.table.Close(j.session) // a computation that failed ends its session, and no other
			j.fail(failureOf(err))
			continue
		}
		j.out = steps[i].Out
		j.session.Finish(now, j.in, j.out)
	}
	close(n.settled)
	n.settled = make(chan struct{})
	n.mu.Unlock()

	for i, j := range jobs {
		if steps[i].Err != nil {
			n.log.Warn("a session ended: computing its step failed", "peer", j.session.ID.Owner, "error", steps[i].Err)
		} else {
			n.metrics.step(j.in.N, now.Sub(j.arrived))
		}
		j.running.Store(false)
		j.stream.outcomes <- j
	}
}

// cacheOf gives the cache that a step is appended to, cut to what the books say: a session may have been rolled back
// or have changed its span since its last step.
func (n *Node) cacheOf(j *job, caches map[*session.Session]*shard.Cache) *shard.Cache {
	span := store.Span{Start: j.span.Start, End: j.span.End}
	c := caches[j.session]
	if c != nil && c.Span() != span {
		c.Close()
		c = nil
	}
	if c == nil {
		c = n.shard.NewCache(span)
		caches[j.session] = c
	}
	c.Truncate(j.in.Position)
	if c.Len() != j.in.Position {
		panic(fmt.Sprintf("node: the cache of a session holds %d tokens, its books say %d", c.Len(), j.in.Position))
	}
	return c
}

// answerHeads applies the head to the rows that streams ask for, to all of them together. Rows that give no finite
// logits end the session.
func (n *Node) answerHeads(heads []*headJob) {
	if len(heads) == 0 {
		return
	}
	asks := make([]*shard.Ask, len(heads))
	for i, h := range heads {
		asks[i] = &shard.Ask{Rows: h.job.out, From: h.from, N: h.n, Dst: h.dst}
	}
	n.shard.Heads(asks...)
	for i, h := range heads {
		err := asks[i].Err
		if err == nil {
			h.done <- nil
			continue
		}
		n.mu.Lock()
		n.table.Close(h.job.session)
		n.mu.Unlock()
		n.log.Warn("a session ended: computing its logits failed", "peer", h.job.session.ID.Owner, "error", err)
		h.done <- failureOf(err)
	}
}

// failureOf gives what a client is told about an error of the shard.
func failureOf(err error) protocol.Failure {
	code := protocol.CodeInternal
	var memory *shard.NoMemoryError
	var context *shard.ContextFullError
	switch {
	case errors.As(err, &memory):
		code = protocol.CodeNoMemory
	case errors.As(err, &context):
		code = protocol.CodeContextFull
	}
	return protocol.Failure{Code: code, Text: protocol.CleanText(err.Error(), protocol.MaxTextBytes)}
}

// fail makes f the answer to the step.
func (j *job) fail(f protocol.Failure) {
	f.Epoch, f.Number = j.in.Epoch, j.in.Number
	j.failure = &f
}

func refusal(code protocol.Code, format string, args ...any) protocol.Failure {
	return protocol.Failure{Code: code, Text: fmt.Sprintf(format, args...)}
}

// asFailure gives the failure that an error of the session package is.
func asFailure(err error) protocol.Failure {
	var f protocol.Failure
	if !errors.As(err, &f) {
		panic(fmt.Sprintf("node: %v is not ready to be sent", err))
	}
	return f
}
