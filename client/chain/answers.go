package chain

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// onOpened takes a hop's answer to an open. When all have answered, the session goes on from the smallest position:
// who has more is asked again.
func (c *Chain) onOpened(now time.Duration, i int, m protocol.Opened) []Action {
	h := &c.hops[i]
	switch {
	case m.Epoch < c.epoch:
		return nil
	case m.Epoch > c.epoch || !c.opening || h.opened:
		return c.breach(i, fmt.Errorf("it opened epoch %d, asked for was %d", m.Epoch, c.epoch))
	case int64(m.Position) > int64(c.keep):
		return c.breach(i, fmt.Errorf("it kept %d tokens, asked for were at most %d", m.Position, c.keep))
	case m.Last > c.last:
		return c.breach(i, fmt.Errorf("its last step is %d, the newest is %d", m.Last, c.last))
	}
	h.opened, h.position = true, int(m.Position)
	if took := now - h.openedAt; !h.measured || took < h.rtt {
		h.rtt, h.measured = min(took, maxRTT), true
	}
	keep, level := h.position, true
	for _, o := range c.hops {
		if !o.opened {
			return nil
		}
		level = level && o.position == h.position
		keep = min(keep, o.position)
	}
	if !level {
		if c.rounds == levelRounds {
			return c.fail(i, protocol.Again, fmt.Errorf("the hops do not agree on a position after %d rounds", c.rounds))
		}
		return c.open(now, keep)
	}
	c.opening = false
	c.ids = c.ids[:keep]
	return []Action{Ready{Position: keep}}
}

// onPush takes a hop's rows and sends them on to the next. What does not come from the rows comes from the client's
// own record.
func (c *Chain) onPush(now time.Duration, i int, m protocol.Push) []Action {
	s, err := c.find(i, m.Epoch, m.Number)
	if errors.Is(err, errEpoch) {
		return nil
	}
	if err != nil {
		return c.breach(i, err)
	}
	if err := c.checkPush(i, s, m); err != nil {
		return c.breach(i, err)
	}
	s.hop++
	s.running, s.turns, s.rows, s.progress = false, 0, 0, now
	c.wake(now, i)
	return []Action{c.send(now, s.hop, protocol.Push{
		Session: m.Session, Epoch: c.epoch, Number: s.number, Position: uint32(s.position),
		Want: s.want, NewIDs: s.ids, N: m.N, Width: m.Width, Exp: m.Exp, Half: m.Half,
	}, len(m.Exp)+len(m.Half))}
}

// wake starts the clock of the steps that waited at a hop for the one that has left it.
func (c *Chain) wake(now time.Duration, i int) {
	for k := range c.flight {
		if s := &c.flight[k]; s.hop == i {
			s.progress = now
		}
	}
}

func (c *Chain) checkPush(i int, s *step, m protocol.Push) error {
	n := len(s.ids)
	switch {
	case i == len(c.hops)-1:
		return errors.New("the last hop pushed rows on")
	case m.Session != c.cfg.Hops[i].Session || int64(m.Position) != int64(s.position):
		return errors.New("it pushed rows of another session or position")
	case m.N != n || m.Width != c.cfg.Hidden || len(m.Exp) != n || len(m.Half) != 2*n*c.cfg.Hidden:
		return fmt.Errorf("it pushed %d rows of width %d in %d bytes for %d tokens", m.N, m.Width, len(m.Half), n)
	}
	return checkRows(m.Exp, m.Half, c.cfg.Hidden)
}

// checkRows tells whether rows have the one form that they may travel in (NUMERICS rule 5): the next hop would refuse
// them, and the blame would fall on it.
func checkRows(exp, half []byte, width int) error {
	const (
		most    = 0x7800 // 32768 as a float16
		least   = 0x7400 // 16384
		mostExp = 24
	)
	for i, e := range exp {
		var top uint16
		for row := half[2*i*width : 2*(i+1)*width]; len(row) > 0; row = row[2:] {
			top = max(top, binary.LittleEndian.Uint16(row)&0x7fff)
		}
		if e > mostExp || top > most || e > 0 && top < least {
			return fmt.Errorf("row %d is not canonical: exponent %d, largest magnitude %#04x", i, e, top)
		}
	}
	return nil
}

// onResult takes what the last hop made of a step.
func (c *Chain) onResult(now time.Duration, i int, m protocol.Result) []Action {
	s, err := c.find(i, m.Epoch, m.Number)
	if errors.Is(err, errEpoch) {
		return nil
	}
	if err != nil {
		return c.breach(i, err)
	}
	if err := c.checkResult(i, s, m); err != nil {
		return c.breach(i, err)
	}
	var actions []Action
	if s.want == protocol.WantRows {
		actions = append(actions, Rows{Position: s.position + s.got, N: m.N, Logits: m.Logits})
		s.got += m.N
		s.progress = now
		if s.got < len(s.ids) {
			return actions
		}
	}
	c.flight = c.flight[1:]
	c.wake(now, i)
	if len(c.flight) == 0 && len(c.queue) == 0 {
		return append(actions, Done{Candidates: m.Candidates})
	}
	return append(actions, c.pump(now)...)
}

