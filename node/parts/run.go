package parts

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/routing"
	"github.com/baichuan-node/baichuan-node/shard/store"
)

// run is one fetch. One goroutine owns it all; jobs, and those that finish parts, only report to it.
type run struct {
	f        *Fetcher
	manifest *store.Manifest
	progress func(done, total int64)

	book    *book
	waiting []int                             // parts that another process fills
	fills   map[int]*store.PartFill           // that this one fills
	jobs    map[*job]struct{}                 // under way
	idle    map[peer.ID][]*routing.BlobStream // streams for the next jobs
	buffers [][]byte                          // of jobs that have ended

	here, total int64     // bytes
	moved       time.Time // when something worth mentioning arrived last
	told        bool      // that nobody has what lacks

	ended    chan *job
	finished chan finished
	met      chan []peer.ID
	done     sync.WaitGroup
}

// finished is a part whose chunks were all there.
type finished struct {
	part int
	err  error
}

func newRun(f *Fetcher, parts []int, progress func(done, total int64)) *run {
	r := &run{
		f: f, manifest: f.Model().Manifest, progress: progress, book: newBook(), waiting: inOwnOrder(f, parts),
		fills: map[int]*store.PartFill{}, jobs: map[*job]struct{}{}, idle: map[peer.ID][]*routing.BlobStream{}, moved: time.Now(),
		ended: make(chan *job), finished: make(chan finished), met: make(chan []peer.ID),
	}
	for _, part := range parts {
		r.total += r.manifest.Parts[part].Size
	}
	return r
}

// inOwnOrder begins with another part at each peer: so those that fetch the same parts at the same time soon have something
// for each other.
func inOwnOrder(f *Fetcher, parts []int) []int {
	sum := sha256.Sum256([]byte(f.cfg.Host.ID()))
	from := int(binary.LittleEndian.Uint32(sum[:]) % uint32(len(parts)))
	return slices.Concat(parts[from:], parts[:from])
}

// do fetches until everything is here, or nothing can come.
func (r *run) do(ctx context.Context) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		err = errors.Join(err, r.close())
	}()
	r.done.Go(func() { r.meet(ctx) })
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	if err := r.begin(ctx); err != nil {
		return err
	}
	for len(r.fills) > 0 || len(r.waiting) > 0 {
		r.dispatch(ctx, time.Now())
		var err error
		select {
		case j := <-r.ended:
			err = r.take(j, time.Now())
		case d := <-r.finished:
			err = r.keep(d)
		case ids := <-r.met:
			for _, id := range ids {
				r.book.meet(id)
			}
		case now := <-tick.C:
			if err = r.begin(ctx); err == nil {
				err = r.stalled(now)
			}
		case <-ctx.Done():
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// meet looks every few seconds who may have parts.
func (r *run) meet(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case r.met <- r.f.cfg.Peers(ctx):
		case <-ctx.Done():
			return
		}
		select {
		case <-time.After(peersEvery):
		case <-ctx.Done():
		}
	}
}

// begin begins to fill the parts that nobody else is filling.
func (r *run) begin(ctx context.Context) error {
	var busy []int
	lacks := int64(0) // bytes of the parts that it begins with
	for _, part := range r.waiting {
		if err := ctx.Err(); err != nil {
			return err
		}
		fill, err := r.f.cfg.Store.Fill(r.f.Model(), part)
		switch {
		case errors.Is(err, store.ErrPartBusy):
			busy = append(busy, part)
			continue
		case errors.Is(err, store.ErrPartHere):
			if err := r.f.reopen(); err != nil {
				return err
			}
			r.add(r.manifest.Parts[part].Size)
			continue
		case err != nil:
			return err
		}
		r.fills[part] = fill
		missing := fill.Missing()
		bytes := r.manifest.Parts[part].Size
		for _, i := range missing {
			r.book.add(part, i, chunkHash(r.manifest.Parts[part], i), fill.ChunkBytes(i))
			bytes -= int64(fill.ChunkBytes(i))
		}
		r.add(bytes)
		lacks += r.manifest.Parts[part].Size - bytes
		if len(missing) == 0 {
			r.finish(part)
		}
	}
	if len(busy) > 0 && len(busy) == len(r.waiting) && len(r.fills) == 0 && !r.told {
		r.told = true
		r.f.cfg.Log.Info("another process of this home fetches these parts: waiting for it", "parts", partNames(r.manifest, slices.Sorted(slices.Values(busy))))
	}
	r.waiting = busy
	return r.fits(lacks)
}

// fits says if there is no room for bytes that are to come. Where nobody knows how much there is, the disk will tell.
func (r *run) fits(bytes int64) error {
	if bytes == 0 {
		return nil
	}
	free, err := r.f.cfg.Free()
	if err != nil || free >= bytes {
		return nil
	}
	const mebibyte = 1 << 20
	return fmt.Errorf("%d MiB are to come, and the home's disk has room for %d MiB: make room, or serve fewer layers; %w",
		(bytes+mebibyte-1)/mebibyte, free/mebibyte, errKept)
}

