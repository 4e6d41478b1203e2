package shard

import (
	"fmt"

	"github.com/baichuan-node/baichuan-node/kernels"
	"github.com/baichuan-node/baichuan-node/shard/pagename"
	"github.com/baichuan-node/baichuan-node/shard/store"
)

// NoMemoryError says that a cache can't grow: other sequences hold the pages.
type NoMemoryError struct {
	Tokens int // that the sequence wanted to hold
	Free   int // tokens for which there is room
}

func (e *NoMemoryError) Error() string {
	return fmt.Sprintf("no cache left for %d tokens: there is room for %d more; close a session or serve with a larger --kv-tokens", e.Tokens, e.Free)
}

// ContextFullError says that a sequence would outgrow the model's context.
type ContextFullError struct {
	Tokens, Context int
}

func (e *ContextFullError) Error() string {
	return fmt.Sprintf("%d tokens do not fit the model's context of %d", e.Tokens, e.Context)
}

// CacheFree is the number of tokens for which there are pages that nobody uses, those that could be found again
// included.
func (s *Shard) CacheFree() int { return s.pages.room() * kernels.PageSize }

// CacheBytes is the memory of all pages that sequences use, with what they keep beside keys and values.
func (s *Shard) CacheBytes() int64 {
	used := int64(s.pages.arena.Pages() - s.pages.room())
	return used * (s.pages.arena.PageBytes() + int64(recordBytes(s.manifest.Hidden)))
}

// CacheLimit is the memory of all pages that there are, as CacheBytes counts it.
func (s *Shard) CacheLimit() int64 {
	return int64(s.pages.arena.Pages()) * (s.pages.arena.PageBytes() + int64(recordBytes(s.manifest.Hidden)))
}

// Cache is the keys and values of one sequence in a span of the shard's layers, and what the span made of its tokens. It
// takes pages as it grows, and shares those that hold the same as another's.
type Cache struct {
	shard  *Shard
	span   store.Span
	shared bool
	first  [2]pagename.Name // of a shared one: before token 0, of input and output
	pages  []int32
	len    int
}

// NewCache makes an empty cache for the layers of span, which the shard must hold. Its pages are its own.
func (s *Shard) NewCache(span store.Span) *Cache {
	if span.Start < s.span.Start || span.Start >= span.End || span.End > s.span.End {
		panic(fmt.Sprintf("shard: cache for layers %v in a shard of %v", span, s.span))
	}
	most := (s.manifest.Context + kernels.PageSize - 1) / kernels.PageSize
	return &Cache{shard: s, span: span, pages: make([]int32, 0, most)}
}

// NewSharedCache is NewCache for a sequence whose full pages can be found by name, by who has the same salt.
func (s *Shard) NewSharedCache(span store.Span, salt pagename.Salt) *Cache {
	c := s.NewCache(span)
	c.shared = true
	c.first[0] = s.namer.First(s.id, salt, span.Start)
	c.first[1] = s.namer.First(s.id, salt, span.End)
	return c
}

// Span is the layers whose keys and values the cache holds.
func (c *Cache) Span() store.Span { return c.span }

// Len is the number of tokens that have been computed.
func (c *Cache) Len() int { return c.len }

// Reserve makes sure that the cache has pages of its own for tokens len..n-1. On an error (*ContextFullError,
// *NoMemoryError) nothing has changed.
func (c *Cache) Reserve(n int) error {
	if n > c.shard.manifest.Context {
		return &ContextFullError{Tokens: n, Context: c.shard.manifest.Context}
	}
	p := c.shard.pages
	more := (n+kernels.PageSize-1)/kernels.PageSize - len(c.pages)
	split := n > c.len && c.len%kernels.PageSize != 0 && p.refs[c.pages[c.len/kernels.PageSize]] > 1
	need := max(more, 0)
	if split {
		need++
	}
	if need > p.room() {
		return &NoMemoryError{Tokens: n, Free: c.shard.CacheFree()}
	}
	if n > c.len && c.len%kernels.PageSize != 0 {
		c.own(split)
	}
	for range more {
		c.pages = append(c.pages, p.take())
	}
	return nil
}

// own makes the last page, which has room left, one that may be written: others keep what they share, and nobody finds
// it by the name that it had when it was full.
func (c *Cache) own(split bool) {
	p, at := c.shard.pages, c.len/kernels.PageSize
	page := c.pages[at]
	if !split {
		if p.isNamed(page) {
			p.forget(page)
		}
		return
	}
	tokens := c.len % kernels.PageSize
	c.pages[at] = p.take()
	p.arena.Copy(c.pages[at], page, tokens)
	p.copyRecord(c.pages[at], page, tokens)
	p.drop(page)
}

// Truncate forgets all tokens from the n-th on and gives back the pages that held only such. A shorter cache stays
// as it is.
func (c *Cache) Truncate(n int) {
	if n > c.len {
		return
	}
	c.len = n
	keep := (n + kernels.PageSize - 1) / kernels.PageSize
	for i := len(c.pages) - 1; i >= keep; i-- {
		c.shard.pages.drop(c.pages[i])
	}
	c.pages = c.pages[:keep]
}

// Close gives back all pages; the cache is empty then and may be used again.
func (c *Cache) Close() { c.Truncate(0) }

// Adopt fills an empty cache with pages that are there already, found by the names of their input, as far as the names
// go without a gap, and gives how many tokens they hold.
func (c *Cache) Adopt(names []pagename.Name) int {
	if len(c.pages) > 0 || !c.shared {
		panic("shard: Adopt into a cache that is not empty, or not shared")
	}
	for _, name := range names {
		page, ok := c.shard.pages.find(pageKey{c.span, name})
		if !ok || len(c.pages) == cap(c.pages) {
			break
		}
		c.pages = append(c.pages, page)
	}
	c.len = len(c.pages) * kernels.PageSize
	return c.len
}

