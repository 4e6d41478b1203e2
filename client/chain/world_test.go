package chain

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// world is a chain among honest hops, which keep the rules of NETWORK.md and compute nothing: a token's row is its id.
// Messages wait in queues, and the test decides which queue moves on, and who dies, when.
type world struct {
	t      *testing.T
	chain  *Chain
	nodes  map[protocol.PeerID]*node
	hops   []Hop // of the chain now
	lines  []*line
	nextID int

	script    []int    // how many tokens are still to be appended; below 0: so many are to stay
	fresh     int      // ids that were used
	ids       []uint32 // all that was appended
	wanted    bool     // an Append has begun
	finished  bool
	now       time.Duration
	swallowed bool         // some message got lost, and what follows it may be refused
	moves     map[int]bool // hops that were to hand over
	troubles  int          // faults and partings not seen to yet
}

// node is one peer.
type node struct {
	id    protocol.PeerID
	alive bool
	alone bool // it can't connect to others
	relay bool // so in this epoch its rows go by way of the client
	deaf  bool // what others push never gets there
	sess  *nodeSession
	lost  bool // it has forgotten things, so it may refuse
}

type nodeSession struct {
	open   protocol.Open
	tokens []uint32
	most   int // tokens that it has ever computed
	last   uint64
	ledger []protocol.Push // N and Position of the last two numbers
}

// line is one way of a stream: to a hop, to the client, or from hop to hop.
type line struct {
	hop  int // -1: from hop to hop
	peer protocol.PeerID
	up   bool // to the client
	wait []any
}

func newWorld(t *testing.T, script ...int) *world {
	w := &world{t: t, script: script, nodes: map[protocol.PeerID]*node{}, moves: map[int]bool{}}
	w.chain = New(Config{Session: tellerKey(), Hidden: 1, Vocab: 1})
	w.take(w.chain.Open(0, 0, 9, protocol.Sampling{Temperature: 1}, nil))
	for range 3 {
		w.hops = append(w.hops, w.newHop())
	}
	w.take(w.chain.Route(w.now, w.hops))
	return w
}

// newHop is a stream to a new peer.
func (w *world) newHop() Hop {
	peer := protocol.PeerID(fmt.Sprintf("peer%02d", len(w.nodes)))
	w.nodes[peer] = &node{id: peer, alive: true}
	return w.stream(peer)
}

func (w *world) stream(peer protocol.PeerID) Hop {
	w.nextID++
	w.lines = append(w.lines, &line{hop: w.nextID, peer: peer}, &line{hop: w.nextID, peer: peer, up: true})
	return Hop{ID: w.nextID, Peer: peer, Offer: []byte(peer)}
}

// take carries out actions.
func (w *world) take(actions []Action) {
	for _, a := range actions {
		switch a := a.(type) {
		case Send:
			if l := w.line(a.Hop, false); l != nil {
				l.wait = append(l.wait, a.Message)
			}
			w.chain.Sent(w.now, a.Hop, a.Message)
		case Moved:
			w.hops, _ = w.chain.Hops()
		case Ready, Done:
			if _, done := a.(Done); done != w.wanted {
				w.t.Fatalf("%T where an Append is under way: %t", a, w.wanted)
			}
			w.wanted = false
			w.next()
		case *Fault, Parting:
			w.troubles++
		}
	}
}

// next begins the next Append.
func (w *world) next() {
	if !slices.Equal(w.chain.ids, w.ids) {
		w.t.Fatalf("the chain has %d ids, appended were %d", len(w.chain.ids), len(w.ids))
	}
	if len(w.script) == 0 {
		w.finished = true
		return
	}
	n := w.script[0]
	w.script = w.script[1:]
	if n < 0 {
		w.rollBack(-n)
		return
	}
	ids := numbers(w.fresh, n)
	w.fresh, w.wanted = w.fresh+n, true
	w.ids = append(w.ids, ids...)
	w.take(w.chain.Append(w.now, ids, protocol.WantCandidates))
}

// rollBack has the session go on from an earlier position. What was behind it may be computed again.
func (w *world) rollBack(keep int) {
	w.ids = w.ids[:keep:keep]
	for _, n := range w.nodes {
		if n.sess != nil {
			n.sess.most = min(n.sess.most, keep)
		}
	}
	w.take(w.chain.Open(w.now, keep, 9, protocol.Sampling{Temperature: 1}, nil))
}

