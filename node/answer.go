package node

import (
	"encoding/binary"
	"math"
	"time"

	"github.com/baichuan-node/baichuan-node/kernels"
	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/shard/sample"
)

// write writes replies, outcomes and heartbeats until the stream's context ends.
func (st *stream) write() {
	defer close(st.written)
	beat := time.NewTicker(heartbeatEvery)
	defer beat.Stop()
	for {
		var err error
		select {
		case msg := <-st.replies:
			err = st.send(msg)
		case j := <-st.outcomes:
			err = st.answer(j, beat.C)
		case <-beat.C:
			err = st.beat()
		case <-st.ctx.Done():
			return
		}
		if err != nil {
			st.cancel()
			_ = st.net.Reset() // wakes the reader
			return
		}
	}
}

// send writes one message.
func (st *stream) send(msg any) error {
	if err := st.net.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	return protocol.WriteMessage(st.net, msg)
}

// sendLast writes the last message that answers a step. The step is forgotten first: once the client has the answer it
// may send another.
func (st *stream) sendLast(j *job, msg any) error {
	st.answered(j)
	return st.send(msg)
}

// beat tells the client that its oldest step waits or runs. How many rows are done is not known before all are.
func (st *stream) beat() error {
	j := st.oldest()
	if j == nil {
		return nil
	}
	return st.send(protocol.Heartbeat{Epoch: j.in.Epoch, Number: j.in.Number, Running: j.running.Load()})
}

// answer writes what became of a step: a failure, at the model's end a result, elsewhere the rows for the next hop.
//
// The rows go back to the client, which passes them on. That way stays for hops that can't reach each other; a push
// straight to the next hop belongs here, in front of it.
func (st *stream) answer(j *job, beat <-chan time.Time) error {
	st.release(j.reserved)
	j.ids, j.rows = nil, kernels.Rows{}
	switch {
	case j.failure != nil:
		return st.sendLast(j, *j.failure)
	case j.final:
		return st.result(j, beat)
	}
	return st.sendLast(j, protocol.Push{
		Session: j.session.ID.Key, Epoch: j.in.Epoch, Number: j.in.Number, Position: uint32(j.in.Position),
		Want: j.in.Want, NewIDs: j.in.NewIDs, N: j.out.N, Width: j.out.Width, Exp: j.out.Exp, Half: j.out.Half,
	})
}

// result writes what the client wants to know of the model's last rows.
func (st *stream) result(j *job, beat <-chan time.Time) error {
	r := protocol.Result{Epoch: j.in.Epoch, Number: j.in.Number, Position: uint32(j.in.Position), Want: j.in.Want, Final: true}
	if r.Want == protocol.WantNone {
		return st.sendLast(j, r)
	}
	memory := resultBytes(st.node.limits, r.Want, j.in.N)
	if !st.reserve(memory) {
		j.fail(refusal(protocol.CodeBusy, "no memory for the result: repeat the step"))
		return st.sendLast(j, *j.failure)
	}
	defer st.release(memory)
	if r.Want == protocol.WantCandidates {
		return st.candidates(j, r, beat)
	}
	return st.rows(j, r, beat)
}

// resultBytes is the memory that making a result takes: logits of some rows, as numbers and as bytes, or as bytes and
// as a frame.
func resultBytes(l protocol.Limits, want protocol.Want, rows int) int {
	if want == protocol.WantCandidates {
		rows = 1
	}
	return 2 * 4 * min(rows, logitRows) * l.Vocab
}

// candidates writes what sampling keeps of the last row.
func (st *stream) candidates(j *job, r protocol.Result, beat <-chan time.Time) error {
	last := j.in.N - 1
	logits, err := st.logits(j, last, 1, beat)
	if logits == nil {
		return err
	}
	p := sample.Params{
		Temperature: j.sampling.Temperature, TopK: int(j.sampling.TopK), TopP: j.sampling.TopP, Penalty: j.sampling.Penalty,
	}
	for _, c := range sample.Candidates(logits, j.history, p) {
		r.Candidates = append(r.Candidates, protocol.Candidate(c))
	}
	r.Position += uint32(last)
	return st.sendLast(j, r)
}

// rows writes the raw logits of all rows, some at a time: a slow reader holds up nobody else, and no more than one
// frame is kept for it.
func (st *stream) rows(j *job, r protocol.Result, beat <-chan time.Time) error {
	for from := 0; from < j.in.N; from += logitRows {
		n := min(logitRows, j.in.N-from)
		logits, err := st.logits(j, from, n, beat)
		if logits == nil {
			return err
		}
		r.Position, r.N, r.Vocab, r.Final = uint32(j.in.Position+from), n, st.node.limits.Vocab, from+n == j.in.N
		r.Logits = littleEndian(logits)
		send := st.send
		if r.Final {
			send = func(msg any) error { return st.sendLast(j, msg) }
		}
		if err := send(r); err != nil {
			return err
		}
	}
	return nil
}

// logits asks the compute goroutine for the logits of some rows and waits, with heartbeats. It gives none if the
// step's answer has become a failure, which is written then, or if the stream has ended.
func (st *stream) logits(j *job, from, n int, beat <-chan time.Time) ([]float32, error) {
	h := &headJob{job: j, from: from, n: n, dst: make([]float32, n*st.node.limits.Vocab), done: make(chan error, 1)}
	st.node.enqueueHead(h)
	for {
		select {
		case err := <-h.done:
			if err == nil {
				return h.dst, nil
			}
			j.fail(asFailure(err))
			return nil, st.sendLast(j, *j.failure)
		case <-beat:
			if err := st.beat(); err != nil {
				return nil, err
			}
		case <-st.ctx.Done():
			return nil, st.ctx.Err()
		}
	}
}

// littleEndian gives numbers as they travel.
func littleEndian(v []float32) []byte {
	b := make([]byte, 0, 4*len(v))
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	return b
}
