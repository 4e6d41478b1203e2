package node

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/kernels"
	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/shard"
	"github.com/baichuan-node/baichuan-node/shard/store"
)

// handOver sends the session's cache, as it is after its last step, to the peer that takes over. Nothing is told if all
// goes well: the successor tells the owner when it has everything.
func (h *hop) handOver(m protocol.HandOver) {
	to, err := h.node.checkOffer(m.To)
	if err == nil {
		err = h.sendPages(m.Epoch, to)
	}
	if err != nil {
		h.fail(m.Epoch, protocol.CodeLostSession, "the cache could not be handed over: %v", err)
	}
}

// sendPages sends all pages of the session, which is at rest.
func (h *hop) sendPages(epoch uint32, to *protocol.Offer) error {
	n := h.node
	n.mu.Lock()
	l, length, span := h.leg, h.books.Length(), h.books.Span()
	bytes := n.cacheBytes(span, length)
	err := n.worthwhile(h, span, length, to)
	if len(h.inflight) > 0 || h.books.Closed() || length == 0 {
		err = errors.New("there is nothing to hand over, or a step is under way")
	}
	if epoch <= h.books.Epoch() {
		err = fmt.Errorf("the session has been opened anew, in epoch %d, since that was asked in %d", h.books.Epoch(), epoch)
	}
	if err == nil {
		n.uplink.ahead += bytes
	}
	n.mu.Unlock()
	if err != nil {
		return err
	}
	defer func() {
		n.mu.Lock()
		n.uplink.ahead -= bytes
		n.mu.Unlock()
	}()
	out, err := n.pushStream(l.ctx, h.owner(), to)
	if err != nil {
		return err
	}
	defer out.Close()
	stop := context.AfterFunc(l.ctx, func() { _ = out.Reset() })
	defer stop()
	for parts := partsOf(span, length); len(parts) > 0; {
		pages, err := h.readParts(l, length, parts)
		if err != nil {
			_ = out.Reset()
			return err
		}
		parts = parts[len(pages):]
		if len(parts) == 0 {
			pages[len(pages)-1].Final = true
		}
		for _, p := range pages {
			p.Epoch = epoch
			if err := h.sendPage(l.ctx, out, p); err != nil {
				return err
			}
		}
	}
	return nil
}

// sendPage sends a part of the cache when its turn on the upload has come.
func (h *hop) sendPage(ctx context.Context, out network.Stream, p protocol.Page) error {
	p.Owner, p.Session, p.Hash = h.owner(), h.books.ID.Key, sha256.Sum256(p.Bytes)
	if err := h.node.uplink.Wait(ctx, len(p.Bytes)); err != nil {
		return err
	}
	if err := out.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	if err := protocol.WriteMessage(out, p); err != nil {
		return err
	}
	if p.Layer < 0 {
		h.node.metrics.pagesHanded.Inc()
	}
	return nil
}

// part names a part of a cache: one layer of a page, or its rows.
type part struct {
	index, layer int
}

// partsOf gives the parts of a cache in the order in which they are sent.
func partsOf(span protocol.Span, length int) []part {
	var parts []part
	for index := range (length + kernels.PageSize - 1) / kernels.PageSize {
		for layer := span.Start; layer < span.End; layer++ {
			parts = append(parts, part{index, layer})
		}
		parts = append(parts, part{index, -1})
	}
	return parts
}

// readParts reads some of the parts, the first ones, if the session still is as long as it was.
func (h *hop) readParts(l *leg, length int, parts []part) ([]protocol.Page, error) {
	var pages []protocol.Page
	done := h.node.do(l.ctx, func(all caches) {
		h.node.mu.Lock()
		same := !h.books.Closed() && !h.books.Running() && h.books.Length() == length && h.books.Epoch() == l.epoch
		h.books.Touch(time.Now()) // nobody takes it away meanwhile
		h.node.mu.Unlock()
		c := all[h.books]
		if !same || c == nil {
			return
		}
		for bytes := 0; len(pages) < len(parts) && bytes < handBytes; {
			p := parts[len(pages)]
			tokens := min(length-p.index*kernels.PageSize, kernels.PageSize)
			b := make([]byte, c.PageBytes(p.layer, tokens))
			c.ReadPage(b, p.index, p.layer)
			pages = append(pages, protocol.Page{Index: uint32(p.index), Tokens: uint32(tokens), Layer: int32(p.layer), Bytes: b})
			bytes += len(b)
		}
	})
	if !done || len(pages) == 0 {
		return nil, fmt.Errorf("the session has gone on or ended meanwhile")
	}
	return pages, nil
}

