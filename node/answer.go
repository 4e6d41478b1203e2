package node

import (
	"encoding/binary"
	"math"
	"time"

	"github.com/baichuan-node/baichuan-node/kernels"
	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/shard/sample"
)

// answer says what became of a step: to the owner a failure or, at the model's end, a result; to the next hop the rows
// that it goes on with. What belongs to an older epoch goes nowhere: nobody waits for it.
func (h *hop) answer(j *job) {
	defer func() {
		j.frames.release(j.reserved)
		j.out, j.logits, j.ids, j.rows = kernels.Rows{}, nil, nil, kernels.Rows{}
		h.forget(j)
	}()
	switch {
	case j.overtaken:
	case j.failure != nil:
		h.node.metrics.failed(j.failure.Code)
		h.node.log.Debug("a step failed", "peer", h.owner(), "position", j.in.Position, "tokens", j.in.N, "code", j.failure.Code.String(), "reason", j.failure.Text)
		h.tellLast(j, *j.failure)
	case h.way == nil || h.way.leg.epoch != j.in.Epoch:
	case j.in.Number == 0:
		h.replayed(j)
	case j.final:
		h.result(j)
	default:
		h.send(j)
	}
}

// send sends a step's rows on.
func (h *hop) send(j *job) {
	h.forget(j)
	s := sent{
		number: j.in.Number, from: j.in.Position, n: j.in.N, want: j.in.Want, newIDs: j.in.NewIDs, through: j.through,
		spent: j.passing(time.Now()),
	}
	h.way.send(s, j.out)
}

// tellLast sends the owner the last message that answers a step. The step is forgotten first: once the owner has the
// answer it may send another.
func (h *hop) tellLast(j *job, msg any) {
	h.forget(j)
	h.tell(msg)
}

// result tells the owner what it wants to know of the model's last rows.
func (h *hop) result(j *job) {
	r := protocol.Result{Epoch: j.in.Epoch, Number: j.in.Number, Position: uint32(j.in.Position), Want: j.in.Want, Final: true}
	st := h.node.controlOf(h)
	if r.Want == protocol.WantNone || st == nil {
		r.Spent = j.passing(time.Now())
		h.tellLast(j, r)
		return
	}
	if j.logits != nil { // it has its memory
		h.candidates(j, r)
		return
	}
	j.frames.release(j.reserved)
	j.reserved = 0
	memory := resultBytes(h.node.limits, r.Want, j.in.N)
	if !st.reserve(memory) {
		j.fail(refusal(protocol.CodeBusy, "no memory for the result: repeat the step"))
		h.tellLast(j, *j.failure)
		return
	}
	defer st.release(memory)
	if r.Want == protocol.WantCandidates {
		h.candidates(j, r)
		return
	}
	h.rows(j, r)
}

// resultBytes is the memory that making a result takes: logits of some rows, as numbers and as bytes, or as bytes and
// as a frame.
func resultBytes(l protocol.Limits, want protocol.Want, rows int) int {
	if want == protocol.WantCandidates {
		rows = 1
	}
	return 2 * 4 * min(rows, logitRows) * l.Vocab
}

// candidates tells what sampling keeps of the last row.
func (h *hop) candidates(j *job, r protocol.Result) {
	last := j.in.N - 1
	logits := j.logits
	if logits == nil {
		logits = h.logits(j, last, 1)
	}
	if logits == nil {
		return
	}
	began := time.Now()
	p := sample.Params{
		Temperature: j.sampling.Temperature, TopK: int(j.sampling.TopK), TopP: j.sampling.TopP, Penalty: j.sampling.Penalty,
	}
	for _, c := range sample.Candidates(logits, j.history, p) {
		r.Candidates = append(r.Candidates, protocol.Candidate(c))
	}
	now := time.Now()
	j.computing += now.Sub(began)
	r.Position, r.Spent = r.Position+uint32(last), j.passing(now)
	h.tellLast(j, r)
}

// rows tells the raw logits of all rows, some at a time: a slow reader holds up nobody else, and no more than one
// frame is kept for it.
func (h *hop) rows(j *job, r protocol.Result) {
	for from := 0; from < j.in.N; from += logitRows {
		n := min(logitRows, j.in.N-from)
		logits := h.logits(j, from, n)
		if logits == nil {
			return
		}
		r.Position, r.N, r.Vocab, r.Final = uint32(j.in.Position+from), n, h.node.limits.Vocab, from+n == j.in.N
		r.Logits = littleEndian(logits)
		if r.Final {
			r.Spent = j.passing(time.Now())
			h.forget(j)
		}
		h.tell(r)
	}
}

// logits asks the compute goroutine for the logits of some rows and waits. It gives none if the step's answer has become a
// failure, which is told then, or if a newer epoch is there.
func (h *hop) logits(j *job, from, n int) []float32 {
	logits := make([]float32, n*h.node.limits.Vocab)
	ask := &headJob{hop: h, rows: j.out, from: from, n: n, dst: logits, done: make(chan error, 1)}
	h.node.enqueueHead(ask)
	select {
	case err := <-ask.done:
		if err == nil {
			j.computing += ask.took
			return logits
		}
		j.fail(asFailure(err))
		h.tellLast(j, *j.failure)
	case <-h.way.leg.ctx.Done():
	}
	return nil
}

// littleEndian gives numbers as they travel.
func littleEndian(v []float32) []byte {
	b := make([]byte, 0, 4*len(v))
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	return b
}
