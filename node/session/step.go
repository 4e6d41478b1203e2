package session

import (
	"slices"
	"time"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// Input is what a step must show before it may be executed.
type Input struct {
	Epoch    uint32
	Number   uint64 // 0: replayed
	Position int
	N        int // tokens
	NewIDs   []uint32
	Want     protocol.Want
	Hash     [32]byte // of the ids or rows
}

// Verdict says what is to be done with a step.
type Verdict uint8

// The verdicts.
const (
	Compute Verdict = iota + 1 // it runs, until Finish or Abandon
	Repeat                     // it has been executed: its outputs are in the cache, and are to be sent again
	Held                       // its tokens were replayed, and are there already
)

// Begin tests a step that is about to be executed. The first done tokens of one that is to be computed have been
// computed before it was given up. It is refused with a protocol.Failure that carries epoch and number of the step.
func (s *Session) Begin(now time.Time, in Input) (v Verdict, done int, err error) {
	v, done, err = s.begin(now, in)
	if f, ok := err.(protocol.Failure); ok {
		f.Epoch, f.Number = in.Epoch, in.Number
		err = f
	}
	return v, done, err
}

func (s *Session) begin(now time.Time, in Input) (Verdict, int, error) {
	switch {
	case s.closed:
		return 0, 0, fail(protocol.CodeLostSession, "the session has ended here: open it anew")
	case in.Epoch != s.epoch:
		return 0, 0, fail(protocol.CodeLostSession, "the step is of epoch %d, the session is in epoch %d", in.Epoch, s.epoch)
	}
	s.used = now
	if s.offered && in.Position < s.length {
		history := s.history
		s.cut(in.Position)
		s.history = history // pages that were found are given up, not what the owner has told
	}
	if v, err := s.before(in); v != 0 || err != nil {
		return v, 0, err
	}
	done := s.overlap(in)
	switch {
	case in.Number != 0 && in.Number <= s.last:
		return 0, 0, fail(protocol.CodeBadRequest, "step %d comes after step %d", in.Number, s.last)
	case in.Position != s.length && done == 0:
		return 0, 0, fail(protocol.CodeLostSession, "the step begins at token %d, the cache holds %d", in.Position, s.length)
	case in.N < 1 || in.Position+in.N > s.table.cfg.Context:
		return 0, 0, fail(protocol.CodeContextFull, "%d tokens do not fit the model's context of %d", in.Position+in.N, s.table.cfg.Context)
	}
	if err := s.grow(now, in.Position+in.N); err != nil {
		return 0, 0, err
	}
	if err := s.learn(in); err != nil {
		return 0, 0, err
	}
	if s.partial.Entry == in.entry() {
		done = s.partial.done
	}
	s.partial = partial{}
	s.running, s.offered = true, false
	return Compute, done, nil
}

// entry is what the ledger keeps of a step.
func (in Input) entry() Entry {
	return Entry{Number: in.Number, Position: in.Position, N: in.N, Hash: in.Hash}
}

// before looks whether a step has been executed before: a number that the ledger has, or replayed tokens that the cache
// holds.
func (s *Session) before(in Input) (Verdict, error) {
	if in.Number == 0 {
		if in.Position+in.N <= s.length {
			return Held, nil
		}
		return 0, nil
	}
	for _, e := range s.ledger {
		switch {
		case e.Number != in.Number:
		case e != in.entry():
			return 0, fail(protocol.CodeBadRequest, "step %d has been executed with other content", in.Number)
		default:
			return Repeat, s.learn(in)
		}
	}
	return 0, nil
}

// Overtaken says whether the step is of the session's epoch, and so long past that the ledger does not have it any more.
func (s *Session) Overtaken(in Input) bool {
	known := slices.ContainsFunc(s.ledger, func(e Entry) bool { return e.Number == in.Number })
	return !s.closed && in.Epoch == s.epoch && in.Number != 0 && in.Number <= s.last && !known
}

// overlap is how many of the first tokens of what is replayed the cache holds: the frames of a replay that is repeated may
// begin elsewhere than those that have arrived.
func (s *Session) overlap(in Input) int {
	if in.Number == 0 && in.Position < s.length {
		return s.length - in.Position
	}
	return 0
}

// grow promises the session cache for so many tokens.
func (s *Session) grow(now time.Time, tokens int) error {
	more := pages(tokens) - s.promised
	if more <= 0 {
		return nil
	}
	if err := s.table.makeRoom(now, request{owner: s.ID.Owner, tokens: more, budget: s.budget, of: s}); err != nil {
		return err
	}
	s.promised += more
	s.budget.promised += more
	return nil
}

// learn takes over the ids that a step tells the last hop, and refuses a step whose candidates lack some. A step that
// comes again tells nothing new, and what is known of later ones stays.
func (s *Session) learn(in Input) error {
	if !s.final() {
		return nil
	}
	known := len(s.history)
	told := known >= in.Position+len(in.NewIDs) && slices.Equal(s.history[in.Position:][:len(in.NewIDs)], in.NewIDs)
	if len(in.NewIDs) > 0 && !told {
		if known < in.Position {
			return fail(protocol.CodeBadRequest, "the new ids begin at position %d, %d are known", in.Position, known)
		}
		known = in.Position + len(in.NewIDs)
	}
	if in.Want == protocol.WantCandidates && known < in.Position+in.N {
		return fail(protocol.CodeBadRequest, "candidates after token %d need all ids before: %d are known", in.Position+in.N-1, known)
	}
	if len(in.NewIDs) > 0 && !told {
		s.forget(in.Position)
		s.history = append(s.history, in.NewIDs...)
	}
	return nil
}

// Finish records a computed step and lets a waiting Open take effect. What was replayed is in the cache, but not in the
// ledger: it may be asked for again only as a replay.
func (s *Session) Finish(now time.Time, in Input) {
	s.running = false
	s.used = now
	if s.closed {
		return
	}
	s.length = in.Position + in.N
	if in.Number != 0 {
		if len(s.ledger) == keptSteps {
			s.ledger = append(s.ledger[:0:0], s.ledger[1:]...)
		}
		s.ledger = append(s.ledger, in.entry())
		s.last = in.Number
		if in.N <= ShortStep {
			s.decoded = now
		}
	}
	s.settle()
}

// Abandon records that a step which had begun was given up after some of its tokens had been computed.
func (s *Session) Abandon(now time.Time, in Input, done int) {
	s.running = false
	s.used = now
	if s.closed {
		return
	}
	if in.Number == 0 {
		s.length = in.Position + done
	} else if done > 0 {
		s.partial = partial{in.entry(), done}
	}
	s.settle()
}

// settle lets a waiting Open take effect.
func (s *Session) settle() {
	if m := s.pending; m != nil {
		s.pending = nil
		s.apply(*m)
	}
}
