package session

import (
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// Session is one sequence of tokens at this hop.
type Session struct {
	ID     ID
	table  *Table
	budget *Budget

	epoch    uint32
	span     protocol.Span
	prev     peer.ID // who pushes rows here; "": the owner alone
	from     peer.ID // who hands the session over; "": nobody
	salt     [16]byte
	private  bool
	sampling protocol.Sampling

	length  int      // tokens that the cache holds
	last    uint64   // number of the last step whose tokens it holds
	ledger  []Entry  // the last steps, at most keptSteps, numbers rising
	partial partial  // behind length
	history []uint32 // last hop: ids of positions 0..; never overwritten, so that prefixes may be handed out
	offered bool     // the tokens were found, and no step has said yet how many of them it builds upon
	excess  bool     // the cache holds more than the books

	promised  int // tokens of cache
	streams   int // of the owner
	goneSince time.Time
	used      time.Time // when it last did anything
	decoded   time.Time // when its last short step was done
	running   bool
	pending   *protocol.Open // waits for the running step
	closed    bool
}

// Entry is a step that has been executed, in the ledger. Its outputs are in the cache's pages.
type Entry struct {
	Number      uint64
	Position, N int
	Hash        [32]byte
}

// partial is a step that was given up before all of its tokens were computed. Those that were are still in the cache, and
// need not be computed again if the step comes again.
type partial struct {
	Entry
	done int // tokens
}

// Span is the layers that the session runs through here.
func (s *Session) Span() protocol.Span { return s.span }

// Prev is the peer whose pushes are taken; "": the owner's alone are.
func (s *Session) Prev() peer.ID { return s.prev }

// From is the peer whose pages are taken; "": nobody's are.
func (s *Session) From() peer.ID { return s.from }

// Sharing says with whom the session's pages are shared: private is nobody.
func (s *Session) Sharing() (salt [16]byte, private bool) { return s.salt, s.private }

// Sampling is what the last hop chooses candidates by.
func (s *Session) Sampling() protocol.Sampling { return s.sampling }

// Closed says whether the session has been forgotten.
func (s *Session) Closed() bool { return s.closed }

// Epoch is the highest epoch that the session has been opened with.
func (s *Session) Epoch() uint32 { return s.epoch }

// Length is how many tokens the cache holds, by the books.
func (s *Session) Length() int { return s.length }

// Running says whether a step has begun and is not done.
func (s *Session) Running() bool { return s.running }

// Settled says whether the last Open has taken effect.
func (s *Session) Settled() bool { return s.pending == nil }

// Opened answers an Open, once the session is settled.
func (s *Session) Opened() protocol.Opened {
	return protocol.Opened{Epoch: s.epoch, Position: uint32(s.length), Last: s.last}
}

// Attach counts a stream of the owner.
func (s *Session) Attach(now time.Time) {
	s.streams++
	s.used = now
}

// Detach counts it off again.
func (s *Session) Detach(now time.Time) {
	if s.streams--; s.streams == 0 {
		s.goneSince = now
	}
}

// Gone says whether the owner has had no stream here for so long that nothing more is done for the session.
func (s *Session) Gone(now time.Time) bool {
	return s.streams == 0 && now.Sub(s.goneSince) >= s.table.cfg.GoneAfter
}

// Touch records that something is done for the session, or that its owner waits for it.
func (s *Session) Touch(now time.Time) { s.used = now }

// reopen takes a higher epoch at once, and with it those who may send, so that nothing older begins any more; and the
// rest when nothing older runs.
func (s *Session) reopen(m protocol.Open) {
	s.epoch, s.prev, s.from = m.Epoch, m.Prev, m.From
	if s.running {
		if older := s.pending; older != nil { // what it was to forget is not to come back
			m.Position = min(m.Position, older.Position)
			if len(m.IDs) == 0 {
				m.IDs = older.IDs
			}
		}
		s.pending = &m
		return
	}
	s.apply(m)
}

// apply makes the session what m says. Another span has another cache, so nothing of the old one is kept. With whom the
// pages are shared is settled when the first of them is made.
func (s *Session) apply(m protocol.Open) {
	if m.Span != s.span {
		s.cut(0)
		s.span = m.Span
	}
	s.sampling = m.Sampling
	s.cut(int(m.Position))
	if s.held() == 0 {
		s.salt, s.private = m.Salt, m.Private
	}
	if s.final() && len(m.IDs) > 0 {
		s.history = m.IDs
	}
}

// final says whether the session ends with the model's last layer here.
func (s *Session) final() bool { return s.span.End == s.table.cfg.Layers }

// held is how many tokens lie in the cache, those of a step that was given up included.
func (s *Session) held() int { return s.length + s.partial.done }

// cut forgets everything from position on. The steps that made it have not happened then: their numbers may come again.
func (s *Session) cut(position int) {
	s.forget(position)
	if position >= s.held() {
		return
	}
	s.excess = true
	s.partial.done = max(0, position-s.length)
	s.length = min(s.length, position)
	for i, e := range s.ledger {
		if e.Position+e.N > s.length {
			s.last = e.Number - 1
			s.ledger = s.ledger[:i:i]
			return
		}
	}
}

// forget cuts the history, without its capacity: what comes next must not overwrite ids that were handed out.
func (s *Session) forget(position int) {
	if len(s.history) > position {
		s.history = s.history[:position:position]
	}
}

// Excess says whether TakeExcess has something to say.
func (s *Session) Excess() bool { return s.excess }

// TakeExcess says, once after each time that something was cut, how many tokens the cache is to keep.
func (s *Session) TakeExcess() (keep int, cut bool) {
	cut = s.excess
	s.excess = false
	return s.held(), cut
}

// History gives the ids of positions 0..n-1 at the last hop. They are never overwritten.
func (s *Session) History(n int) []uint32 { return s.history[:n:n] }
