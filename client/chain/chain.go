// Package chain drives one session through the hops of its chain: which frame goes to which hop, with which epoch,
// number and position, what an answer must look like, and when a hop counts as hung.
//
// A Chain decides and does nothing else: it is told what came, what was sent and how late it is, and answers with
// the actions to take. It has no clock, no stream and no goroutine, and is not safe for concurrent use. Nothing that
// a hop sends is trusted: what can't be true ends the session with a [*Fault] that names the hop.
package chain

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// Config describes a session that is about to begin.
type Config struct {
	// Hops are the opens of the session's hops in the order of their layers, complete but for what a Chain counts:
	// epoch, position, ids, sampling and the expected length.
	Hops []protocol.Open
	// Hidden is the width of a row, Vocab the number of logits.
	Hidden, Vocab int
}

// Action is something to do for the session: one of Send, Ready, Rows, Done and *Fault.
type Action any

// Send says that a message goes to a hop.
type Send struct {
	Hop     int
	Message any // protocol.Open, Step, Push or Close
}

// Ready says that all hops are open and hold the same Position tokens: steps may follow.
type Ready struct {
	Position int
}

// Rows are the raw logits of N positions from Position on, N*vocab float32, little endian. They belong to the
// receiver.
type Rows struct {
	Position, N int
	Logits      []byte
}

// Done says that all ids of an Append are computed. Candidates are those of its last token, if they were wanted.
type Done struct {
	Candidates []protocol.Candidate
}

// Fault says that the session can't go on: Hop is why. It is an error.
type Fault struct {
	Hop   int
	Class protocol.Class // what the client may do about it
	Err   error
}

func (f *Fault) Error() string { return f.Err.Error() }

// Unwrap gives what happened.
func (f *Fault) Unwrap() error { return f.Err }

// Chain is the state of one session. Make one with New.
type Chain struct {
	cfg   Config
	hops  []hop
	epoch uint32
	last  uint64 // number of the newest step

	ids      []uint32 // what the hops hold, with the steps under way
	sampling protocol.Sampling
	expect   int

	opening bool
	keep    int           // position that the hops were asked for
	rounds  int           // opens of the present one, until the hops agree
	until   time.Duration // when the hops must have answered, whatever else they say

	queue  []step // steps not sent yet
	flight []step // steps under way, oldest first
	fault  *Fault
}

// hop is what is known of one hop. Times are since the session's start.
type hop struct {
	opened   bool
	position int

	unsent   int           // frames that are still being written
	heard    time.Duration // when it last showed life, or was given something to do
	openedAt time.Duration // when the open was on its way
	grace    time.Duration // time that its newest frame may need to arrive
	rtt      time.Duration // the shortest answer to an open
	measured bool
}

// step is one pass of some tokens through the chain.
type step struct {
	number   uint64
	position int
	ids      []uint32
	want     protocol.Want

	hop      int           // where it is
	running  bool          // as the hop says
	turns    int           // how often that has changed
	rows     uint32        // computed there, as the hop says
	progress time.Duration // when that last changed
	got      int           // rows of logits received
}

// limit is how long the count of a step's rows may stand still.
func (s *step) limit() time.Duration { return stepLimit + time.Duration(len(s.ids))*rowLimit }

// New makes the Chain of a session that no hop knows yet.
func New(cfg Config) *Chain {
	if len(cfg.Hops) == 0 {
		panic("chain: no hops")
	}
	return &Chain{cfg: cfg, hops: make([]hop, len(cfg.Hops))}
}

// Position is the number of tokens that the hops hold, steps under way included.
func (c *Chain) Position() int { return len(c.ids) }

// Open opens the session at every hop, keeping at most keep tokens of its cache; steps of before are given up. It is
// also how a session is rolled back and how its sampling changes. expect is the length the session may reach.
func (c *Chain) Open(now time.Duration, keep, expect int, sampling protocol.Sampling) []Action {
	if c.fault != nil {
		return []Action{c.fault}
	}
	c.sampling, c.expect, c.rounds = sampling, expect, 0
	return c.open(now, min(keep, len(c.ids)))
}

func (c *Chain) open(now time.Duration, keep int) []Action {
	c.epoch++
	c.rounds++
	c.opening, c.keep = true, keep
	c.ids = c.ids[:keep]
	c.until = now + stepLimit
	for _, s := range c.flight {
		c.until += s.limit() // an open is answered when nothing older runs
	}
	c.queue, c.flight = nil, nil
	actions := make([]Action, len(c.hops))
	for i := range c.hops {
		m := c.cfg.Hops[i]
		m.Epoch, m.Position, m.Expect, m.Sampling = c.epoch, uint32(keep), uint32(c.expect), c.sampling
		if i == len(c.hops)-1 {
			m.IDs = slices.Clone(c.ids) // a frame may be written when c.ids has changed
		}
		c.hops[i].opened = false
		actions[i] = c.send(now, i, m, 0)
	}
	return actions
}

