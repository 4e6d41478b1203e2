package chain

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// errOvertaken is never shown: it tells a frame that comes too late, or twice, from one that is wrong.
var errOvertaken = errors.New("overtaken")

// step gives the step under way that a frame is about.
func (c *Chain) step(epoch uint32, number uint64) (*step, error) {
	if epoch < c.epoch || c.isDone(number) || epoch == c.epoch && c.phase != ready {
		return nil, errOvertaken
	}
	for k := range c.flight {
		if s := &c.flight[k]; s.number == number && epoch == c.epoch {
			return s, nil
		}
	}
	return nil, fmt.Errorf("it answered step %d of epoch %d, which it does not have", number, epoch)
}

// onPush takes a hop's rows, which it could not send to the next one, and passes them on. What does not come from the
// rows comes from the client's own record.
func (c *Chain) onPush(now time.Duration, i int, m protocol.Push) []Action {
	if i < 0 {
		return c.breach(&c.moving.to, errors.New("a successor that no step has gone to pushed rows"))
	}
	h := &c.hops[i]
	switch {
	case m.Epoch < c.epoch:
		return nil
	case m.Epoch > c.epoch || i == len(c.hops)-1 || m.Session != c.cfg.Session:
		return c.breach(h, fmt.Errorf("it pushed rows of epoch %d which are not its to push", m.Epoch))
	case m.Number == 0:
		return c.onReplayPush(now, i, m)
	}
	s, err := c.step(m.Epoch, m.Number)
	if errors.Is(err, errOvertaken) || err == nil && s.passed > i {
		return nil
	}
	if err == nil && int64(m.Position) != int64(s.position) {
		err = fmt.Errorf("it pushed rows from %d in a step from %d", m.Position, s.position)
	}
	if err == nil {
		err = c.checkPush(m, len(s.ids))
	}
	if err != nil {
		return c.breach(h, err)
	}
	s.passed, s.progress = i+1, now
	c.holds(now, s, i)
	return []Action{c.pass(now, i+1, protocol.Push{
		Session: c.cfg.Session, Epoch: c.epoch, Number: s.number, Position: uint32(s.position),
		Want: s.want, NewIDs: s.ids, Spent: m.Spent[max(0, len(m.Spent)-i-1):], N: m.N, Width: m.Width, Exp: m.Exp, Half: m.Half,
	})}
}

// pass sends rows on to a hop, by way of the client.
func (c *Chain) pass(now time.Duration, to int, m protocol.Push) Action {
	body := len(m.Exp) + len(m.Half)
	c.relayed += int64(body)
	return c.send(now, to, m, body)
}

// checkPush holds rows against what was asked for.
func (c *Chain) checkPush(m protocol.Push, n int) error {
	if m.N != n || m.Width != c.cfg.Hidden || len(m.Exp) != n || len(m.Half) != 2*n*c.cfg.Hidden {
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
	if i < 0 {
		return c.breach(&c.moving.to, errors.New("a successor that no step has gone to sent a result"))
	}
	s, err := c.step(m.Epoch, m.Number)
	if errors.Is(err, errOvertaken) {
		return nil
	}
	if err == nil {
		err = c.checkResult(i, s, m)
	}
	if err != nil {
		return c.breach(&c.hops[i], err)
	}
	var actions []Action
	if s.want == protocol.WantRows {
		if r, some := c.newRows(now, s, m); some {
			actions = append(actions, r)
		}
		if s.row < len(s.ids) {
			return actions
		}
	}
	c.went = append(c.went, c.stepped(now, s, m.Spent))
	c.flight = c.flight[1:]
	if len(c.flight) > 0 {
		c.flight[0].held, c.flight[0].progress = now, now // its clock begins
		c.show(now, &c.flight[0])
	}
	if len(c.flight)+len(c.queue) == 0 {
		return append(actions, Done{Candidates: m.Candidates, Steps: c.went})
	}
	return append(actions, c.pump(now)...)
}

// newRows counts the rows of a frame and gives those that have not been given out: a step that is repeated brings all
// its rows again.
func (c *Chain) newRows(now time.Duration, s *step, m protocol.Result) (r Rows, some bool) {
	s.row += m.N
	s.progress = now
	c.show(now, s)
	fresh := s.row - s.got
	if fresh <= 0 {
		return r, false
	}
	r = Rows{Position: s.position + s.got, N: fresh, Logits: m.Logits[4*c.cfg.Vocab*(m.N-fresh):]}
	s.got = s.row
	return r, true
}

func (c *Chain) checkResult(i int, s *step, m protocol.Result) error {
	switch {
	case i != len(c.hops)-1:
		return errors.New("a hop that is not the last sent a result")
	case s != &c.flight[0]:
		return fmt.Errorf("it answered step %d before the one before it", m.Number)
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
	left := len(s.ids) - s.row
	switch {
	case len(m.Candidates) != 0:
		return errors.New("it sent candidates that nobody wanted")
	case m.N < 1 || m.N > min(protocol.MaxResultRows, left) || m.Final != (m.N == left):
		return fmt.Errorf("it sent %d rows (last: %t) where %d were missing", m.N, m.Final, left)
	case int64(m.Position) != int64(s.position+s.row):
		return fmt.Errorf("it sent rows from %d, not from %d", m.Position, s.position+s.row)
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
