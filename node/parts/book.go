package parts

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// book is the chunks that lack and who may have them: it decides which is asked of whom next, and what becomes of a peer that
// fails. It does nothing, and knows no time but what it is told.
type book struct {
	chunks []*chunk // in the order in which they are asked for
	peers  map[peer.ID]*source
}

// chunk is one that lacks.
type chunk struct {
	part, index int
	hash        protocol.Digest
	bytes       int
	here        bool
	askers      map[peer.ID]time.Time // since when
}

// source is a peer that may have chunks.
type source struct {
	lacks  map[int]time.Time // parts that it said it lacks, and when
	banned string            // why nothing is asked of it any more
	rest   time.Time         // nothing is asked of it before
	fails  int               // on end
	fault  string            // of the last that failed
	jobs   int
	asked  bool          // ever
	useful bool          // it has sent a chunk
	alone  bool          // one chunk at a time: sessions live there, and its answers are short
	took   time.Duration // for its last chunk; 0: none yet
	piece  int           // to ask for at once
}

// outcome is what came of asking a peer for a chunk.
type outcome int

const (
	arrived outcome = iota // verified and written
	lacking                // the peer does not have it
	busy                   // the peer wants to be asked later
	failed                 // no connection, no answer in time, a stream that broke
	lied                   // what it sent is not the chunk
	spared                 // another one was quicker
)

// report is what a job tells.
type report struct {
	how   outcome
	why   string        // it failed or lied
	alone bool          // the peer sends small pieces
	piece int           // to ask for at once the next time
	took  time.Duration // for a chunk that arrived
}

func newBook() *book { return &book{peers: map[peer.ID]*source{}} }

// add adds a chunk that lacks.
func (b *book) add(part, index int, hash protocol.Digest, bytes int) {
	b.chunks = append(b.chunks, &chunk{part: part, index: index, hash: hash, bytes: bytes, askers: map[peer.ID]time.Time{}})
}

// meet adds a peer that may have chunks.
func (b *book) meet(id peer.ID) {
	if b.peers[id] == nil && len(b.peers) < maxPeers {
		b.peers[id] = &source{lacks: map[int]time.Time{}, piece: smallPiece}
	}
}

// next gives the chunk to ask a peer for now; nil: none. It counts it as asked for.
func (b *book) next(id peer.ID, now time.Time) *chunk {
	s := b.peers[id]
	most := peerJobs
	if s.alone || !s.useful {
		most = 1
	}
	if s.banned != "" || now.Before(s.rest) || s.jobs >= most {
		return nil
	}
	var best *chunk
	for _, c := range b.chunks {
		if c.here || s.lacksPart(c.part, now) {
			continue
		}
		if len(c.askers) == 0 {
			best = c
			break
		}
		if s.mayHedge(c, id, now) && (best == nil || c.since().Before(best.since())) {
			best = c
		}
	}
	if best != nil {
		best.askers[id] = now
		s.jobs++
		s.asked = true
	}
	return best
}

func (s *source) lacksPart(part int, now time.Time) bool {
	said, ok := s.lacks[part]
	return ok && now.Sub(said) < lacksFor
}

// mayHedge says whether a chunk that others are asked for may be asked of this peer as well.
func (s *source) mayHedge(c *chunk, id peer.ID, now time.Time) bool {
	_, already := c.askers[id]
	most := maxAskers
	if s.useful {
		most++
	}
	return !already && len(c.askers) < most && now.Sub(c.since()) >= max(hedgeAfter, hedgeTimes*s.took)
}

// since is when a chunk was last asked for.
func (c *chunk) since() (last time.Time) {
	for _, t := range c.askers {
		if t.After(last) {
			last = t
		}
	}
	return last
}

// told notes what came of asking a peer for a chunk.
func (b *book) told(id peer.ID, c *chunk, r report, now time.Time) {
	s := b.peers[id]
	delete(c.askers, id)
	s.jobs--
	switch r.how {
	case arrived:
		s.fails, s.useful, s.took, s.alone, s.piece = 0, true, r.took, r.alone, r.piece
		c.here = true
	case lacking:
		s.lacks[c.part] = now
	case lied:
		s.banned = r.why
	case busy, failed:
		s.fault, s.useful, s.piece = r.why, false, smallPiece
		s.rest = now.Add(min(restMost, restFirst<<min(s.fails, 10)))
		s.fails++
	case spared:
	}
}

// order gives the peers in the order in which they are asked: those first that are quick and have little to do.
func (b *book) order() []peer.ID {
	ids := slices.Collect(maps.Keys(b.peers))
	slices.SortFunc(ids, func(x, y peer.ID) int {
		s, t := b.peers[x], b.peers[y]
		return cmp.Or(cmp.Compare(s.jobs, t.jobs), cmp.Compare(s.fails, t.fails), cmp.Compare(s.took, t.took), cmp.Compare(x, y))
	})
	return ids
}

// drop forgets a part, all of whose chunks are here or nobody's matter any more.
func (b *book) drop(part int) {
	b.chunks = slices.DeleteFunc(b.chunks, func(c *chunk) bool { return c.part == part })
}

// whole says whether all chunks of a part are here.
func (b *book) whole(part int) bool {
	return !slices.ContainsFunc(b.chunks, func(c *chunk) bool { return c.part == part && !c.here })
}

// missing gives the parts of which chunks lack, ascending.
func (b *book) missing() (parts []int) {
	for _, c := range b.chunks {
		if !c.here {
			parts = append(parts, c.part)
		}
	}
	slices.Sort(parts)
	return slices.Compact(parts)
}

// untried says whether there are peers that were never asked.
func (b *book) untried() bool {
	for _, s := range b.peers {
		if !s.asked {
			return true
		}
	}
	return false
}

// reasons says of the peers, in the order of their ids, why nothing comes from them.
func (b *book) reasons() (why []string) {
	for _, id := range slices.Sorted(maps.Keys(b.peers)) {
		switch s := b.peers[id]; {
		case s.banned != "":
			why = append(why, "peer "+id.String()+": "+s.banned)
		case s.fault != "":
			why = append(why, "peer "+id.String()+": "+s.fault)
		case len(s.lacks) > 0:
			why = append(why, "peer "+id.String()+": it has none of them")
		}
	}
	return why
}