func (w *world) line(hop int, up bool) *line {
	for _, l := range w.lines {
		if l.hop == hop && l.up == up {
			return l
		}
	}
	return nil
}

// push gives the line from hop to hop that leads to a peer.
func (w *world) push(from, to protocol.PeerID) *line {
	name := from + ">" + to
	for _, l := range w.lines {
		if l.hop == -1 && l.peer == name {
			return l
		}
	}
	l := &line{hop: -1, peer: name}
	w.lines = append(w.lines, l)
	return l
}

// deliver moves the k-th of the lines with messages on, and reports whether there was one.
func (w *world) deliver(k int) bool {
	var full []*line
	for _, l := range w.lines {
		if len(l.wait) > 0 {
			full = append(full, l)
		}
	}
	if len(full) == 0 {
		return false
	}
	l := full[k%len(full)]
	m := l.wait[0]
	l.wait = l.wait[1:]
	switch {
	case l.up:
		w.take(w.chain.Handle(w.now, l.hop, m))
	case l.hop >= 0:
		w.at(w.nodes[l.peer], l.hop, m)
	default:
		w.between(l, m)
	}
	return true
}

// between delivers what one hop sends another.
func (w *world) between(l *line, m any) {
	for id, n := range w.nodes {
		if len(l.peer) <= len(id) || l.peer[len(l.peer)-len(id)-1:] != ">"+id || !n.alive || n.deaf || n.sess == nil {
			continue
		}
		if p, ok := m.(protocol.Push); ok && p.Epoch > n.sess.open.Epoch {
			l.wait = slices.Insert(l.wait, 0, m) // it waits for the open
			if !w.pending(id) {
				l.wait = nil // which does not come
			}
			return
		}
		w.at(n, w.control(id), m)
	}
}

// pending says whether anything is on its way from the client to a peer.
func (w *world) pending(id protocol.PeerID) bool {
	return slices.ContainsFunc(w.lines, func(l *line) bool { return l.peer == id && !l.up && len(l.wait) > 0 })
}

// control gives the newest stream of a peer.
func (w *world) control(id protocol.PeerID) int {
	hop := -1
	for _, l := range w.lines {
		if l.peer == id && l.up {
			hop = max(hop, l.hop)
		}
	}
	return hop
}

// swallow has a step, its rows or its result get lost, on a stream that goes on.
func (w *world) swallow(k int) {
	for i := range w.lines {
		l := w.lines[(k+i)%len(w.lines)]
		for j, m := range l.wait {
			number := uint64(0)
			switch m := m.(type) {
			case protocol.Step:
				number = m.Number
			case protocol.Push:
				number = m.Number
			case protocol.Result:
				number = m.Number
			}
			if number != 0 {
				l.wait = slices.Delete(l.wait, j, j+1)
				w.swallowed = true
				return
			}
		}
	}
}

// kill ends a peer and all its streams.
func (w *world) kill(id protocol.PeerID, ends bool) {
	if ends {
		w.nodes[id].alive = false
	}
	var lost []int
	for _, l := range w.lines {
		if l.peer == id {
			l.wait = nil
			lost = append(lost, l.hop)
		}
	}
	w.lines = slices.DeleteFunc(w.lines, func(l *line) bool { return l.peer == id })
	for _, hop := range slices.Compact(lost) {
		w.take(w.chain.Lost(hop, protocol.Again, fmt.Errorf("lost")))
	}
}

// mend names the hops anew: new peers in the place of dead ones, new streams to those that live.
func (w *world) mend() {
	w.troubles = 0
	if w.chain.Broken() {
		hops, faults := w.chain.Hops()
		for i, f := range faults {
			switch {
			case f == nil:
			case w.nodes[hops[i].Peer].alive:
				hops[i] = w.stream(hops[i].Peer)
			default:
				hops[i] = w.newHop()
			}
		}
		w.hops = hops
		w.take(w.chain.Route(w.now, hops))
		return
	}
	for i := range w.chain.hops {
		h := &w.chain.hops[i]
		if !h.parting || !h.told || w.chain.moving != nil {
			continue
		}
		w.hops, _ = w.chain.Hops()
		switch {
		case w.nodes[h.Peer].alone: // nobody can take a cache from it
			w.take(w.chain.Stay(w.now, h.ID))
		case w.moves[h.ID]: // nor could the successor
			w.hops[i] = w.newHop()
			w.take(w.chain.Route(w.now, w.hops))
		default:
			w.moves[h.ID] = true
			w.take(w.chain.Move(w.now, h.ID, w.newHop(), 0))
		}
		return
	}
}

