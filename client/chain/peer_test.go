package chain

import (
	"encoding/binary"
	"slices"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// node is one peer of a world: it keeps the rules of NETWORK.md, and whatever a rule does not forbid to keep.
type node struct {
	world *world
	id    protocol.PeerID
	alive bool
	alone bool // it can't connect to others
	deaf  bool // what others push never gets there
	lost  bool // it has forgotten things, so it may refuse
	sess  *books
}

// books are what a node keeps of the session. Its cache is the state behind each token, layer by layer, each of which
// depends on all tokens before it: tokens that were taken back leave their mark on all that is computed upon them.
type books struct {
	open   protocol.Open
	relay  bool // in this epoch its rows go by way of the client
	states [][]uint64
	most   int // tokens that it has computed and that still hold
	last   uint64
	ledger []entry // the last two steps

	found bool // its tokens come from pages that were there, and no step has built upon them
}

type entry struct {
	number      uint64
	position, n int
	hash        uint64 // of what came in
}

func (s *books) length() int { return len(s.states[0]) }

// mix is a layer's state after a token: that after the one before, and the row that comes in.
func mix(layer int, before uint64, row uint32) uint64 {
	x := before ^ uint64(row)<<20 ^ uint64(layer+1)
	x ^= x >> 31
	x *= 0x9e3779b97f4a7c15
	return x ^ x>>29
}

// rowOf is what a layer sends on of a state, in a canonical form.
func rowOf(state uint64) uint32 { return uint32(state) & 0x3fff3fff }

// grow computes tokens through the layers from first on.
func grow(states [][]uint64, first int, rows []uint32) {
	for _, row := range rows {
		for k := range states {
			before := uint64(0)
			if n := len(states[k]); n > 0 {
				before = states[k][n-1]
			}
			s := mix(first+k, before, row)
			states[k] = append(states[k], s)
			row = rowOf(s)
		}
	}
}

// rows gives what the session's last layer here sends on of some tokens.
func (s *books) rows(from, until int) []uint32 {
	rows := make([]uint32, 0, until-from)
	for _, x := range s.states[len(s.states)-1][from:until] {
		rows = append(rows, rowOf(x))
	}
	return rows
}

func (s *books) cut(position int) {
	for k := range s.states {
		s.states[k] = s.states[k][:min(position, len(s.states[k]))]
	}
	for i, e := range s.ledger {
		if e.position+e.n > s.length() {
			s.last, s.ledger = e.number-1, s.ledger[:i]
			break
		}
	}
}

// at is what a node does about a message from the client.
func (n *node) at(m any) {
	if !n.alive {
		return
	}
	switch m := m.(type) {
	case protocol.Open:
		n.reopen(m)
		n.say(protocol.Opened{Epoch: n.sess.open.Epoch, Position: uint32(n.sess.length()), Last: n.sess.last})
	case protocol.Step:
		n.compute(protocol.Push{Epoch: m.Epoch, Number: m.Number, Position: m.Position, Want: m.Want, Through: m.Through, N: len(m.IDs)}, m.IDs)
	case protocol.Push:
		n.compute(m, rowsOf(m.Half))
	case protocol.Replay:
		n.replay(m)
	case protocol.Ping:
		if n.sess != nil {
			n.say(protocol.Heartbeat{Epoch: n.sess.open.Epoch})
		}
	case protocol.HandOver:
		n.handOver(m)
	case protocol.Close:
		n.sess = nil
	}
}

func (n *node) say(m any) {
	n.world.say(n.id, m)
}

func (n *node) reopen(m protocol.Open) {
	if n.sess == nil {
		n.sess = &books{states: make([][]uint64, m.Span.Len())}
	}
	s := n.sess
	if m.Epoch <= s.open.Epoch {
		return
	}
	if m.From != "" || s.open.Span != m.Span {
		s.most = 0
	}
	if s.open.Span != m.Span {
		s.cut(0)
		s.states = make([][]uint64, m.Span.Len())
	}
	s.open, s.relay = m, n.alone
	s.cut(int(m.Position))
	if ids := n.world.named[m.Epoch]; s.length() == 0 && m.From == "" && len(ids) > 0 {
		states := make([][]uint64, m.Span.End)
		grow(states, 0, ids[:n.world.any(min(len(ids), int(m.Position))+1)])
		for k := range s.states {
			s.states[k] = states[m.Span.Start+k]
		}
		s.found = true
	}
}

// compute takes rows as a hop does, and holds the client to its promises.
func (n *node) compute(m protocol.Push, rows []uint32) {
	s, w := n.sess, n.world
	if s == nil || m.Epoch != s.open.Epoch {
		return
	}
	e := entry{m.Number, int(m.Position), len(rows), sum(rows)}
	if s.found && e.position < s.length() {
		s.cut(e.position)
	}
	current := w.current(m.Epoch) // what comes too late may be about what was taken back
	k := slices.IndexFunc(s.ledger, func(old entry) bool { return old.number == m.Number })
	switch {
	case m.Number != 0 && k >= 0:
		if s.ledger[k] != e {
			w.t.Fatalf("%q was sent step %d again, with other content", string(n.id), m.Number)
		}
	case m.Number == 0 && e.position+e.n <= s.length():
	case m.Number != 0 && m.Number <= s.last && !current:
		return
	case m.Number != 0 && m.Number <= s.last:
		w.t.Fatalf("%q was sent step %d again, which is not in its ledger", string(n.id), m.Number)
	case e.position > s.length(), m.Number != 0 && e.position != s.length():
		if !n.lost && !w.swallowed && current {
			w.t.Fatalf("%q was sent tokens from %d (number %d), it holds %d", string(n.id), e.position, m.Number, s.length())
		}
		n.say(protocol.Failure{Epoch: m.Epoch, Number: m.Number, Code: protocol.CodeLostSession})
		return
	default:
		if s.length() < s.most && !n.lost && current {
			w.t.Fatalf("%q computes tokens %d.. twice", string(n.id), s.length())
		}
		grow(s.states, s.open.Span.Start, rows[s.length()-e.position:])
		s.found = false
		if current {
			s.most = max(s.most, s.length())
		}
		if m.Number != 0 {
			s.last, s.ledger = m.Number, append(s.ledger, e)
			s.ledger = slices.Clone(s.ledger[max(0, len(s.ledger)-2):])
		}
	}
	if current {
		n.check(e.position + e.n)
	}
	n.output(m, e.position, e.position+e.n)
}

// check compares what a node is about to send on with what a single process would have computed.
func (n *node) check(length int) {
	s, w := n.sess, n.world
	truth := w.truth[s.open.Span.End-1]
	if length > len(truth) || s.states[len(s.states)-1][length-1] != truth[length-1] {
		w.t.Fatalf("%q (layers %v) computes token %d upon others than the client's", string(n.id), s.open.Span, length-1)
	}
}

// output sends on what a hop made of rows.
func (n *node) output(m protocol.Push, from, until int) {
	s, w := n.sess, n.world
	rows := s.rows(from, until)
	switch {
	case m.Number == 0 && m.Through == n.id:
		n.say(protocol.Replayed{Epoch: m.Epoch, Position: uint32(until)})
	case len(s.open.Next) == 0:
		n.result(m, rows)
	default:
		out := protocol.Push{Session: tellerKey(), Epoch: m.Epoch, Number: m.Number, Position: uint32(from), Want: m.Want, Through: m.Through,
			N: len(rows), Width: 2, Exp: make([]byte, len(rows)), Half: halfOf(rows)}
		if s.relay {
			n.say(out)
			return
		}
		w.push(n.id, protocol.PeerID(s.open.Next), out)
	}
}

// result answers a step: with the state of its last token, or those of all of them, up to 32 in a frame.
func (n *node) result(m protocol.Push, rows []uint32) {
	r := protocol.Result{Epoch: m.Epoch, Number: m.Number, Position: m.Position, Want: m.Want, Final: true}
	switch m.Want {
	case protocol.WantCandidates:
		r.Candidates = []protocol.Candidate{{ID: rows[len(rows)-1]}}
	case protocol.WantRows:
		for ; len(rows) > 0; rows = rows[r.N:] {
			r.N, r.Vocab, r.Logits = min(len(rows), protocol.MaxResultRows), 1, nil
			for _, row := range rows[:r.N] {
				r.Logits = binary.LittleEndian.AppendUint32(r.Logits, row)
			}
			r.Final = r.N == len(rows)
			n.say(r)
			r.Position += uint32(r.N)
		}
		return
	}
	n.say(r)
}

func (n *node) replay(m protocol.Replay) {
	s := n.sess
	if s == nil || m.Epoch != s.open.Epoch {
		return
	}
	if int(m.Until) > s.length() || n.lost {
		if !n.lost && !n.world.swallowed {
			n.world.t.Fatalf("%q was to replay %d..%d, it holds %d", string(n.id), m.From, m.Until, s.length())
		}
		n.lost, s.most = false, 0 // it will have to compute them again
		n.say(protocol.Failure{Epoch: m.Epoch, Code: protocol.CodeLostSession})
		return
	}
	for from := int(m.From); from < int(m.Until); from += 256 {
		until := min(from+256, int(m.Until))
		if n.world.current(m.Epoch) {
			n.check(until)
		}
		n.output(protocol.Push{Epoch: m.Epoch, Through: m.Through}, from, until)
	}
}

// handed is a cache on its way to a successor. Only part of it may get there.
type handed struct {
	from   protocol.PeerID
	epoch  uint32
	states [][]uint64
	last   uint64
	whole  bool
}

func (n *node) handOver(m protocol.HandOver) {
	s := n.sess
	if s == nil {
		n.say(protocol.Failure{Epoch: m.Epoch, Code: protocol.CodeLostSession})
		return
	}
	if m.Epoch <= s.open.Epoch { // it comes too late
		return
	}
	h := handed{from: n.id, epoch: m.Epoch, last: s.last, whole: n.world.any(4) > 0}
	length := s.length()
	if !h.whole {
		length = n.world.any(length + 1)
	}
	for _, x := range s.states {
		h.states = append(h.states, slices.Clone(x[:length]))
	}
	n.world.push(n.id, protocol.PeerID(m.To), h)
}

// take is what a successor does about a cache.
func (n *node) take(h handed) {
	s := n.sess
	if s == nil || s.open.Epoch != h.epoch || s.open.From != h.from || s.length() > 0 || len(s.states) != len(h.states) {
		return
	}
	s.states = h.states
	if v := n.world.chain.moving; v != nil && v.epoch == h.epoch { // else some of it may have been taken back
		s.most = s.length()
	}
	if h.whole {
		s.last = h.last
		n.say(protocol.Replayed{Epoch: h.epoch, Position: uint32(s.length())})
	}
}

func sum(rows []uint32) (x uint64) {
	for _, r := range rows {
		x = mix(0, x, r)
	}
	return x
}

func halfOf(rows []uint32) []byte {
	var b []byte
	for _, r := range rows {
		b = binary.LittleEndian.AppendUint32(b, r)
	}
	return b
}

func rowsOf(half []byte) []uint32 {
	rows := make([]uint32, len(half)/4)
	for i := range rows {
		rows[i] = binary.LittleEndian.Uint32(half[4*i:])
	}
	return rows
}
