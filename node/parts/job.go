package parts

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
	"github.com/baichuan-node/baichuan-node/shard/store"
)

// job asks one peer for one chunk.
type job struct {
	peer   peer.ID
	chunk  *chunk
	fill   *store.PartFill
	stream *routing.BlobStream
	live   func() bool
	piece  int // to begin with
	buf    []byte
	cancel context.CancelFunc
	begun  time.Time

	least pace // below it nothing more is waited for

	bytes  atomic.Int64 // that came
	last   atomic.Int64 // nanoseconds from begun to when the last piece came
	moved  atomic.Int64 // to when a smallPiece was full last
	quick  atomic.Int64 // to when it no longer counts as the one at a time
	spared atomic.Bool  // another one was quicker

	report report // what came of it, once it has ended
	broken error  // of this machine: the fetch ends
}

// start begins a job.
func (r *run) start(ctx context.Context, id peer.ID, c *chunk) {
	j := &job{peer: id, chunk: c, fill: r.fills[c.part], live: r.f.cfg.Live, piece: r.book.peers[id].piece, begun: time.Now()}
	if n := len(r.idle[id]); n > 0 {
		j.stream, r.idle[id] = r.idle[id][n-1], r.idle[id][:n-1]
	} else {
		j.stream = routing.NewBlobStream(r.f.cfg.Host, id)
	}
	if n := len(r.buffers); n > 0 {
		j.buf, r.buffers = r.buffers[n-1], r.buffers[:n-1]
	} else {
		j.buf = make([]byte, store.ChunkSize)
	}
	j.least = newPace(leastFor, j.begun)
	j.quick.Store(int64(silentAfter))
	ctx, j.cancel = context.WithCancel(ctx)
	r.jobs[j] = struct{}{}
	r.done.Go(func() {
		j.do(ctx)
		r.ended <- j
	})
}

// spare ends a job whose chunk is here already.
func (j *job) spare() {
	j.spared.Store(true)
	j.cancel()
}

func (j *job) got() int64 { return j.bytes.Load() }

// lastPiece is when something came last, or the job began.
func (j *job) lastPiece() time.Time { return j.begun.Add(time.Duration(j.last.Load())) }

// full is when another smallPiece of it was full, or it began.
func (j *job) full() time.Time { return j.begun.Add(time.Duration(j.moved.Load())) }

// trickles says whether less comes than what lets a job count as the one at a time.
func (j *job) trickles(now time.Time) bool { return now.Sub(j.begun) >= time.Duration(j.quick.Load()) }

// fair says whether what has come is what a peer that means well sends in that time: of another one that was quicker it is
// no fault.
func (j *job) fair(now time.Time) bool {
	return now.Sub(j.lastPiece()) < silentAfter && j.got()*int64(leastFor) >= smallPiece*int64(j.lastPiece().Sub(j.begun))
}

// do fetches the chunk and writes it.
func (j *job) do(ctx context.Context) {
	j.report.piece = j.piece
	data := j.buf[:j.chunk.bytes]
	if err := j.pull(ctx, data); err != nil {
		j.blame(ctx, err)
		return
	}
	err := j.fill.WriteChunk(j.chunk.index, data)
	if wrong := (*store.WrongChunkError)(nil); errors.As(err, &wrong) {
		j.report.how, j.report.why = lied, "it sent a wrong "+wrong.Error()
		return
	}
	j.broken = err
	j.report.how, j.report.took = arrived, time.Since(j.begun)
}

// blame says what came of a chunk that did not come.
func (j *job) blame(ctx context.Context, err error) {
	var refused protocol.Failure
	var lie *lieError
	switch {
	case errors.As(err, &lie):
		j.report.how, j.report.why = lied, lie.text
	case ctx.Err() != nil && j.spared.Load() && j.fair(time.Now()):
		j.report.how = spared
	case ctx.Err() != nil && j.got() > 0:
		j.report.how, j.report.why = failed, j.slowness()
	case ctx.Err() != nil:
		j.report.how, j.report.why = failed, fmt.Sprintf("it sent nothing for %v", time.Since(j.lastPiece()).Round(time.Second))
	case errors.As(err, &refused) && refused.Code == protocol.CodeOtherManifest:
		j.report.how = lacking
	case errors.As(err, &refused) && refused.Code == protocol.CodeBusy:
		j.report.how, j.report.why = busy, "it is busy"
	default:
		j.report.how, j.report.why = failed, err.Error()
	}
}

// slowness says how little came.
func (j *job) slowness() string {
	return fmt.Sprintf("it sent %d KiB in %v", j.got()>>10, time.Since(j.begun).Round(time.Second))
}

// lieError is an answer that can't be meant well.
type lieError struct{ text string }

func (e *lieError) Error() string { return e.text }

// pull asks for one piece after the other: small ones first and while sessions live, larger ones as long as they come quickly.
func (j *job) pull(ctx context.Context, into []byte) error {
	quick := newPace(silentAfter, j.begun)
	for at := 0; at < len(into); {
		ask := min(j.report.piece, len(into)-at)
		if j.live() {
			ask = min(ask, smallPiece)
			time.Sleep(livePause)
		}
		asked := time.Now()
		data, err := j.get(ctx, at, ask)
		if err != nil {
			return err
		}
		if data.Total != int64(len(into)) || len(data.Bytes) == 0 {
			return &lieError{fmt.Sprintf("it has other bytes under the hash of a chunk: %d of %d", len(data.Bytes), data.Total)}
		}
		at += copy(into[at:], data.Bytes)
		j.bytes.Store(int64(at))
		now := time.Now()
		j.least.got(len(data.Bytes), now)
		quick.got(len(data.Bytes), now)
		j.quick.Store(int64(quick.until.Sub(j.begun)))
		j.last.Store(int64(now.Sub(j.begun)))
		if at/smallPiece > (at-len(data.Bytes))/smallPiece {
			j.moved.Store(int64(now.Sub(j.begun)))
		}
		if short := len(data.Bytes) < ask; short || at < len(into) { // the rest of a chunk is small anyway: it says nothing
			j.report.alone = short && len(data.Bytes) <= smallPiece
		}
		if len(data.Bytes) == ask {
			j.report.piece = nextPiece(j.report.piece, ask, now.Sub(asked))
		}
	}
	return nil
}

// get asks for one piece, and waits for it as long as the job's pace allows.
func (j *job) get(ctx context.Context, at, ask int) (protocol.Data, error) {
	within, cancel := context.WithDeadline(ctx, j.least.until)
	defer cancel()
	data, err := j.stream.Get(within, j.chunk.hash, int64(at), ask)
	if err != nil && ctx.Err() == nil && within.Err() != nil {
		return data, errors.New(j.slowness())
	}
	return data, err
}

// nextPiece is how much to ask for after a piece came whole in so long.
func nextPiece(piece, asked int, took time.Duration) int {
	switch {
	case took > 4*quickPiece:
		return max(smallPiece, piece/2)
	case took < quickPiece && asked == piece:
		return min(2*piece, protocol.MaxDataBytes)
	}
	return piece
}