// add counts bytes that are here.
func (r *run) add(bytes int64) {
	r.here += bytes
	r.moved = time.Now()
	r.progress(r.here, r.total)
}

// dispatch asks for as much as may be asked for now.
func (r *run) dispatch(ctx context.Context, now time.Time) {
	live := r.f.cfg.Live()
	for again := true; again; {
		again = false
		for _, id := range r.book.order() {
			if !r.room(id, live, now) {
				continue
			}
			if c := r.book.next(id, now); c != nil {
				r.start(ctx, id, c)
				again = true
			}
		}
	}
}

// room says whether one more job may begin, with a certain peer. While sessions live there is one at a time, but for those
// that trickle. The last places are for peers that have sent a chunk: those of which nothing comes can't take them all.
func (r *run) room(id peer.ID, live bool, now time.Time) bool {
	strangers := 0
	for j := range r.jobs {
		if live && !j.trickles(now) {
			return false
		}
		if !r.book.peers[j.peer].useful {
			strangers++
		}
	}
	return len(r.jobs) < maxJobs && (r.book.peers[id].useful || strangers < strangerJobs)
}

// take takes up what a job reports.
func (r *run) take(j *job, now time.Time) error {
	delete(r.jobs, j)
	r.buffers = append(r.buffers, j.buf)
	j.cancel()
	if j.report.how == arrived || j.report.how == lacking {
		r.idle[j.peer] = append(r.idle[j.peer], j.stream)
	} else {
		j.stream.Close()
	}
	if j.broken != nil {
		return fmt.Errorf("%w: %d MiB are still to come: make room if the disk is full, and try again; %w", j.broken, (r.total-r.here)>>20, errKept)
	}
	was := j.chunk.here
	r.book.told(j.peer, j.chunk, j.report, now)
	if j.report.how == lied {
		r.f.liars.Add(1)
		r.f.cfg.Log.Warn("a peer sends what was not asked for: nothing more is asked of it", "peer", j.peer, "reason", j.report.why)
	}
	if was || !j.chunk.here {
		return nil
	}
	r.add(int64(j.chunk.bytes))
	r.f.bytes.Add(int64(j.chunk.bytes))
	for other := range r.jobs {
		if other.chunk == j.chunk {
			other.spare()
		}
	}
	if r.book.whole(j.chunk.part) {
		r.finish(j.chunk.part)
	}
	return nil
}

// finish makes a part one of the model's, beside what goes on.
func (r *run) finish(part int) {
	r.book.drop(part)
	fill := r.fills[part]
	r.done.Go(func() { r.finished <- finished{part, errors.Join(fill.Finish(), fill.Close())} })
}

// keep notes that a part is one of the model's.
func (r *run) keep(d finished) error {
	delete(r.fills, d.part)
	if d.err != nil {
		return fmt.Errorf("%w: make room if the disk is full, and try again; %w", d.err, errKept)
	}
	r.f.parts.Add(1)
	r.moved = time.Now()
	return r.f.reopen()
}

// stalled gives up when nothing has come for long.
func (r *run) stalled(now time.Time) error {
	for j := range r.jobs {
		if full := j.full(); full.After(j.begun) && full.After(r.moved) {
			r.moved = full
		}
	}
	missing := r.book.missing()
	if len(missing) == 0 || now.Sub(r.moved) < r.f.cfg.Patience/4 {
		return nil
	}
	if !r.told {
		r.told = true
		r.f.cfg.Log.Info("nobody sends these parts now: waiting for a peer that has them", "parts", partNames(r.manifest, missing))
	}
	if now.Sub(r.moved) < r.f.cfg.Patience || r.book.untried() { // soon those will have been who wait for others' places
		return nil
	}
	why := strings.Join(r.book.reasons(), "; ")
	return fmt.Errorf("no peer of the swarm sends %s (%s): have a node serve that has the whole model, or import it here; %w",
		partNames(r.manifest, missing), cmp.Or(why, "nobody was found"), errKept)
}

// close ends the jobs and lets others fill the parts.
func (r *run) close() error {
	for j := range r.jobs {
		j.cancel()
	}
	all := make(chan struct{})
	go func() { r.done.Wait(); close(all) }()
	for waiting := true; waiting; {
		select {
		case j := <-r.ended:
			j.stream.Close()
		case <-r.finished:
		case <-all:
			waiting = false
		}
	}
	for _, streams := range r.idle {
		for _, st := range streams {
			st.Close()
		}
	}
	var errs []error
	for _, part := range slices.Sorted(maps.Keys(r.fills)) {
		errs = append(errs, r.fills[part].Close())
	}
	return errors.Join(errs...)
}