// at is what a node does about a message.
func (w *world) at(n *node, hop int, m any) {
	if !n.alive {
		return
	}
	switch m := m.(type) {
	case protocol.Open:
		n.reopen(m)
		if m.From == "" || len(n.sess.tokens) > 0 {
			n.sess.most = max(n.sess.most, len(n.sess.tokens))
		}
		w.say(hop, protocol.Opened{Epoch: m.Epoch, Position: uint32(len(n.sess.tokens)), Last: n.sess.last})
	case protocol.Step:
		rows := protocol.Push{Epoch: m.Epoch, Number: m.Number, Position: m.Position, Want: m.Want, Through: m.Through, N: len(m.IDs)}
		w.compute(n, hop, rows, m.IDs)
	case protocol.Push:
		w.compute(n, hop, m, idsOf(m.Half))
	case protocol.Replay:
		w.replay(n, hop, m)
	case protocol.Ping:
		if n.sess != nil {
			w.say(hop, protocol.Heartbeat{Epoch: n.sess.open.Epoch})
		}
	case protocol.HandOver:
		if n.sess == nil {
			w.say(hop, protocol.Failure{Epoch: m.Epoch, Code: protocol.CodeLostSession})
			return
		}
		if m.Epoch <= n.sess.open.Epoch {
			w.t.Fatal("a hand-over in an old epoch")
		}
		w.push(n.id, protocol.PeerID(m.To)).wait = append(w.push(n.id, protocol.PeerID(m.To)).wait, *n.sess)
	case nodeSession: // handed over
		n.sess.tokens, n.sess.last, n.sess.most = slices.Clone(m.tokens), m.last, len(m.tokens)
		w.say(hop, protocol.Replayed{Epoch: n.sess.open.Epoch, Position: uint32(len(m.tokens))})
	}
}

func (w *world) say(hop int, m any) {
	if l := w.line(hop, true); l != nil {
		l.wait = append(l.wait, m)
	}
}

func (n *node) reopen(m protocol.Open) {
	if n.sess == nil {
		n.sess = &nodeSession{}
	}
	s := n.sess
	s.open, n.relay = m, n.alone
	if int(m.Position) < len(s.tokens) {
		s.tokens = s.tokens[:m.Position]
	}
	for i, p := range s.ledger {
		if int(p.Position)+p.N > len(s.tokens) {
			s.last = p.Number - 1
			s.ledger = s.ledger[:i]
			break
		}
	}
}

// compute takes rows as a hop does, and holds the client to its promises.
func (w *world) compute(n *node, hop int, m protocol.Push, ids []uint32) {
	s := n.sess
	if s == nil || m.Epoch != s.open.Epoch {
		return
	}
	again := slices.ContainsFunc(s.ledger, func(p protocol.Push) bool { return p.Number == m.Number })
	switch {
	case m.Number != 0 && again:
	case m.Number != 0 && m.Number <= s.last:
		w.t.Fatalf("%q was sent step %d again, which is not in its ledger", string(n.id), m.Number)
	case int(m.Position) != len(s.tokens):
		if !n.lost && !w.swallowed {
			w.t.Fatalf("%q was sent tokens from %d (number %d), it holds %d", string(n.id), m.Position, m.Number, len(s.tokens))
		}
		w.say(hop, protocol.Failure{Epoch: m.Epoch, Number: m.Number, Code: protocol.CodeLostSession})
		return
	default:
		s.tokens = append(s.tokens, ids...)
		if len(s.tokens)-len(ids) < s.most && !n.lost {
			w.t.Fatalf("%q computes tokens %d.. twice", string(n.id), len(s.tokens)-len(ids))
		}
		s.most = max(s.most, len(s.tokens))
		if !slices.Equal(s.tokens, w.ids[:len(s.tokens)]) {
			w.t.Fatalf("%q has other ids than the client", string(n.id))
		}
		if m.Number != 0 {
			s.last = m.Number
			s.ledger = append(s.ledger, protocol.Push{Number: m.Number, Position: m.Position, N: len(ids)})
			s.ledger = s.ledger[max(0, len(s.ledger)-2):]
		}
	}
	w.output(n, hop, m, ids)
}

