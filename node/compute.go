package node

import (
	"context"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/kernels"
	"github.com/baichuan-node/baichuan-node/node/session"
	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/shard"
	"github.com/baichuan-node/baichuan-node/shard/store"
)

// caches is the keys and values of the sessions. They are the compute goroutine's alone.
type caches map[*session.Session]*shard.Cache

// compute is the one goroutine that uses the device and every cache. It ends with ctx.
func (n *Node) compute(ctx context.Context) {
	all := make(caches)
	defer func() {
		for _, c := range all {
			c.Close()
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.work:
		}
		for n.gather(ctx); ctx.Err() == nil && n.round(all); {
			n.gather(ctx)
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

// do has the compute goroutine do a chore and waits until it is done. If ctx ends before, what the chore touches is still
// the chore's.
func (n *Node) do(ctx context.Context, run func(caches)) bool {
	c := &chore{run, make(chan struct{})}
	n.mu.Lock()
	n.queue.chores = append(n.queue.chores, c)
	n.mu.Unlock()
	n.wake()
	select {
	case <-c.done:
		return true
	case <-ctx.Done():
		return false
	}
}

// round does the chores, then computes one pass and applies the head where it is asked for. It says whether there was
// anything.
func (n *Node) round(all caches) bool {
	now := time.Now()
	n.mu.Lock()
	chores := n.queue.takeChores()
	shares := n.shares(now)
	heads := n.queue.takeHeads(shares)
	batch := n.queue.take(n.chunk(now), shares)
	steps := make([]piece, 0, len(batch)) // to be computed
	var others []*job                     // that have an answer already
	for _, p := range batch {
		if p.started || n.begin(now, p.job) {
			p.n = min(p.n, p.in.N-p.done)
			steps = append(steps, p)
		} else {
			others = append(others, p.job)
		}
	}
	n.busy = len(steps) > 0
	dropped := n.table.TakeDropped()
	n.mu.Unlock()

	n.repeat(others, all)
	for _, s := range dropped {
		n.release(s, all)
	}
	for _, c := range chores {
		c.run(all)
		close(c.done)
	}
	n.passes(steps, heads, all)
	n.retire()
	n.metrics.cacheBytes.Set(float64(n.cacheUsed()))
	return len(batch)+len(heads)+len(chores)+len(dropped) > 0
}

// chunk says how many tokens of prompts may be in a pass with the prompt of a session: few, which ride along with the
// decoding of others for little, if others decode; many, if nobody waits for the pass. Called with the mutex held.
func (n *Node) chunk(now time.Time) func(*hop) int {
	decoding, one := n.table.Decoding(now.Add(-decodingFor))
	beside := n.pace.beside()
	return func(h *hop) int {
		if decoding > 1 || decoding == 1 && one != h.books || n.queue.decoding(h) {
			return beside
		}
		return chunkAlone
	}
}

// shares says how much of a pass an owner may have. If there are others, it is what rides along with them for little, so that
// neither 64 sessions of one peer nor long guesses slow down the one session of another. Called with the mutex held.
func (n *Node) shares(now time.Time) func(peer.ID) share {
	decoding := n.table.Decoders(now.Add(-decodingFor))
	beside := n.pace.beside()
	return func(owner peer.ID) share {
		if len(decoding) > 1 || len(decoding) == 1 && !decoding[owner] || n.queue.others(owner) {
			return share{first: beside, others: crowdTokens}
		}
		return share{first: batchRows, others: batchRows}
	}
}

// begin tests a step whose turn has come, and says whether it is to be computed. If not, its answer is there: a
// refusal, or what an equal step has led to before. Called with the mutex held.
func (n *Node) begin(now time.Time, j *job) bool {
	s := j.hop.books
	j.span = s.Span()
	if (j.ids != nil) != (j.span.Start == 0) {
		j.fail(refusal(protocol.CodeBadRequest, "layers %v begin with rows or with ids, as the step did not", j.span))
		j.hop.suspect(j.failure)
		return false
	}
	offered := s.Offered()
	v, done, err := s.Begin(now, j.in)
	if err != nil {
		j.fail(asFailure(err))
		j.hop.suspect(j.failure)
		j.overtaken = j.ids == nil && s.Overtaken(j.in)
		return false
	}
	j.verdict, j.done = v, done
	j.final = j.span.End == n.limits.Layers
	if j.final && j.in.Want == protocol.WantCandidates {
		j.sampling, j.history = s.Sampling(), s.History(j.in.Position+j.in.N)
	}
	if v != session.Compute {
		return false
	}
	if offered {
		n.metrics.prefixHits.Add(float64(j.in.Position))
	}
	j.started = true
	return true
}

// repeat delivers steps that are not computed. What the cache keeps of those that have been is sent again.
func (n *Node) repeat(jobs []*job, all caches) {
	for _, j := range jobs {
		if j.failure == nil && j.verdict == session.Repeat {
			j.out = all[j.hop.books].Outputs(kernels.Rows{}, j.in.Position, j.in.N)
			n.metrics.ledgerAnswers.Inc()
		}
		j.ids, j.rows = nil, kernels.Rows{}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, j := range jobs {
		j.hop.deliver(j)
	}
}

// release gives back what a forgotten session held, and lets its hop end when it has said what is left to say.
func (n *Node) release(s *session.Session, all caches) {
	if c := all[s]; c != nil {
		c.Close()
		delete(all, s)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	h := n.hops[s]
	n.refuseQueued(h, func(*job) bool { return true }, "the session has ended here")
	n.queue.dropHeads(h)
	delete(n.hops, s)
	h.berth.hops--
	h.leg.cancel()
	h.deliver(ending{})
	if n.table.Find(s.ID) == nil { // it may have been opened anew meanwhile
		n.host.ConnManager().Unprotect(s.ID.Owner, protectTag(s.ID.Key))
	}
	n.broadcast()
}

// passes computes what has been taken together: the steps in one pass, or one for each shard that they run through, and with
// it the logits that are wanted. The head is large: it is read once for all of them.
func (n *Node) passes(steps []piece, heads []headPiece, all caches) {
	for _, batch := range byBerth(steps, func(p piece) *berth { return p.hop.berth }) {
		var along, others []headPiece
		for _, h := range heads {
			if h.hop.berth == batch[0].hop.berth {
				along = append(along, h)
			} else {
				others = append(others, h)
			}
		}
		heads = others
		n.forward(batch, along, all)
	}
	for _, same := range byBerth(heads, func(h headPiece) *berth { return h.hop.berth }) {
		n.applyHead(same[0].hop.berth.shard, nil, same)
	}
	n.mu.Lock()
	n.busy = false
	n.mu.Unlock()
}

// forward computes one pass, of steps and logits of one shard, and records it in the books. Steps that are done are delivered,
// the others wait for their next turn.
func (n *Node) forward(batch []piece, heads []headPiece, all caches) {
	begun := time.Now()
	steps := make([]*shard.Step, len(batch))
	rows, work := 0, 0
	for i, p := range batch {
		steps[i] = &shard.Step{Cache: n.cacheOf(p.job, all)}
		if p.ids != nil {
			steps[i].IDs = p.ids[p.done : p.done+p.n]
		} else {
			steps[i].In = rowsOf(p.rows, p.done, p.n)
		}
		rows += p.n
		work += p.n * (p.span.End - p.span.Start)
	}
	on := batch[0].hop.berth.shard
	on.Forward(steps...)
	took := time.Since(begun)
	n.metrics.pass(rows, took)
	for i := range batch {
		p := &batch[i]
		if steps[i].Err != nil {
			n.log.Warn("a session ended: computing its step failed", "peer", p.hop.owner(), "error", steps[i].Err)
			p.fail(failureOf(steps[i].Err))
			continue
		}
		n.metrics.computed(p.n, p.in.Number == 0)
		if p.done += p.n; p.done == p.in.N {
			p.out = steps[i].Out
			if p.n < p.in.N {
				p.out = all[p.hop.books].Outputs(p.out, p.in.Position, p.in.N)
			}
			p.ids, p.rows = nil, kernels.Rows{}
			n.metrics.step(time.Since(p.arrived), p.computing+took)
		}
	}
	computed := time.Now()
	applied := n.applyHead(on, batch, heads)
	n.mu.Lock()
	n.pace.pass(rows, work, took)
	n.passEnd = time.Now()
	if applied == 1 {
		n.pace.head(n.passEnd.Sub(computed))
	}
	n.passTook = n.passEnd.Sub(begun)
	n.busyness.pass(begun, n.passEnd)
	for _, p := range batch {
		p.computing += n.passTook
		n.passed(n.passEnd, p.job)
	}
	n.broadcast()
	n.mu.Unlock()
}

// applyHead applies the head to the rows that hops have asked for, and to what the pass has made of the last rows of steps that
// want candidates: to these at once, so that no answer waits for another pass. It says how many rows it was.
func (n *Node) applyHead(on *shard.Shard, batch []piece, heads []headPiece) (rows int) {
	jobs, asks := n.candidateAsks(batch)
	rows = len(asks)
	for _, h := range heads {
		asks = append(asks, &shard.Ask{Rows: h.rows, From: h.from, N: h.n, Dst: h.dst[:h.n*n.limits.Vocab]})
		rows += h.n
	}
	if rows == 0 {
		return 0
	}
	began := time.Now()
	on.Heads(asks...)
	took := time.Since(began)
	for i, j := range jobs {
		if err := asks[i].Err; err != nil {
			n.log.Warn("a session ended: computing its logits failed", "peer", j.hop.owner(), "error", err)
			j.fail(failureOf(err))
		}
	}
	for i, h := range heads {
		n.headDone(h, took, asks[len(jobs)+i].Err)
	}
	return rows
}

// candidateAsks finds the steps of a pass that are done and want candidates. Where there is no memory for their logits, the hop
// asks later.
func (n *Node) candidateAsks(batch []piece) (jobs []*job, asks []*shard.Ask) {
	for _, p := range batch {
		if p.failure != nil || p.done < p.in.N || !p.final || p.in.Want != protocol.WantCandidates {
			continue
		}
		memory := resultBytes(n.limits, p.in.Want, 1)
		if !p.frames.reserve(memory) {
			continue
		}
		p.reserved += memory
		p.logits = make([]float32, n.limits.Vocab)
		asks = append(asks, &shard.Ask{Rows: p.out, From: p.in.N - 1, N: 1, Dst: p.logits})
		jobs = append(jobs, p.job)
	}
	return jobs, asks
}

// passed records what a pass has done for a step. A step that failed ends its session, and no other. Called with the mutex
// held.
func (n *Node) passed(now time.Time, j *job) {
	h := j.hop
	switch {
	case j.failure != nil:
		h.suspect(j.failure)
		n.table.Close(h.books)
		h.deliver(j)
	case j.done == j.in.N:
		h.books.Finish(now, j.in)
		if j.short() && j.in.Number != 0 {
			h.rhythm.leaves(now)
			n.stepped(now, j)
		}
		h.deliver(j)
	case h.books.Closed() || h.books.Epoch() != j.in.Epoch || h.control == nil || j.stream != nil && j.stream != h.control:
		h.giveUp(now, j, "the step was given up: the session has ended, or is in a newer epoch, or its owner has gone")
	default:
		n.queue.back(j)
	}
}

// cacheOf gives the cache that a step is appended to, cut to what the books say: a session may have been rolled back
// or have changed its span since its last step.
func (n *Node) cacheOf(j *job, all caches) *shard.Cache {
	c := n.cache(j.hop, j.span, all)
	at := j.in.Position + j.done
	c.Truncate(at)
	if c.Len() != at {
		panic(fmt.Sprintf("node: the cache of a session holds %d tokens, its books say %d", c.Len(), at))
	}
	return c
}

// cache gives the cache of a session, a new one if it has none for these layers.
func (n *Node) cache(h *hop, layers protocol.Span, all caches) *shard.Cache {
	span := store.Span(layers)
	c := all[h.books]
	if c != nil && c.Span() != span {
		c.Close()
		c = nil
	}
	if c == nil {
		c = n.newCache(h, span)
		all[h.books] = c
	}
	return c
}

// rowsOf gives rows from..from+n-1, in the same memory.
func rowsOf(r kernels.Rows, from, n int) kernels.Rows {
	return kernels.Rows{N: n, Width: r.Width, Exp: r.Exp[from : from+n], Half: r.Half[2*from*r.Width : 2*(from+n)*r.Width]}
}

// headDone takes down that the head has been applied to some rows. Rows that give no finite logits end the session.
func (n *Node) headDone(h headPiece, took time.Duration, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	h.took += took
	if err != nil {
		f := failureOf(err)
		h.hop.suspect(&f)
		n.table.Close(h.hop.books)
		n.log.Warn("a session ended: computing its logits failed", "peer", h.hop.owner(), "error", err)
		h.done <- f
		return
	}
	ask := h.headJob
	ask.from, ask.n, ask.dst = ask.from+h.n, ask.n-h.n, ask.dst[h.n*n.limits.Vocab:]
	if ask.n > 0 {
		n.requestHead(ask)
		return
	}
	h.done <- nil
}
