package client

import (
	"sync"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/client/chain"
	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
	"github.com/baichuan-node/baichuan-node/shard/pagename"
)

// holders remembers, by the names of pages of tokens, which peers computed them last for this client's sessions: another
// session that begins alike goes there. What is remembered may be out of date, for peers forget pages; that costs a less
// good chain once. The zero value is ready; it is safe for concurrent use.
type holders struct {
	mu         sync.Mutex
	young, old map[protocol.Digest][]held // guarded by mu; when young is full it takes the place of old
}

// held is a hop of a chain that has computed a page.
type held struct {
	peer peer.ID
	span protocol.Span
}

// record takes down who has computed the pages of some names.
func (h *holders) record(names []protocol.Digest, hops []routing.Hop) {
	chain := make([]held, len(hops)) // shared by all the names
	for i, hop := range hops {
		chain[i] = held{hop.Peer, hop.Span}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, name := range names {
		if len(h.young) >= maxHeldPages || h.young == nil {
			h.young, h.old = make(map[protocol.Digest][]held), h.young
		}
		h.young[name] = chain
	}
}

// of gives who holds pages of some names, which follow one another, and how many tokens.
func (h *holders) of(names []protocol.Digest) map[peer.ID]routing.Held {
	all := make(map[peer.ID]routing.Held)
	h.mu.Lock()
	defer h.mu.Unlock()
	for k := len(names) - 1; k >= 0; k-- {
		chain, known := h.young[names[k]]
		if !known {
			chain = h.old[names[k]]
		}
		for _, x := range chain {
			if all[x.peer].Tokens == 0 {
				all[x.peer] = routing.Held{Span: x.span, Tokens: (k + 1) * protocol.PageTokens}
			}
		}
	}
	return all
}

// forget takes down that pages of some names were not found.
func (h *holders) forget(names []protocol.Digest) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, name := range names {
		delete(h.young, name)
		delete(h.old, name)
	}
}

// affinity is what the session would like to find: room alone, if it is private.
func (s *session) affinity() routing.Affinity {
	if len(s.names) == 0 {
		return routing.Affinity{Room: s.expect}
	}
	return routing.Affinity{
		Name: s.names[0], Held: s.client.holders.of(s.names), Steps: s.expect - s.prompt, Room: s.expect,
	}
}

// name gives the names of the pages that ids fill, but for the last id.
func name(cfg *chain.Config, ids []uint32) []protocol.Digest {
	names := pagename.Pages(cfg.Model, cfg.Salt, ids, protocol.PageTokens)
	digests := make([]protocol.Digest, len(names))
	for i, n := range names {
		digests[i] = protocol.Digest(n)
	}
	return digests
}

// held takes down which peers hold the session's pages, when there are more of them, or others.
func (s *session) held() {
	if s.cfg.Private || (s.len-1)/protocol.PageTokens <= s.recorded {
		return
	}
	names := s.naming(s.link.chain.IDs()[:s.len])
	s.client.holders.record(names, s.hops)
	s.recorded = len(names)
}
