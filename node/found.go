package node

import (
	"time"

	"github.com/baichuan-node/baichuan-node/kernels"
	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/shard"
	"github.com/baichuan-node/baichuan-node/shard/pagename"
	"github.com/baichuan-node/baichuan-node/shard/store"
)

// newCache makes the cache of a session: its pages can be found by others unless it is private, or handed over.
func (n *Node) newCache(h *hop, span store.Span) *shard.Cache {
	n.mu.Lock()
	salt, private := h.books.Sharing()
	n.mu.Unlock()
	if private {
		return h.berth.shard.NewCache(span)
	}
	return h.berth.shard.NewSharedCache(span, pagename.Salt(salt))
}

// trim gives back the pages behind the tokens that a session was cut to. An empty cache goes: the next one may be shared
// with others than before.
func (h *hop) trim(all caches) {
	h.node.mu.Lock()
	keep, cut := h.books.TakeExcess()
	running := h.books.Running() // it has begun meanwhile, and has cut the cache itself
	span := h.books.Span()
	h.node.mu.Unlock()
	c := all[h.books]
	switch {
	case c == nil || running || !cut:
	case keep == 0 || c.Span() != store.Span(span):
		c.Close()
		delete(all, h.books)
	default:
		c.Truncate(keep)
	}
}

// adopt fills the cache of a session with pages that are found by name, and names their outputs. The last of them may be
// of use in part.
func (h *hop) adopt(all caches, o *opening, names []protocol.Digest) []protocol.Digest {
	n := h.node
	n.mu.Lock()
	may := h.books.MayFind() && h.books.Epoch() == o.leg.epoch
	span := h.books.Span()
	n.mu.Unlock()
	if !may {
		return nil
	}
	if c := all[h.books]; c != nil { // it may be one that was begun for pages of another kind
		c.Close()
		delete(all, h.books)
	}
	c := n.cache(h, span, all)
	wanted := min(len(names), (int(o.open.Position)+kernels.PageSize-1)/kernels.PageSize)
	in := make([]pagename.Name, wanted)
	for i := range in {
		in[i] = pagename.Name(names[i])
	}
	found := min(c.Adopt(in), int(o.open.Position))
	own := digests(c.OutputNames())
	n.mu.Lock()
	if h.books.MayFind() && h.books.Epoch() == o.leg.epoch {
		found = h.books.Found(time.Now(), found)
	} else {
		found, own = 0, nil // a newer open has come meanwhile, which may want less
	}
	n.mu.Unlock()
	c.Truncate(found)
	return own
}

// ownNames gives the names of the session's outputs.
func (h *hop) ownNames(all caches) []protocol.Digest {
	c := all[h.books]
	if c == nil {
		return nil
	}
	h.node.mu.Lock()
	pages := h.books.Length() / kernels.PageSize
	h.node.mu.Unlock()
	names := digests(c.OutputNames())
	return names[:min(len(names), pages)]
}

func digests(names []pagename.Name) []protocol.Digest {
	all := make([]protocol.Digest, len(names))
	for i, name := range names {
		all[i] = protocol.Digest(name)
	}
	return all
}
