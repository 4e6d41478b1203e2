package shard

import (
	"fmt"

	"github.com/baichuan-node/baichuan-node/kernels"
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

// pages hands out the pages of a device's cache. A page holds 64 tokens of every layer of the shard.
type pages struct {
	arena kernels.Cache
	free  []int32
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
	p := &pages{arena: arena, free: make([]int32, count)}
	for i := range p.free {
		p.free[i] = int32(count - 1 - i) // the lowest page is taken first
	}
	return p, nil
}

// CacheFree is the number of tokens for which there are free pages.
func (s *Shard) CacheFree() int { return len(s.pages.free) * kernels.PageSize }

// CacheBytes is the memory of all pages that are in use.
func (s *Shard) CacheBytes() int64 {
	return int64(s.pages.arena.Pages()-len(s.pages.free)) * s.pages.arena.PageBytes()
}

// Cache is the keys and values of one sequence in a span of the shard's layers. It takes pages as it grows.
type Cache struct {
	shard *Shard
	span  store.Span
	pages []int32
	len   int
}

// NewCache makes an empty cache for the layers of span, which the shard must hold.
func (s *Shard) NewCache(span store.Span) *Cache {
	if span.Start < s.span.Start || span.Start >= span.End || span.End > s.span.End {
		panic(fmt.Sprintf("shard: cache for layers %v in a shard of %v", span, s.span))
	}
	most := (s.manifest.Context + kernels.PageSize - 1) / kernels.PageSize
	return &Cache{shard: s, span: span, pages: make([]int32, 0, most)}
}

// Span is the layers whose keys and values the cache holds.
func (c *Cache) Span() store.Span { return c.span }

// Len is the number of tokens that have been computed.
func (c *Cache) Len() int { return c.len }

// Reserve makes sure that the cache has pages for its first n tokens. On an error (*ContextFullError,
// *NoMemoryError) nothing has changed.
func (c *Cache) Reserve(n int) error {
	if n > c.shard.manifest.Context {
		return &ContextFullError{Tokens: n, Context: c.shard.manifest.Context}
	}
	p := c.shard.pages
	more := (n+kernels.PageSize-1)/kernels.PageSize - len(c.pages)
	if more <= 0 {
		return nil
	}
	if more > len(p.free) {
		return &NoMemoryError{Tokens: n, Free: c.shard.CacheFree()}
	}
	rest := len(p.free) - more
	for i := len(p.free) - 1; i >= rest; i-- {
		c.pages = append(c.pages, p.free[i])
	}
	p.free = p.free[:rest]
	return nil
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
		c.shard.pages.free = append(c.shard.pages.free, c.pages[i])
	}
	c.pages = c.pages[:keep]
}

// Close gives back all pages; the cache is empty then and may be used again.
func (c *Cache) Close() { c.Truncate(0) }
