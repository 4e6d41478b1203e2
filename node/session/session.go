package session

import (
	"time"

	"github.com/baichuan-node/baichuan-node/kernels"
	"github.com/baichuan-node/baichuan-node/protocol"
)

// Session is one sequence of tokens at this hop.
type Session struct {
	ID    ID
	table *Table

	epoch    uint32
	span     protocol.Span
	sampling protocol.Sampling

	length  int      // tokens that the cache holds
	last    uint64   // number of the last step whose tokens it holds
	ledger  []Output // of the last steps, at most keptSteps, numbers rising
	history []uint32 // last hop: ids of positions 0..; never overwritten, so that prefixes may be handed out

	promised  int // tokens of cache
	streams   int // of the owner
	goneSince time.Time
	used      time.Time // when it last did anything
	stepped   time.Time // when its last step was done
	running   bool
	pending   *protocol.Open // waits for the running step
	closed    bool
}

// Input is what a step must show before it may be executed.
type Input struct {
	Epoch    uint32
	Number   uint64
	Position int
	N        int // tokens
	NewIDs   []uint32
	Want     protocol.Want
	Hash     [32]byte // of the ids or rows
}

// Output is what a step left behind.
type Output struct {
	Number      uint64
	Position, N int
	Hash        [32]byte
	Rows        kernels.Rows // what the span made of the input; never changed
}

// Span is the layers that the session runs through here.
func (s *Session) Span() protocol.Span { return s.span }

// Sampling is what the last hop chooses candidates by.
func (s *Session) Sampling() protocol.Sampling { return s.sampling }

// Closed says whether the session has been forgotten.
func (s *Session) Closed() bool { return s.closed }

// Epoch is the highest epoch that the session has been opened with.
func (s *Session) Epoch() uint32 { return s.epoch }

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

// gone says whether the owner has had no stream here for so long that the session may be evicted.
func (s *Session) gone(now time.Time) bool {
	return s.streams == 0 && !s.running && now.Sub(s.goneSince) >= s.table.cfg.GoneAfter
}

// reopen takes a higher epoch at once, so that nothing older begins any more, and the rest when nothing older runs.
func (s *Session) reopen(m protocol.Open) {
	s.epoch = m.Epoch
	if s.running {
		s.pending = &m
		return
	}
	s.apply(m)
}

// apply makes the session what m says. Another span has another cache, so nothing of the old one is kept.
func (s *Session) apply(m protocol.Open) {
	if m.Span != s.span {
		s.cut(0)
		s.span = m.Span
	}
	s.sampling = m.Sampling
	s.cut(int(m.Position))
	if s.final() && len(m.IDs) > 0 {
		s.history = m.IDs
	}
}

// final says whether the session ends with the model's last layer here.
func (s *Session) final() bool { return s.span.End == s.table.cfg.Layers }

// cut forgets everything from position on. The steps that made it have not happened then: their numbers may come again.
func (s *Session) cut(position int) {
	s.forget(position)
	s.length = min(s.length, position)
	for i, out := range s.ledger {
		if out.Position+out.N > s.length {
			s.last = out.Number - 1
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

// Begin tests a step that is about to be executed. It gives the output of an equal step that has been executed already,
// or nil if the step is to be computed: then the session is running until Finish. It is refused with a
// protocol.Failure that carries epoch and number of the step.
func (s *Session) Begin(now time.Time, in Input) (*Output, error) {
	out, err := s.begin(now, in)
	if f, ok := err.(protocol.Failure); ok {
		f.Epoch, f.Number = in.Epoch, in.Number
		return nil, f
	}
	return out, err
}

func (s *Session) begin(now time.Time, in Input) (*Output, error) {
	switch {
	case s.closed:
		return nil, fail(protocol.CodeLostSession, "the session has ended here: open it anew")
	case in.Epoch != s.epoch:
		return nil, fail(protocol.CodeLostSession, "the step is of epoch %d, the session is in epoch %d", in.Epoch, s.epoch)
	}
	s.used = now
	for i := range s.ledger {
		out := &s.ledger[i]
		if out.Number != in.Number {
			continue
		}
		if out.Position != in.Position || out.N != in.N || out.Hash != in.Hash {
			return nil, fail(protocol.CodeBadRequest, "step %d has been executed with other content", in.Number)
		}
		return out, s.learn(in)
	}
	switch {
	case in.Number <= s.last:
		return nil, fail(protocol.CodeBadRequest, "step %d comes after step %d", in.Number, s.last)
	case in.Position != s.length:
		return nil, fail(protocol.CodeLostSession, "the step begins at token %d, the cache holds %d", in.Position, s.length)
	case in.N < 1 || in.Position+in.N > s.table.cfg.Context:
		return nil, fail(protocol.CodeContextFull, "%d tokens do not fit the model's context of %d", in.Position+in.N, s.table.cfg.Context)
	}
	if err := s.grow(now, in.Position+in.N); err != nil {
		return nil, err
	}
	if err := s.learn(in); err != nil {
		return nil, err
	}
	s.running = true
	return nil, nil
}

// grow promises the session cache for so many tokens.
func (s *Session) grow(now time.Time, tokens int) error {
	more := pages(tokens) - s.promised
	if more <= 0 {
		return nil
	}
	if err := s.table.makeRoom(now, more, s.ID.Owner); err != nil {
		return err
	}
	s.promised += more
	s.table.promised += more
	return nil
}

// learn takes over the ids that a step tells the last hop, and refuses a step whose candidates lack some.
func (s *Session) learn(in Input) error {
	if !s.final() {
		return nil
	}
	known := len(s.history)
	if len(in.NewIDs) > 0 {
		if known < in.Position {
			return fail(protocol.CodeBadRequest, "the new ids begin at position %d, %d are known", in.Position, known)
		}
		known = in.Position + len(in.NewIDs)
	}
	if in.Want == protocol.WantCandidates && known < in.Position+in.N {
		return fail(protocol.CodeBadRequest, "candidates after token %d need all ids before: %d are known", in.Position+in.N-1, known)
	}
	if len(in.NewIDs) > 0 {
		s.forget(in.Position)
		s.history = append(s.history, in.NewIDs...)
	}
	return nil
}

// History gives the ids of positions 0..n-1 at the last hop. They are never overwritten.
func (s *Session) History(n int) []uint32 { return s.history[:n:n] }

// Finish records a computed step and lets a waiting Open take effect.
func (s *Session) Finish(now time.Time, in Input, rows kernels.Rows) {
	s.running = false
	s.used, s.stepped = now, now
	if s.closed {
		return
	}
	if len(s.ledger) == keptSteps {
		s.ledger = append(s.ledger[:0:0], s.ledger[1:]...)
	}
	s.ledger = append(s.ledger, Output{Number: in.Number, Position: in.Position, N: in.N, Hash: in.Hash, Rows: rows})
	s.last, s.length = in.Number, in.Position+in.N
	if m := s.pending; m != nil {
		s.pending = nil
		s.apply(*m)
	}
}
