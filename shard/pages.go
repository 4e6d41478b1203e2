package shard

import (
	"container/list"
	"fmt"

	"github.com/edsrzf/mmap-go"

	"github.com/baichuan-node/baichuan-node/kernels"
	"github.com/baichuan-node/baichuan-node/shard/pagename"
	"github.com/baichuan-node/baichuan-node/shard/store"
)

// pages hands out the pages of a device's cache. A page holds 64 tokens of every layer of the shard, and beside them what
// the span made of these tokens and the names of its input and output: one thing, kept and given up together.
//
// A page belongs to the caches that refer to it. A full page that was computed here may be found by its name; it stays
// after the last cache has left it, until its memory is needed: the one unused for the longest time goes first.
type pages struct {
	arena   kernels.Cache
	records mmap.MMap // of each page, see record
	width   int       // of a row
	refs    []int32   // caches that refer to the page
	free    []int32
	named   map[pageKey]int32
	keys    []pageKey // of the pages that are named
	idle    *list.List
	spot    []*list.Element // of each page in idle, nil if it is not there
}

// pageKey is what a page can be found by: the layers and the name of what went into them.
type pageKey struct {
	span store.Span
	in   pagename.Name
}

func newPages(dev kernels.Device, m *store.Manifest, span store.Span, tokens int) (*pages, error) {
	format, err := kernels.ParseFormat(m.KV)
	if err != nil {
		return nil, err
	}
	count := (tokens + kernels.PageSize - 1) / kernels.PageSize
	arena, err := dev.Cache(kernels.CacheShape{
		Format: format, Layers: span.End - span.Start,
		Heads: m.Heads, HeadSize: m.Hidden / m.Heads, Pages: count,
		Positions: m.Context, Theta: m.ThetaValue(),
	})
	if err != nil {
		return nil, fmt.Errorf("make a cache of %d tokens: %w", tokens, err)
	}
	p := &pages{
		arena: arena, width: m.Hidden, refs: make([]int32, count), free: make([]int32, count),
		named: make(map[pageKey]int32), keys: make([]pageKey, count), idle: list.New(), spot: make([]*list.Element, count),
	}
	for i := range p.free {
		p.free[i] = int32(count - 1 - i) // the lowest page is taken first
	}
	size := count * recordBytes(m.Hidden)
	if p.records, err = mmap.MapRegion(nil, size, mmap.RDWR, mmap.ANON, 0); err != nil {
		return nil, fmt.Errorf("map %d bytes for the rows of %d tokens: %w (cache: %v)", size, tokens, err, arena.Close())
	}
	return p, nil
}

func (p *pages) close() error {
	err := p.arena.Close()
	if p.records == nil {
		return err
	}
	if e := p.records.Unmap(); err == nil {
		err = e
	}
	p.records = nil
	return err
}

// room is how many pages can be taken.
func (p *pages) room() int { return len(p.free) + p.idle.Len() }

// take gives a page that nobody uses. There must be room.
func (p *pages) take() int32 {
	if len(p.free) == 0 {
		p.forget(p.idle.Front().Value.(int32))
	}
	page := p.free[len(p.free)-1]
	p.free = p.free[:len(p.free)-1]
	p.refs[page] = 1
	return page
}

// forget takes a page's name from it. If nobody refers to the page it is free then.
func (p *pages) forget(page int32) {
	delete(p.named, p.keys[page])
	p.keys[page] = pageKey{}
	if p.spot[page] != nil {
		p.idle.Remove(p.spot[page])
		p.spot[page] = nil
		p.free = append(p.free, page)
	}
}

// isNamed says whether a page can be found.
func (p *pages) isNamed(page int32) bool {
	found, ok := p.named[p.keys[page]]
	return ok && found == page
}

// drop counts a cache off a page.
func (p *pages) drop(page int32) {
	if p.refs[page]--; p.refs[page] > 0 {
		return
	}
	if p.isNamed(page) {
		p.spot[page] = p.idle.PushBack(page)
		return
	}
	p.free = append(p.free, page)
}

// find gives a page by its key, with one reference more.
func (p *pages) find(key pageKey) (int32, bool) {
	page, ok := p.named[key]
	if !ok {
		return 0, false
	}
	if p.refs[page]++; p.refs[page] == 1 {
		p.idle.Remove(p.spot[page])
		p.spot[page] = nil
	}
	return page, true
}

// name makes a full page one that can be found, unless another with the same content can be.
func (p *pages) name(page int32, key pageKey) {
	if _, ok := p.named[key]; !ok {
		p.named[key], p.keys[page] = page, key
	}
}

// record is what a page keeps beside keys and values, for each of its tokens: what the span made of it, and the names of
// input and output up to it.
type record struct {
	half, exp, in, out []byte
	width              int
}

// recordBytes is the size of a record.
func recordBytes(width int) int { return kernels.PageSize * (2*width + 1 + 2*pagename.Size) }

func (p *pages) record(page int32) record {
	b := p.records[int(page)*recordBytes(p.width):][:recordBytes(p.width)]
	half, exp, in := kernels.PageSize*2*p.width, kernels.PageSize, kernels.PageSize*pagename.Size
	return record{half: b[:half], exp: b[half:][:exp], in: b[half+exp:][:in], out: b[half+exp+in:], width: p.width}
}

// row is the output of token i of the page.
func (r record) row(i int) []byte { return r.half[2*i*r.width:][:2*r.width] }

func (r record) inName(i int) *pagename.Name {
	return (*pagename.Name)(r.in[i*pagename.Size:])
}

func (r record) outName(i int) *pagename.Name {
	return (*pagename.Name)(r.out[i*pagename.Size:])
}

// copyRecord makes the record of dst what that of src is, as far as its first tokens go.
func (p *pages) copyRecord(dst, src int32, tokens int) {
	to, from := p.record(dst), p.record(src)
	copy(to.half, from.half[:2*tokens*p.width])
	copy(to.exp, from.exp[:tokens])
	copy(to.in, from.in[:tokens*pagename.Size])
	copy(to.out, from.out[:tokens*pagename.Size])
}
