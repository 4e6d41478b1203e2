package node

import (
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/kernels"
	"github.com/baichuan-node/baichuan-node/node/session"
	"github.com/baichuan-node/baichuan-node/protocol"
)

// job is a step on its way through the node. Who has read it made it; then it belongs to the queue and the compute
// goroutine, in turns, and in the end to its hop's goroutine, which answers it.
type job struct {
	frames   *frames // it came by
	stream   *stream // the same, if it came from the owner
	hop      *hop
	in       session.Input
	through  peer.ID      // of what is replayed: the last hop that it fills
	ids      []uint32     // input where the session's span begins at layer 0
	rows     kernels.Rows // input elsewhere
	arrived  time.Time
	reserved int              // bytes that the stream's scope holds for it
	spent    []protocol.Spent // at the hops before, as they say

	started   bool          // guarded by the node's mutex; its turn has come
	done      int           // tokens that have been computed
	computing time.Duration // what the passes have taken that it was part of

	// Set when its turn has come, before the job is delivered to its hop.
	verdict  session.Verdict
	span     protocol.Span
	out      kernels.Rows // what the span made of it
	final    bool         // the span ends with the model's last layer: the head comes next
	logits   []float32    // of the last row, if candidates are wanted and it was computed just now
	sampling protocol.Sampling
	history  []uint32 // ids below Position+N, for the penalty
	failure  *protocol.Failure
	// The failure is that rows come once more whose step has its answer for long: what a push stream has brought that is
	// broken since is still read when those of the next one have been computed. It is nobody's fault, and nobody waits for it.
	overtaken bool
}

// check refuses rows that no honest peer sends, before they wait for their turn.
func (j *job) check() error {
	if j.ids != nil {
		return nil
	}
	return j.rows.CheckCanonical()
}

// short says whether the step decodes: it goes along with every pass. Longer ones are prompts, computed in chunks.
func (j *job) short() bool { return j.in.N <= session.ShortStep }

// passing gives where the step's time went at the hops before, as they say, and here, now that it is passed on.
func (j *job) passing(now time.Time) []protocol.Spent {
	return protocol.AndSpent(j.spent, protocol.Spent{Waited: now.Sub(j.arrived) - j.computing, Computed: j.computing})
}

// piece is the next tokens of a step, computed in one pass.
type piece struct {
	*job
	n int
}

// headJob asks for the logits of some rows. The hop that asked waits for done, or leaves.
type headJob struct {
	hop  *hop
	rows kernels.Rows
	from int       // with n and dst guarded by the node's mutex: what is left of them
	n    int       //
	dst  []float32 // n*vocab
	took time.Duration
	done chan error // buffered
}

// headPiece is the next rows of it, computed together with others'.
type headPiece struct {
	*headJob
	n int
}

// chore is something that needs the caches, done by the compute goroutine between two passes.
type chore struct {
	run  func(caches)
	done chan struct{}
}

// share is how many tokens of an owner may be in a pass: of its first step there, if that is a short one, and of all its others
// together. The same holds for rows that it wants the logits of.
type share struct{ first, others int }

// queue is the steps that wait, first come first served by session: a session that has had its turn goes to the end. Nor
// can one peer's many sessions keep others waiting: each owner's first comes before any owner's second, and each owner has
// a share of the pass. Guarded by the node's mutex.
type queue struct {
	turns  []*hop
	jobs   map[*hop][]*job
	heads  []*headJob
	chores []*chore
	steps  int
}

// push appends a step.
func (q *queue) push(j *job) { q.insert(j, false) }

// back puts a step that is not done yet in front of its session's others, at the end of the turns.
func (q *queue) back(j *job) { q.insert(j, true) }

func (q *queue) insert(j *job, first bool) {
	if q.jobs == nil {
		q.jobs = make(map[*hop][]*job)
	}
	waiting := q.jobs[j.hop]
	if len(waiting) == 0 {
		q.turns = append(q.turns, j.hop)
	}
	if first {
		q.jobs[j.hop] = append([]*job{j}, waiting...)
	} else {
		q.jobs[j.hop] = append(waiting, j)
	}
	q.steps++
}