// taken is how far a cache has come that is being handed over.
type taken struct {
	epoch uint32
	parts int // of the page that is coming
}

// page takes a part of a cache from the peer that hands it over. What does not fit ends the hand-over, and the owner is
// told.
func (h *hop) page(ctx context.Context, who peer.ID, m protocol.Page) error {
	var err error
	if sha256.Sum256(m.Bytes) != m.Hash {
		err = fmt.Errorf("page %d, layer %d: its hash is another", m.Index, m.Layer)
	} else if !h.node.do(ctx, func(all caches) { err = h.take(all, m) }) {
		return ctx.Err()
	}
	if err != nil {
		f := refusal(protocol.CodeLostSession, "the cache could not be taken over: %v", err)
		f.Epoch, f.Suspect = m.Epoch, who
		h.tell(f)
		return err
	}
	if m.Final {
		h.node.metrics.taken.Inc()
		h.tell(protocol.Replayed{Epoch: m.Epoch, Position: m.Index*kernels.PageSize + m.Tokens})
	}
	return nil
}

// take writes a part to the cache. A page's layers come in order, then its rows, which make its tokens the session's.
func (h *hop) take(all caches, m protocol.Page) error {
	n := h.node
	if h.taken.epoch != m.Epoch {
		h.taken = taken{epoch: m.Epoch}
	}
	n.mu.Lock()
	span, length := h.books.Span(), h.books.Length()
	err := h.mayTake(m, span)
	dropped := n.table.TakeDropped() // others may have had to give way
	n.mu.Unlock()
	for _, s := range dropped {
		n.release(s, all)
	}
	if err != nil {
		return err
	}
	if err := h.handedCache(span, length, all).WritePage(int(m.Index), int(m.Layer), int(m.Tokens), m.Bytes); err != nil {
		return err
	}
	h.taken.parts++
	if m.Layer >= 0 {
		return nil
	}
	h.taken.parts = 0
	n.mu.Lock()
	defer n.mu.Unlock()
	if !h.books.Taken(m.Epoch, length, int(m.Tokens)) {
		return errors.New("the session was opened anew meanwhile")
	}
	return nil
}

// mayTake refuses a part that is not the next one, or for which there is no room. Called with the mutex held.
func (h *hop) mayTake(m protocol.Page, span protocol.Span) error {
	next := int32(span.Start + h.taken.parts)
	if int(next) == span.End {
		next = -1
	}
	switch {
	case h.books.Closed() || h.books.Running() || h.books.Epoch() != m.Epoch:
		return fmt.Errorf("the session is not waiting for it")
	case m.Layer != next || int(m.Index)*kernels.PageSize != h.books.Length():
		return fmt.Errorf("page %d, layer %d came where layer %d after %d tokens was due", m.Index, m.Layer, next, h.books.Length())
	case m.Final && m.Layer >= 0:
		return fmt.Errorf("the last page has no rows")
	}
	return h.books.Take(time.Now(), int(m.Tokens))
}

// handedCache gives the cache that pages are written to, cut to the length that the books have.
func (h *hop) handedCache(span protocol.Span, length int, all caches) *shard.Cache {
	c := all[h.books]
	if c != nil && c.Span() == store.Span(span) {
		c.Truncate(length)
		return c
	}
	if c != nil {
		c.Close()
	}
	c = h.berth.shard.NewCache(store.Span(span))
	all[h.books] = c
	return c
}
