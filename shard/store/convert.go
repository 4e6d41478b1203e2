package store

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/baichuan-node/baichuan-node/kernels"
	"github.com/baichuan-node/baichuan-node/shard/checkpoint"
)

// converter turns the tensors of a checkpoint into the parts of a model, a run of rows at a time. Where a run goes is
// known beforehand, so that workers need no order and the file is the same for any number of them.
type converter struct {
	c       *checkpoint.Checkpoint
	m       *Manifest
	dir     string
	buffers []buffer // one for each worker

	reading sync.Mutex // held while runs are taken from the list and read

	mu     sync.Mutex // guards done, and keeps report to one goroutine at a time
	report func(stage string, done, total int64)
	done   int64
	total  int64
}

// buffer is the memory of one worker: the rows of a run, and what they become.
type buffer struct {
	rows          []float32
	codes, scales []byte
}

// run is some consecutive rows of a tensor: whole panels, but for the last run of a matrix.
type run struct {
	t      Tensor
	row, n int
}

// writeParts makes the files of all parts in dir and notes their chunks in the manifest.
func writeParts(ctx context.Context, dir string, c *checkpoint.Checkpoint, m *Manifest, report func(string, int64, int64)) error {
	// One worker more than there are cores: some of them wait for the disk.
	w := &converter{c: c, m: m, dir: dir, report: report, buffers: make([]buffer, min(runtime.GOMAXPROCS(0)+1, maxWorkers))}
	for _, p := range m.Parts {
		for _, t := range p.Tensors {
			w.total += t.Size
		}
	}
	// A part is hashed and written to the disk while the next one is made; one at a time, so that the disk sets the pace.
	finish, ctx := errgroup.WithContext(ctx)
	finish.SetLimit(1)
	for i := range m.Parts {
		f, err := w.makePart(ctx, i)
		if err != nil {
			return cmp.Or(finish.Wait(), err) // what failed first, not what was cancelled because of it
		}
		finish.Go(func() error { return w.finishPart(ctx, f, i) })
	}
	return finish.Wait()
}

