package routing

import (
	"cmp"
	"crypto/sha256"
	"math"
	"slices"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// Affinity is what a session would like to find at its peers: pages of cache that others have filled with what it begins
// with. The zero value wants nothing, as private sessions do.
//
// A peer is worth to it what the pages save: their tokens, at the prefill rate of the fastest other peer for the same
// layers, spread over the Steps that follow; no more. Where peers are nearly equal otherwise, the one that holds most is
// taken, and among those that hold nothing the one whose id draws the highest number with Name: so sessions that begin
// alike meet at the same peers, though their clients know nothing of each other.
type Affinity struct {
	Name  protocol.Digest  // of the prompt's first page; zero: it has none, or shares it with nobody
	Held  map[peer.ID]Held // what peers are known to hold
	Steps int              // tokens that will be computed one by one; 0: unknownSteps
	Room  int              // tokens that the session will reach: who has no room for them is taken where nobody has
}

// Held says that a peer keeps the first Tokens tokens of a prompt for layers Span: it finds them for exactly these layers,
// and only if the hops before it find theirs.
type Held struct {
	Span   protocol.Span
	Tokens int
}

// searchWarm is search with what peers hold. A find that would not come about is struck out, and the search is repeated.
func (p *planner) searchWarm(m Measures) []Hop {
	held := make(map[int]Held, len(m.Affinity.Held))
	for i, c := range p.peers {
		if h, ok := m.Affinity.Held[c.offer.Peer]; ok && h.Tokens > 0 && c.hasRoom(m.Affinity) {
			held[i] = h
		}
	}
	for {
		p.discount(held, m.Affinity)
		pieces := p.search()
		void := p.voided(pieces, held)
		if len(void) == 0 {
			p.refine(pieces, held, m.Affinity)
			return p.chain(pieces)
		}
		for _, i := range void {
			delete(held, i)
		}
	}
}

// hasRoom says whether a peer is not so busy that it had better be left alone.
func (c *candidate) hasRoom(a Affinity) bool {
	return c.offer.Queue < busyQueue && (a.Room == 0 || int64(c.offer.CacheFree) >= int64(a.Room))
}

// discount gives those who hold something their discount for each layer.
func (p *planner) discount(held map[int]Held, a Affinity) {
	steps := int64(cmp.Or(max(a.Steps, 0), unknownSteps))
	for i := range p.peers {
		c := &p.peers[i]
		c.found = 0
		h, holds := held[i]
		if !holds {
			continue
		}
		saved := int64(math.MaxInt64) // of a layer and token, at others
		for k, o := range p.peers {
			if k != i && o.span.Start < c.span.End && c.span.Start < o.span.End {
				saved = min(saved, o.prefill)
			}
		}
		if saved != math.MaxInt64 {
			c.found = int64(h.Tokens) * saved / steps
		}
	}
}

// voided gives the peers of a chain whose finds would not come about: they are asked for other layers, or behind a hop
// that finds nothing.
func (p *planner) voided(pieces []piece, held map[int]Held) (void []int) {
	warm := true // ids are known, and a hop before a piece of a chain has all that is behind it
	for _, h := range pieces {
		got, holds := held[h.peer]
		warm = warm && holds && got.Span == p.wire(h)
		if holds && !warm {
			void = append(void, h.peer)
		}
	}
	return void
}

// refine puts others into the place of peers that are nearly as good: who holds most, or draws the highest number.
func (p *planner) refine(pieces []piece, held map[int]Held, a Affinity) {
	if a.Name == (protocol.Digest{}) {
		return
	}
	taken := make(map[int]bool, len(pieces))
	for _, h := range pieces {
		taken[h.peer] = true
	}
	warm := true
	for k, h := range pieces {
		holds := func(i int) int {
			if got := held[i]; warm && got.Span == p.wire(h) {
				return got.Tokens
			}
			return 0
		}
		price := func(i int) int64 { return p.instead(pieces, k, i) }
		most := price(h.peer)
		most += max(most/4, nearlyEqual)
		best := h.peer
		for i, c := range p.peers {
			if taken[i] || c.span.Start > h.start || c.span.End < h.end || price(i) > most || !c.hasRoom(a) {
				continue
			}
			if c.layer-c.own > p.peers[h.peer].layer-p.peers[h.peer].own {
				continue // none of the session's own
			}
			if cmp.Or(cmp.Compare(holds(i), holds(best)), cmp.Compare(p.draw(i, a), p.draw(best, a))) > 0 {
				best = i
			}
		}
		delete(taken, h.peer)
		taken[best] = true
		warm = warm && holds(best) > 0
		pieces[k].peer = best
	}
}

// instead is what hop k of a chain takes if peer i has its place, with the ways to it and from it.
func (p *planner) instead(pieces []piece, k, i int) int64 {
	c := &p.peers[i]
	sum := c.enter() + c.own*int64(pieces[k].end-pieces[k].start)
	if k == 0 {
		sum += c.in
	} else {
		sum += between(&p.peers[pieces[k-1].peer], c) / 2
	}
	if k == len(pieces)-1 {
		return sum + c.out
	}
	return sum + c.send + between(c, &p.peers[pieces[k+1].peer])/2
}

// draw is a peer's number for a name, the same for everyone. Who is too busy draws nothing.
func (p *planner) draw(i int, a Affinity) string {
	c := &p.peers[i]
	if !c.hasRoom(a) {
		return ""
	}
	sum := sha256.Sum256(slices.Concat([]byte("bc-meet/1"), a.Name[:], []byte(c.offer.Peer)))
	return string(sum[:])
}