// Append computes ids after what the hops hold, in steps of at most 512 tokens: all of them bring rows if rows are
// wanted, the last one alone brings candidates. It must follow Ready, or the Done of the Append before it.
func (c *Chain) Append(now time.Duration, ids []uint32, want protocol.Want) []Action {
	switch {
	case c.fault != nil:
		return []Action{c.fault}
	case c.epoch == 0 || c.opening || len(c.flight) > 0:
		panic("chain: Append to a session that is not ready")
	case len(ids) == 0:
		panic("chain: Append of nothing")
	}
	position := len(c.ids)
	c.ids = append(c.ids, ids...)
	for from := position; from < len(c.ids); from += protocol.MaxStepRows {
		until := min(from+protocol.MaxStepRows, len(c.ids))
		s := step{position: from, ids: slices.Clone(c.ids[from:until]), want: want}
		if want == protocol.WantCandidates && until < len(c.ids) {
			s.want = protocol.WantNone
		}
		c.queue = append(c.queue, s)
	}
	return c.pump(now)
}

// pump sends what may be under way.
func (c *Chain) pump(now time.Duration) []Action {
	var actions []Action
	for len(c.queue) > 0 && len(c.flight) < stepsInFlight {
		s := c.queue[0]
		c.queue = c.queue[1:]
		c.last++
		s.number, s.progress = c.last, now
		c.flight = append(c.flight, s)
		actions = append(actions, c.send(now, 0, protocol.Step{
			Epoch: c.epoch, Number: s.number, Position: uint32(s.position),
			Want: s.want, NewIDs: s.ids, IDs: s.ids,
		}, 4*len(s.ids)))
	}
	return actions
}

// send notes that a hop has something to answer. body is the size of what travels beside the header.
func (c *Chain) send(now time.Duration, i int, message any, body int) Action {
	h := &c.hops[i]
	h.unsent++
	h.heard = now
	h.grace = time.Duration(body) * time.Second / slowestLink
	return Send{Hop: i, Message: message}
}

// Sent tells that one of the frames for a hop has been written.
func (c *Chain) Sent(now time.Duration, i int) {
	h := &c.hops[i]
	h.unsent--
	h.heard = max(h.heard, now)
	if c.opening && !h.opened {
		h.openedAt = now
	}
}

// Heard tells that bytes came from a hop, be it in the middle of a frame.
func (c *Chain) Heard(now time.Duration, i int) {
	c.hops[i].heard = max(c.hops[i].heard, now)
}

// Lost tells that the stream to a hop could not be opened or has ended.
func (c *Chain) Lost(i int, class protocol.Class, err error) []Action {
	return c.fail(i, class, err)
}

// Close says goodbye to every hop.
func (c *Chain) Close() []Action {
	actions := make([]Action, len(c.hops))
	for i := range c.hops {
		actions[i] = Send{Hop: i, Message: protocol.Close{Session: c.cfg.Hops[i].Session}}
	}
	return actions
}

// Handle takes a message from a hop.
func (c *Chain) Handle(now time.Duration, i int, message any) []Action {
	if c.fault != nil {
		return nil
	}
	c.Heard(now, i)
	switch m := message.(type) {
	case protocol.Opened:
		return c.onOpened(now, i, m)
	case protocol.Push:
		return c.onPush(now, i, m)
	case protocol.Result:
		return c.onResult(now, i, m)
	case protocol.Heartbeat:
		return c.onHeartbeat(now, i, m)
	case protocol.Failure:
		return c.onFailure(i, m)
	}
	return c.breach(i, fmt.Errorf("it sent a %T, which a client does not take", message))
}

// fail ends the session, once.
func (c *Chain) fail(i int, class protocol.Class, err error) []Action {
	if c.fault != nil {
		return nil
	}
	c.fault = &Fault{Hop: i, Class: class, Err: err}
	return []Action{c.fault}
}

// breach ends the session because a hop sent what can't be true: another peer must take its place.
func (c *Chain) breach(i int, err error) []Action {
	return c.fail(i, protocol.Elsewhere, fmt.Errorf("broken promise: %w", err))
}

// errEpoch is never shown: it tells a frame that has been overtaken from one that is wrong.
var errEpoch = errors.New("older epoch")

// find gives the step under way that a frame from a hop is about. It must be there, and no older one before it.
func (c *Chain) find(i int, epoch uint32, number uint64) (*step, error) {
	if epoch < c.epoch || c.opening {
		return nil, errEpoch
	}
	for k := range c.flight {
		s := &c.flight[k]
		if s.number != number || epoch != c.epoch {
			if s.hop <= i {
				break
			}
			continue
		}
		if s.hop != i {
			break
		}
		return s, nil
	}
	return nil, fmt.Errorf("it answered step %d of epoch %d, which it does not have", number, epoch)
}