func (c *Chain) checkResult(i int, s *step, m protocol.Result) error {
	switch {
	case i != len(c.hops)-1:
		return errors.New("a hop that is not the last sent a result")
	case m.Want != s.want:
		return fmt.Errorf("it answered want %d with %d", s.want, m.Want)
	case s.want == protocol.WantRows:
		return c.checkLogits(s, m)
	case m.N != 0 || len(m.Logits) != 0:
		return errors.New("it sent rows that nobody wanted")
	case s.want == protocol.WantCandidates:
		return c.checkCandidates(m.Candidates)
	case len(m.Candidates) != 0:
		return errors.New("it sent candidates that nobody wanted")
	}
	return nil
}

func (c *Chain) checkLogits(s *step, m protocol.Result) error {
	left := len(s.ids) - s.got
	switch {
	case len(m.Candidates) != 0:
		return errors.New("it sent candidates that nobody wanted")
	case m.N < 1 || m.N > min(protocol.MaxResultRows, left) || m.Final != (m.N == left):
		return fmt.Errorf("it sent %d rows (last: %t) where %d were missing", m.N, m.Final, left)
	case int64(m.Position) != int64(s.position+s.got):
		return fmt.Errorf("it sent rows from %d, not from %d", m.Position, s.position+s.got)
	case m.Vocab != c.cfg.Vocab || len(m.Logits) != 4*m.N*c.cfg.Vocab:
		return fmt.Errorf("it sent rows of %d logits in %d bytes, the vocabulary has %d", m.Vocab, len(m.Logits), c.cfg.Vocab)
	}
	return nil
}

// checkCandidates holds the number of candidates against what sampling can keep. That they are finite, distinct and in
// order, a frame that could be read has shown.
func (c *Chain) checkCandidates(list []protocol.Candidate) error {
	most := protocol.MaxCandidates
	switch k := int(c.sampling.TopK); {
	case c.sampling.Temperature < greedy:
		most = 1
	case k > 0:
		most = min(most, k)
	}
	if len(list) < 1 || len(list) > most {
		return fmt.Errorf("it sent %d candidates, 1..%d are right", len(list), most)
	}
	return nil
}

// onHeartbeat takes a hop's word that it works on a step. One about a step that has left it may have been on the way.
func (c *Chain) onHeartbeat(now time.Duration, i int, m protocol.Heartbeat) []Action {
	s, err := c.find(i, m.Epoch, m.Number)
	if err != nil {
		return nil
	}
	c.hops[i].grace = 0
	if m.Running != s.running && s.turns < turnsInStep {
		s.running, s.progress = m.Running, now
		s.turns++
	}
	if rows := min(m.Rows, uint32(len(s.ids))); rows > s.rows {
		s.rows, s.progress = rows, now
	}
	return nil
}

// onFailure takes a refusal.
func (c *Chain) onFailure(i int, m protocol.Failure) []Action {
	if m.Epoch != 0 && m.Epoch < c.epoch {
		return nil
	}
	return c.fail(i, m.Code.Class(), m)
}

// Deadline is when Tick must be called if nothing happens before; false: nobody is waited for.
func (c *Chain) Deadline() (time.Duration, bool) {
	at, _, ok := c.next()
	return at, ok
}

// Tick ends the session if somebody has been waited for too long.
func (c *Chain) Tick(now time.Duration) []Action {
	at, late, ok := c.next()
	if !ok || now < at {
		return nil
	}
	return c.fail(late.Hop, late.Class, late.Err)
}

// next is the earliest time at which a hop is given up, and what will be said of it then.
func (c *Chain) next() (at time.Duration, late Fault, ok bool) {
	if c.fault != nil {
		return 0, Fault{}, false
	}
	consider := func(t time.Duration, i int, err error) {
		if !ok || t < at {
			at, ok = t, true
			late = Fault{Hop: i, Class: protocol.Elsewhere, Err: err}
		}
	}
	if c.opening {
		for i, h := range c.hops {
			if !h.opened {
				consider(h.heard+openLimit, i, fmt.Errorf("no answer to open for %v", openLimit))
				consider(c.until, i, errors.New("no answer to open, though it says other things"))
			}
		}
		return at, late, ok
	}
	for k := range c.flight {
		s := &c.flight[k]
		if k > 0 && c.flight[k-1].hop == s.hop {
			continue // it waits for that one
		}
		consider(s.progress+s.limit(), s.hop, fmt.Errorf("step %d stood still for %v", s.number, s.limit()))
		if h := c.hops[s.hop]; h.unsent == 0 {
			quiet := silence + 4*h.rtt + h.grace
			consider(h.heard+quiet, s.hop, fmt.Errorf("silent for %v with step %d", quiet.Round(time.Millisecond), s.number))
		}
	}
	return at, late, ok
}