// OutputNames names the output of each full page: what the next span may find its own pages by. A cache that is not
// shared has none.
func (c *Cache) OutputNames() []pagename.Name {
	if !c.shared {
		return nil
	}
	names := make([]pagename.Name, c.len/kernels.PageSize)
	for i := range names {
		names[i] = *c.shard.pages.record(c.pages[i]).outName(kernels.PageSize - 1)
	}
	return names
}

// Outputs gives what the span made of tokens from..from+n-1, which the cache must hold: the same bytes that Forward
// gave, in dst's memory if that suffices.
func (c *Cache) Outputs(dst kernels.Rows, from, n int) kernels.Rows {
	if from < 0 || n < 0 || from+n > c.len {
		panic(fmt.Sprintf("shard: outputs %d..%d of a cache of %d tokens", from, from+n, c.len))
	}
	width := c.shard.manifest.Hidden
	dst = sized(dst, n, width)
	for i := range n {
		r, at := c.shard.pages.record(c.pages[(from+i)/kernels.PageSize]), (from+i)%kernels.PageSize
		dst.Exp[i] = r.exp[at]
		copy(dst.Half[2*i*width:], r.row(at))
	}
	return dst
}

// keep records what a pass has made of a token. The token is the cache's next; id is what went in where the
// span begins with the embedding, else in is.
func (c *Cache) keep(id uint32, inExp byte, in []byte, outExp byte, out []byte) {
	at := c.len % kernels.PageSize
	r := c.shard.pages.record(c.pages[c.len/kernels.PageSize])
	r.exp[at] = outExp
	copy(r.row(at), out)
	c.len++
	if c.shared {
		c.name(id, inExp, in, outExp, out)
	}
}

// name names the token that was kept last, and with it the page if it is full.
func (c *Cache) name(id uint32, inExp byte, in []byte, outExp byte, out []byte) {
	p, n, last := c.shard.pages, c.shard.namer, c.len-1
	page, at := c.pages[last/kernels.PageSize], last%kernels.PageSize
	r := p.record(page)
	inName, outName := c.first[0], c.first[1]
	if last > 0 {
		before := p.record(c.pages[(last-1)/kernels.PageSize])
		inName, outName = *before.inName((last - 1) % kernels.PageSize), *before.outName((last - 1) % kernels.PageSize)
	}
	if c.span.Start == 0 {
		inName = n.ID(inName, id)
	} else {
		inName = n.Row(inName, inExp, in)
	}
	outName = n.Row(outName, outExp, out)
	*r.inName(at), *r.outName(at) = inName, outName
	if c.len%kernels.PageSize == 0 {
		p.name(page, pageKey{c.span, inName})
	}
}

// PageBytes is the size of a page's part as ReadPage gives it: of a layer, or with layer -1 of its output.
func (c *Cache) PageBytes(layer, tokens int) int {
	if layer < 0 {
		return tokens * (1 + 2*c.shard.manifest.Hidden)
	}
	return c.shard.pages.arena.LayerBytes(tokens)
}

// tokensOf is how many tokens the cache has in its page of an index.
func (c *Cache) tokensOf(index int) int { return min(c.len-index*kernels.PageSize, kernels.PageSize) }

// ReadPage writes a part of the cache's page of an index to dst, for another node that takes over the sequence: keys and
// values of one of the model's layers, or with layer -1 the exponents and rows of the output.
func (c *Cache) ReadPage(dst []byte, index, layer int) {
	tokens := c.tokensOf(index)
	if len(dst) != c.PageBytes(layer, tokens) {
		panic(fmt.Sprintf("shard: ReadPage of %d tokens into %d bytes", tokens, len(dst)))
	}
	if layer >= 0 {
		c.shard.pages.arena.ReadPage(dst, c.pages[index], layer-c.shard.span.Start, tokens)
		return
	}
	r := c.shard.pages.record(c.pages[index])
	copy(dst[copy(dst, r.exp[:tokens]):], r.half)
}

// WritePage takes in what ReadPage of another node's cache gave, bytes that nobody has vouched for. The pages of a
// sequence come in order, each with its layers first and its output last: that makes its tokens the cache's. A cache that
// was written to is not found by others any more.
func (c *Cache) WritePage(index, layer, tokens int, src []byte) error {
	if index*kernels.PageSize != c.len || tokens < 1 || tokens > kernels.PageSize {
		return fmt.Errorf("page %d with %d tokens, where %d tokens have come", index, tokens, c.len)
	}
	if layer >= 0 && (layer < c.span.Start || layer >= c.span.End) || len(src) != c.PageBytes(layer, tokens) {
		return fmt.Errorf("%d bytes for %d tokens of layer %d, in a cache of layers %v", len(src), tokens, layer, c.span)
	}
	if err := c.Reserve(c.len + tokens); err != nil {
		return err
	}
	c.shared = false // its names are not known
	if layer >= 0 {
		if err := c.shard.pages.arena.WritePage(c.pages[index], layer-c.shard.span.Start, tokens, src); err != nil {
			return fmt.Errorf("page %d of layer %d: %w", index, layer, err)
		}
		return nil
	}
	rows := kernels.Rows{N: tokens, Width: c.shard.manifest.Hidden, Exp: src[:tokens], Half: src[tokens:]}
	if err := rows.CheckCanonical(); err != nil {
		return fmt.Errorf("output of page %d: %w", index, err)
	}
	r := c.shard.pages.record(c.pages[index])
	copy(r.exp, rows.Exp)
	copy(r.half, rows.Half)
	c.len += tokens
	return nil
}