// makePart writes the content of one part into a new file.
func (w *converter) makePart(ctx context.Context, part int) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(w.dir, PartName(w.m, part)), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return nil, err
	}
	if err := f.Truncate(w.m.Parts[part].Size); err != nil { // the gaps are what nobody writes: zeros
		return nil, errors.Join(err, f.Close())
	}
	var runs []run
	for _, t := range w.m.Parts[part].Tensors {
		runs = append(runs, cut(t, runBytes)...)
	}
	group, ctx := errgroup.WithContext(ctx)
	for i := range w.buffers {
		group.Go(func() error {
			for {
				r, err := w.read(ctx, part, &runs, &w.buffers[i])
				if err != nil || r.n == 0 {
					return err
				}
				if err := w.store(f, part, r, &w.buffers[i]); err != nil {
					return err
				}
			}
		})
	}
	if err := group.Wait(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// cut divides a tensor into runs of at most limit bytes as float32, or of one panel where a panel has more.
func cut(t Tensor, limit int) []run {
	step := max(1, limit/(4*t.Cols)/kernels.PanelRows) * kernels.PanelRows
	var runs []run
	for row := 0; row < t.Rows; row += step {
		runs = append(runs, run{t, row, min(step, t.Rows-row)})
	}
	return runs
}

// read takes the next run from the list and its rows from the checkpoint, one worker at a time: a file that is read in
// order is read once, while its checksum is taken, and disks like it. A run of no rows means that none is left.
func (w *converter) read(ctx context.Context, part int, runs *[]run, b *buffer) (run, error) {
	w.reading.Lock()
	defer w.reading.Unlock()
	if err := ctx.Err(); err != nil || len(*runs) == 0 {
		return run{}, err
	}
	r := (*runs)[0]
	*runs = (*runs)[1:]
	b.rows = grow(b.rows, r.n*r.t.Cols)
	return r, w.c.Read(published(w.m, part, r.t), r.row, b.rows)
}

// store converts the rows that were read and writes them to their place in the part.
func (w *converter) store(f io.WriterAt, part int, r run, b *buffer) error {
	name := published(w.m, part, r.t)
	if bad, what := firstBad(b.rows); what != "" {
		return fmt.Errorf("%s: row %d holds %s", w.where(name), r.row+bad/r.t.Cols, what)
	}
	if r.t.Name == tensorHead && w.c.Config.NormHead {
		for at := 0; at < len(b.rows); at += r.t.Cols {
			normalise(b.rows[at : at+r.t.Cols])
		}
	}
	if err := r.pack(b); err != nil {
		return fmt.Errorf("%s, counting from row %d: %w", w.where(name), r.row, err)
	}
	codesAt, scalesAt := r.places()
	if _, err := f.WriteAt(b.codes, r.t.Offset+codesAt); err != nil {
		return err
	}
	if _, err := f.WriteAt(b.scales, r.t.Offset+scalesAt); err != nil {
		return err
	}
	w.progress(part, int64(len(b.codes)+len(b.scales)))
	return nil
}

// where names a tensor and its file, for an error.
func (w *converter) where(name string) string {
	info, _ := w.c.Tensor(name)
	return fmt.Sprintf("%s: tensor %q", info.File, name)
}

func (w *converter) progress(part int, n int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.done += n
	if w.report != nil {
		w.report(PartName(w.m, part), w.done, w.total)
	}
}

// places gives where in its tensor the run's codes and its scales go.
func (r run) places() (codesAt, scalesAt int64) {
	_, scales := r.t.size()
	codes, beside := r.sizes(r.row)
	return codes, scales + beside
}

// sizes is how many bytes n of the tensor's rows (whole panels, or the end of a matrix) take, as codes and as scales.
func (r run) sizes(n int) (codes, scales int64) {
	if r.t.isTable() && r.t.format() == kernels.Int8 {
		return int64(n) * int64(r.t.Cols), 2 * int64(n) * int64(r.t.Cols/kernels.Block)
	}
	size, scalesAt := r.t.format().MatrixSize(n, r.t.Cols)
	return scalesAt, size - scalesAt
}

// pack stores b.rows in the tensor's format.
func (r run) pack(b *buffer) error {
	codes, scales := r.sizes(r.n)
	b.codes, b.scales = grow(b.codes, int(codes)), grow(b.scales, int(scales))
	switch {
	case r.t.isGain():
		for i, v := range b.rows {
			binary.LittleEndian.PutUint32(b.codes[4*i:], math.Float32bits(v))
		}
		return nil
	case r.t.isTable():
		return kernels.PackTable(r.t.format(), b.rows, r.n, r.t.Cols, b.codes, b.scales)
	}
	return kernels.PackMatrix(r.t.format(), b.rows, r.n, r.t.Cols, b.codes, b.scales)
}

// normalise folds NormHead into a row of the head (NUMERICS rule 4): the squares are summed in float64 in index order.
// (The product of two float32 is exact in a float64; it is rounded all the same, so that nothing in here is ever fused.)
func normalise(row []float32) {
	var sum float64
	for _, v := range row {
		sum += float64(float64(v) * float64(v))
	}
	norm := max(math.Sqrt(sum), 1e-12)
	for i, v := range row {
		row[i] = float32(float64(v) / norm)
	}
}

// firstBad finds the first number that no weight can be.
func firstBad(x []float32) (at int, what string) {
	for i, v := range x {
		if math.Float32bits(v)&0x7fffffff >= 0x7f800000 {
			if v != v {
				return i, "a NaN"
			}
			return i, "an infinity"
		}
	}
	return 0, ""
}

// finishPart notes the hashes of a part's chunks in the manifest, and writes it to the disk.
func (w *converter) finishPart(ctx context.Context, f *os.File, part int) error {
	p := &w.m.Parts[part]
	p.Chunks = make([]string, 0, chunks(p.Size))
	err := hashChunks(ctx, f, p.Size, func(digest string) error {
		p.Chunks = append(p.Chunks, digest)
		return nil
	})
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// hashChunks gives the SHA-256 of each chunk of the first size bytes of r, in order, in hex.
func hashChunks(ctx context.Context, r io.ReaderAt, size int64, next func(digest string) error) error {
	chunk := make([]byte, min(size, ChunkSize))
	for at := int64(0); at < size; at += ChunkSize {
		if err := ctx.Err(); err != nil {
			return err
		}
		chunk = chunk[:min(size-at, ChunkSize)]
		if _, err := r.ReadAt(chunk, at); err != nil {
			return err
		}
		sum := sha256.Sum256(chunk)
		if err := next(hex.EncodeToString(sum[:])); err != nil {
			return err
		}
	}
	return nil
}

// grow gives a slice of n elements, in the memory of s if it fits.
func grow[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}