// take gives the next pass: of each session's first step the next tokens, of prompts together no more than chunk gives for any
// of them, and of each owner no more than its share. Beside an owner's first step only short ones go that are whole. Those for
// which nothing is left keep their turn.
func (q *queue) take(chunk func(*hop) int, shareOf func(peer.ID) share) []piece {
	q.fair()
	var batch []piece
	var kept []*hop
	total, prompts := 0, 0
	left := make(map[peer.ID]int) // tokens that an owner may have beside its first step
	for _, h := range q.turns {
		j := q.jobs[h][0]
		n := j.in.N - j.done
		if !j.short() {
			n = min(n, chunk(h)-prompts)
		}
		most, second := left[h.owner()]
		of := shareOf(h.owner())
		switch {
		case !second && j.short():
			n = min(n, of.first)
		case !second: // a prompt, of which chunk has its say
		case j.short() && n > most:
			n = 0
		default:
			n = min(n, most)
		}
		if n <= 0 || total+n > batchRows {
			kept = append(kept, h)
			continue
		}
		if second {
			left[h.owner()] = most - n
		} else {
			left[h.owner()] = of.others
		}
		if total += n; !j.short() {
			prompts += n
		}
		batch = append(batch, piece{j, n})
	}
	q.turns = kept
	for _, p := range batch {
		q.steps--
		if rest := q.jobs[p.hop][1:]; len(rest) > 0 {
			q.jobs[p.hop] = rest
			q.turns = append(q.turns, p.hop)
		} else {
			delete(q.jobs, p.hop)
		}
	}
	return batch
}

// fair moves each owner's first session before all others.
func (q *queue) fair() {
	var first, others []*hop
	seen := make(map[peer.ID]bool)
	for _, h := range q.turns {
		if seen[h.owner()] {
			others = append(others, h)
			continue
		}
		seen[h.owner()] = true
		first = append(first, h)
	}
	q.turns = append(first, others...)
}

// oldest says since when the step waits that has come first; without one nothing waits.
func (q *queue) oldest() (since time.Time, waits bool) {
	for _, h := range q.turns {
		if j := q.jobs[h][0]; !waits || j.arrived.Before(since) {
			since, waits = j.arrived, true
		}
	}
	return since, waits
}

// decoding says whether another session than that of h has a short step that waits.
func (q *queue) decoding(h *hop) bool {
	return slices.ContainsFunc(q.turns, func(t *hop) bool { return t != h && q.jobs[t][0].short() })
}

// others says whether somebody else than an owner waits for a step.
func (q *queue) others(owner peer.ID) bool {
	return slices.ContainsFunc(q.turns, func(t *hop) bool { return t.owner() != owner })
}

// drop removes and returns the waiting steps of a session that which says yes to.
func (q *queue) drop(h *hop, which func(*job) bool) []*job {
	var kept, dropped []*job
	for _, j := range q.jobs[h] {
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
	q.jobs[h] = kept
	if len(kept) == 0 {
		delete(q.jobs, h)
		q.turns = slices.DeleteFunc(q.turns, func(t *hop) bool { return t == h })
	}
	return dropped
}

// takeHeads gives rows whose logits are wanted, of each owner as many as its share. What is left of a request goes to the
// end; there is at most one for each session.
func (q *queue) takeHeads(shareOf func(peer.ID) share) (heads []headPiece) {
	left := make(map[peer.ID]int)
	var kept []*headJob
	for _, ask := range q.heads {
		owner := ask.hop.owner()
		most, second := left[owner]
		if !second {
			most = shareOf(owner).first
		}
		n := min(ask.n, most)
		if n <= 0 {
			kept = append(kept, ask)
			continue
		}
		if second {
			left[owner] = most - n
		} else {
			left[owner] = shareOf(owner).others
		}
		heads = append(heads, headPiece{ask, n})
	}
	q.heads = kept
	return heads
}

// dropHeads forgets the requests of a session that has ended: nobody waits for them, and its shard may go.
func (q *queue) dropHeads(h *hop) {
	q.heads = slices.DeleteFunc(q.heads, func(ask *headJob) bool { return ask.hop == h })
}

// takeChores gives some chores, in the order in which they came.
func (q *queue) takeChores() []*chore {
	n := min(len(q.chores), maxChores)
	chores := q.chores[:n:n]
	q.chores = q.chores[n:]
	return chores
}