// output sends on what a hop made of rows.
func (w *world) output(n *node, hop int, m protocol.Push, ids []uint32) {
	s := n.sess
	out := protocol.Push{Session: tellerKey(), Epoch: m.Epoch, Number: m.Number, Position: m.Position, Want: m.Want, Through: m.Through,
		N: len(ids), Width: 1, Exp: make([]byte, len(ids)), Half: halfOf(ids)}
	switch {
	case m.Number == 0 && m.Through == n.id:
		w.say(hop, protocol.Replayed{Epoch: m.Epoch, Position: uint32(len(s.tokens))})
	case len(s.open.Next) == 0:
		r := protocol.Result{Epoch: m.Epoch, Number: m.Number, Position: m.Position, Want: m.Want, Final: true}
		if m.Want == protocol.WantCandidates {
			r.Candidates = []protocol.Candidate{{}}
		}
		w.say(hop, r)
	case n.relay:
		w.say(hop, out)
	default:
		l := w.push(n.id, protocol.PeerID(s.open.Next))
		l.wait = append(l.wait, out)
	}
}

func (w *world) replay(n *node, hop int, m protocol.Replay) {
	s := n.sess
	if s == nil || m.Epoch != s.open.Epoch {
		return
	}
	if int(m.Until) > len(s.tokens) || n.lost {
		if !n.lost {
			w.t.Fatalf("%q was to replay %d..%d, it holds %d", string(n.id), m.From, m.Until, len(s.tokens))
		}
		n.lost, s.most = false, 0 // it will have to compute them again
		w.say(hop, protocol.Failure{Epoch: m.Epoch, Code: protocol.CodeLostSession})
		return
	}
	for from := int(m.From); from < int(m.Until); from += 256 {
		ids := s.tokens[from:min(from+256, int(m.Until))]
		w.output(n, hop, protocol.Push{Epoch: m.Epoch, Position: uint32(from), Through: m.Through}, ids)
	}
}

func halfOf(ids []uint32) []byte {
	b := make([]byte, 2*len(ids))
	for i, id := range ids {
		binary.LittleEndian.PutUint16(b[2*i:], uint16(id))
	}
	return b
}

func idsOf(half []byte) []uint32 {
	ids := make([]uint32, len(half)/2)
	for i := range ids {
		ids[i] = uint32(binary.LittleEndian.Uint16(half[2*i:]))
	}
	return ids
}

// event makes something happen, mostly a delivery.
func (w *world) event(b byte) {
	hop := w.hops[int(b)%len(w.hops)]
	n := w.nodes[hop.Peer]
	switch {
	case b < 200:
		w.deliver(int(b))
	case b < 210:
		w.kill(hop.Peer, true)
	case b < 220:
		w.kill(hop.Peer, false) // the stream ends, the peer lives
	case b < 226:
		n.alone = !n.alone
	case b < 232: // it forgets the session
		n.lost, n.sess = true, nil
	case b < 236:
		w.say(hop.ID, protocol.Parting{WithinMS: 1})
	case b < 240:
		w.swallow(int(b))
	default:
		if w.troubles > 0 {
			w.mend()
		}
	}
}

// end lets everything go its way, and says whether it comes to an end.
func (w *world) end() {
	for range 20_000 {
		if w.troubles > 0 {
			w.mend()
			continue
		}
		if w.deliver(0) {
			continue
		}
		if w.finished && w.troubles == 0 {
			return
		}
		at, ok := w.chain.Deadline()
		if !ok {
			w.t.Fatalf("nothing happens any more: %+v", w.chain)
		}
		w.now = max(w.now, at)
		w.take(w.chain.Tick(w.now))
	}
	w.t.Fatal("it does not come to an end")
}
