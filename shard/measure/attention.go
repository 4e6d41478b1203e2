package measure

import (
	"context"
	"fmt"
	"time"

	"github.com/baichuan-node/baichuan-node/kernels"
)

// attention measures storing keys and values, and reading them for one row (decode) and for a piece of a prompt. The
// sequences lie side by side in the cache of some layers, and are read in turn: more than a processor's cache holds.
func (b *bench) attention(ctx context.Context) error {
	contexts := b.cfg.Contexts
	longest := contexts[len(contexts)-1]
	pages := (longest + kernels.PageSize - 1) / kernels.PageSize
	layers := int(b.cfg.Stream/(int64(longest)*cacheBytes(b.cfg.Hidden))) + 1
	cache, err := b.dev.Cache(kernels.CacheShape{
		Format: kernels.Int8, Layers: layers, Heads: b.cfg.Heads, HeadSize: b.cfg.Hidden / b.cfg.Heads,
		Pages: pages, Positions: longest, Theta: 10000,
	})
	if err != nil {
		return err
	}
	defer cache.Close()
	r := &reader{bench: b, cache: cache, layers: layers, pages: make([]int32, pages)}
	for i := range r.pages {
		r.pages[i] = int32(i)
	}
	if err := r.fill(longest); err != nil {
		return err
	}
	if err := r.storing(); err != nil {
		return err
	}
	if err := b.growing(ctx, contexts, r.decode); err != nil {
		return err
	}
	return b.growing(ctx, contexts, r.prompt)
}

// cacheBytes is what one token takes in one layer: codes and scales of its key and its value.
func cacheBytes(hidden int) int64 { return 2 * int64(hidden+2*hidden/kernels.CacheUnit) }

// reader reads a cache that is full.
type reader struct {
	*bench
	cache  kernels.Cache
	layers int
	pages  []int32
}

// fill stores noise in the first so many tokens of all layers.
func (r *reader) fill(tokens int) error {
	qkv, err := r.filled(kernels.PageSize, 3*r.cfg.Hidden)
	if err != nil {
		return err
	}
	for from := 0; from < tokens; from += kernels.PageSize {
		seats := seatsOf(r.pages, from, min(kernels.PageSize, tokens-from))
		for layer := range r.layers {
			r.dev.Append(r.cache, layer, qkv, seats, place)
		}
	}
	return nil
}

// seatsOf seats n rows from a position on.
func seatsOf(pages []int32, from, n int) []kernels.Seat {
	seats := make([]kernels.Seat, n)
	for i := range seats {
		seats[i] = kernels.Seat{Position: from + i, Pages: pages}
	}
	return seats
}

// storing measures Append.
func (r *reader) storing() error {
	for _, n := range []int{1, r.cfg.Prompt} {
		qkv, err := r.filled(n, 3*r.cfg.Hidden)
		if err != nil {
			return err
		}
		seats := seatsOf(r.pages, 0, n)
		hidden := int64(n * r.cfg.Hidden)
		_, err = r.measure("", operation{
			kernel: "append", shape: fmt.Sprintf("%d wide", 3*r.cfg.Hidden), rows: n,
			work: Work{Bytes: 3*4*hidden + int64(n)*cacheBytes(r.cfg.Hidden), Float: 8 * hidden},
			run:  func(turn int) { r.dev.Append(r.cache, turn%r.layers, qkv, seats, place) },
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// decode measures one row that reads a context, and prompt the last rows of one.
func (r *reader) decode(context int) (time.Duration, error) { return r.attend("attention", context, 1) }

func (r *reader) prompt(context int) (time.Duration, error) {
	return r.attend("attention, prompt", context, min(r.cfg.Prompt, context))
}

func (r *reader) attend(name string, context, n int) (time.Duration, error) {
	h := r.cfg.Hidden
	buffers, err := r.buffers(n, h, 3*h)
	if err != nil {
		return 0, err
	}
	windows := r.windows(context, n)
	var read int64 // positions, over all rows
	for i := range n {
		read += int64(context - n + i + 1)
	}
	return r.measure("", operation{
		kernel: name, shape: fmt.Sprintf("%d heads of %d", r.cfg.Heads, h/r.cfg.Heads), rows: n, context: context,
		work: Work{Bytes: int64(context) * cacheBytes(h), Integer: 2 * read * int64(h), Float: 2 * read * int64(h)},
		run: func(turn int) {
			seats := windows[turn/r.layers%len(windows)]
			r.dev.Attend(buffers[0], r.cache, turn%r.layers, buffers[1], seats, place)
		},
	})
}

// windows cuts the cache into sequences of a context, and seats n rows at the end of each.
func (r *reader) windows(context, n int) [][]kernels.Seat {
	size := (context + kernels.PageSize - 1) / kernels.PageSize
	var all [][]kernels.Seat
	for from := 0; from+size <= len(r.pages); from += size {
		all = append(all, seatsOf(r.pages[from:from+size], context-n, n))
	}
	return all
}
