package chain

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// layers is how many layers the model of a world has.
const layers = 4

// world is a chain among honest peers (peer_test.go), and a client that appends, rolls back and changes its mind. Messages
// wait in queues: which of them moves on, and who dies, parts, forgets or comes back when, is the story. The world knows
// what a single process would compute, and holds each hop and each answer against it.
type world struct {
	t      *testing.T
	rng    *rand.Rand
	chain  *Chain
	nodes  map[protocol.PeerID]*node
	peers  []protocol.PeerID // all of them, in the order in which they came
	lines  []*line
	nextID int
	now    time.Duration

	ids      []uint32         // what the client has asked for
	truth    [layers][]uint64 // the states behind them
	fresh    uint32           // ids that were used
	base     int              // tokens that are surely done
	hoped    bool             // the ids are a prompt that is looked for
	asked    []uint32         // whose names were asked for last
	named    map[uint32][]uint32
	left     int // things that the client is still to do
	finished bool

	appending bool
	want      protocol.Want
	rows      int // that came for it

	swallowed bool         // some message got lost, and what follows it may be refused
	moves     map[int]bool // hops that were to hand over
	troubles  int          // faults and partings not seen to yet
}

// line is one way of a stream: to a peer, to the client, or from peer to peer.
type line struct {
	hop      int             // -1: from peer to peer
	from, to protocol.PeerID // "": the client
	wait     []any
}

func newWorld(t *testing.T, rng *rand.Rand) *world {
	w := &world{t: t, rng: rng, nodes: map[protocol.PeerID]*node{}, moves: map[int]bool{}, named: map[uint32][]uint32{}}
	w.chain = New(Config{Session: tellerKey(), Hidden: 2, Vocab: 1, Names: func(ids []uint32) []protocol.Digest {
		w.asked = slices.Clone(ids)
		return make([]protocol.Digest, min(len(ids), 1))
	}})
	w.left = 3 + w.any(8)
	var prompt []uint32
	if w.any(2) > 0 {
		prompt = w.news(2 + w.any(9))
		w.hoped = true
		w.append(prompt[:len(prompt)-1])
	}
	w.take(w.chain.Open(0, 0, 9, protocol.Sampling{Temperature: 1}, prompt))
	w.take(w.chain.Route(w.now, w.plan()))
	return w
}

func (w *world) any(n int) int { return w.rng.IntN(n) }

// news are ids that nobody has seen.
func (w *world) news(n int) []uint32 {
	w.fresh += uint32(n)
	return numbers(int(w.fresh)-n, n)
}

func (w *world) append(ids []uint32) {
	w.ids = append(w.ids, ids...)
	grow(w.truth[:], 0, ids)
}

func (w *world) cut(keep int) {
	w.ids = w.ids[:keep:keep]
	for k := range w.truth {
		w.truth[k] = w.truth[k][:keep:keep]
	}
	for _, n := range w.nodes {
		if n.sess != nil {
			n.sess.most = min(n.sess.most, keep)
		}
	}
}

// current says whether what is done in an epoch counts.
func (w *world) current(epoch uint32) bool { return epoch == w.chain.epoch && !w.chain.Broken() }

// take carries out actions.
func (w *world) take(actions []Action) {
	for _, a := range actions {
		switch a := a.(type) {
		case Send:
			if o, ok := a.Message.(protocol.Open); ok && len(o.Names) > 0 {
				w.named[o.Epoch] = w.asked
			}
			if l := w.line(a.Hop, false); l != nil {
				l.wait = append(l.wait, a.Message)
			}
			w.chain.Sent(w.now, a.Hop, a.Message)
		case Ready:
			if w.appending {
				w.t.Fatal("ready, where an Append is under way")
			}
			if w.hoped {
				w.hoped = false
				w.cut(a.Position)
			}
			w.next()
		case Done:
			w.done(a)
		case Rows:
			w.row(a)
		case *Fault:
			if strings.HasPrefix(a.Error(), "broken promise") && !w.swallowed {
				w.t.Fatalf("an honest hop is blamed: %v", a)
			}
			w.troubles++
		case Parting:
			w.troubles++
		}
	}
}

func (w *world) done(d Done) {
	if !w.appending {
		w.t.Fatal("done, where nothing is under way")
	}
	last := rowOf(w.truth[layers-1][len(w.ids)-1])
	switch {
	case w.want == protocol.WantCandidates && (len(d.Candidates) != 1 || d.Candidates[0].ID != last):
		w.t.Fatalf("the answer after %d tokens is wrong", len(w.ids))
	case w.want == protocol.WantRows && w.rows != len(w.ids):
		w.t.Fatalf("rows of %d tokens came, there are %d", w.rows, len(w.ids))
	}
	w.appending = false
	w.next()
}

func (w *world) row(r Rows) {
	if !w.appending || r.Position != w.rows {
		w.t.Fatalf("rows of token %d where %d is next (an Append is under way: %t)", r.Position, w.rows, w.appending)
	}
	for i := range r.N {
		if binary.LittleEndian.Uint32(r.Logits[4*i:]) != rowOf(w.truth[layers-1][r.Position+i]) {
			w.t.Fatalf("the row of token %d is wrong", r.Position+i)
		}
	}
	w.rows += r.N
}

// next has the client do something more.
func (w *world) next() {
	w.base = len(w.ids)
	if !slices.Equal(w.chain.ids, w.ids) {
		w.t.Fatalf("the chain has %d ids, appended were %d", len(w.chain.ids), len(w.ids))
	}
	if w.left--; w.left < 0 {
		w.finished = true
		return
	}
	if w.any(4) == 0 {
		w.rollBack()
		return
	}
	n := 1 + w.any(6)
	if w.any(8) == 0 {
		n = 500 + w.any(700)
	}
	ids := w.news(n)
	w.rows, w.appending = len(w.ids), true
	w.want = []protocol.Want{protocol.WantNone, protocol.WantCandidates, protocol.WantRows}[w.any(3)]
	w.append(ids)
	w.take(w.chain.Append(w.now, ids, w.want))
}

// rollBack has the session go on from an earlier position, whatever is under way.
func (w *world) rollBack() {
	keep := w.any(w.base + 1)
	w.base, w.appending, w.hoped = keep, false, false
	w.cut(keep)
	w.take(w.chain.Open(w.now, keep, 9, protocol.Sampling{Temperature: 1}, nil))
}

// plan names hops for all layers: it keeps those that have not failed, mostly.
func (w *world) plan() (hops []Hop) {
	old, faults := w.chain.Hops()
	anew := w.any(8) == 0
	used := map[protocol.PeerID]bool{}
	for i, f := range faults {
		used[old[i].Peer] = f == nil && !anew
	}
	at := 0
	for i := 0; at < layers; {
		if i < len(old) && used[old[i].Peer] && faults[i] == nil && old[i].Span.Start == at {
			hops = append(hops, old[i])
			at = old[i].Span.End
			i++
			continue
		}
		end := layers
		for ; i < len(old); i++ {
			if used[old[i].Peer] && faults[i] == nil {
				end = old[i].Span.Start
				break
			}
			if w.any(4) > 0 {
				end = old[i].Span.End // one for one
				i++
				break
			}
		}
		if len(old) == 0 || w.any(6) == 0 {
			end = at + 1 + w.any(end-at)
			for i < len(old) && old[i].Span.End <= end {
				i++
			}
		}
		h := w.stream(w.peer(used))
		h.Span = protocol.Span{Start: at, End: end}
		used[h.Peer] = true
		hops = append(hops, h)
		at = end
	}
	return hops
}

// peer chooses one that is alive and not used: often one that has been there before.
func (w *world) peer(used map[protocol.PeerID]bool) protocol.PeerID {
	for range 3 {
		if n := len(w.peers); n > 0 && w.any(4) > 0 {
			if p := w.peers[w.any(n)]; w.nodes[p].alive && !used[p] {
				return p
			}
		}
	}
	p := protocol.PeerID(fmt.Sprintf("peer%02d", len(w.peers)))
	w.peers = append(w.peers, p)
	w.nodes[p] = &node{world: w, id: p, alive: true}
	return p
}

func (w *world) stream(peer protocol.PeerID) Hop {
	w.nextID++
	w.lines = append(w.lines, &line{hop: w.nextID, to: peer}, &line{hop: w.nextID, from: peer})
	return Hop{ID: w.nextID, Peer: peer, Offer: []byte(peer)}
}

func (w *world) line(hop int, up bool) *line {
	for _, l := range w.lines {
		if l.hop == hop && (l.from != "") == up {
			return l
		}
	}
	return nil
}

// say has a peer tell the client something, on its newest stream.
func (w *world) say(from protocol.PeerID, m any) {
	for _, l := range slices.Backward(w.lines) {
		if l.hop >= 0 && l.from == from {
			l.wait = append(l.wait, m)
			return
		}
	}
}

// push has a peer send another something.
func (w *world) push(from, to protocol.PeerID, m any) {
	for _, l := range w.lines {
		if l.hop == -1 && l.from == from && l.to == to {
			l.wait = append(l.wait, m)
			return
		}
	}
	w.lines = append(w.lines, &line{hop: -1, from: from, to: to, wait: []any{m}})
}

// deliver moves the k-th of the lines with messages on, and reports whether there was one.
func (w *world) deliver(k int) bool {
	full := 0
	for _, l := range w.lines {
		if len(l.wait) > 0 {
			full++
		}
	}
	if full == 0 {
		return false
	}
	k %= full
	for _, l := range w.lines {
		if len(l.wait) == 0 {
			continue
		}
		if k--; k < 0 {
			w.move(l)
			return true
		}
	}
	return false
}

// move delivers the first message of a line.
func (w *world) move(l *line) {
	m := l.wait[0]
	l.wait = l.wait[1:]
	switch {
	case l.to == "":
		w.take(w.chain.Handle(w.now, l.hop, m))
	case l.from == "":
		w.nodes[l.to].at(m)
	default:
		w.between(l, m)
	}
}

// between delivers what one peer sends another.
func (w *world) between(l *line, m any) {
	n := w.nodes[l.to]
	if !n.alive || n.deaf || n.sess == nil {
		return
	}
	switch m := m.(type) {
	case handed:
		n.take(m)
	case protocol.Push:
		switch {
		case m.Epoch > n.sess.open.Epoch && !w.pending(l.to):
			l.wait = nil // it would wait for an open that does not come
		case m.Epoch > n.sess.open.Epoch:
			l.wait = slices.Insert(l.wait, 0, any(m))
		case n.sess.open.Prev == l.from:
			n.at(m)
		}
	}
}

// pending says whether anything is on its way from the client to a peer.
func (w *world) pending(id protocol.PeerID) bool {
	return slices.ContainsFunc(w.lines, func(l *line) bool { return l.to == id && l.from == "" && len(l.wait) > 0 })
}

// numberOf gives the number of the step that a message is about.
func numberOf(m any) uint64 {
	switch m := m.(type) {
	case protocol.Step:
		return m.Number
	case protocol.Push:
		return m.Number
	case protocol.Result:
		return m.Number
	}
	return 0
}

// swallow has a step, its rows or its result get lost, on a stream that goes on.
func (w *world) swallow() {
	for _, l := range w.lines {
		if j := slices.IndexFunc(l.wait, func(m any) bool { return numberOf(m) != 0 }); j >= 0 && w.any(2) > 0 {
			l.wait = slices.Delete(l.wait, j, j+1)
			w.swallowed = true
			return
		}
	}
}

// repeat has a peer push again what is on its way, as after a stream between two peers broke.
func (w *world) repeat() {
	for _, l := range w.lines {
		if l.hop >= 0 || len(l.wait) == 0 || w.any(2) == 0 {
			continue
		}
		if p, ok := l.wait[len(l.wait)-1].(protocol.Push); ok {
			l.wait = append(l.wait, p)
			return
		}
	}
}

// kill ends all streams of a peer, and the peer or not. What was on its way to one that lives may still arrive.
func (w *world) kill(id protocol.PeerID, ends bool) {
	n := w.nodes[id]
	if ends {
		n.alive, n.sess = false, nil
	}
	late := !ends && w.any(2) > 0
	var lost []int
	for _, l := range w.lines {
		if l.from == id && l.hop >= 0 {
			lost = append(lost, l.hop)
		}
	}
	w.lines = slices.DeleteFunc(w.lines, func(l *line) bool {
		return l.from == id && l.hop >= 0 || l.to == id && (!late || len(l.wait) == 0)
	})
	for _, hop := range lost {
		w.take(w.chain.Lost(hop, protocol.Again, fmt.Errorf("lost")))
	}
}

// mend names the hops anew, or finds a successor for one that is leaving.
func (w *world) mend() {
	w.troubles = 0
	if w.chain.Broken() {
		w.take(w.chain.Route(w.now, w.plan()))
		return
	}
	for i := range w.chain.hops {
		h := &w.chain.hops[i]
		if !h.parting || !h.told || w.chain.moving != nil {
			continue
		}
		hops, _ := w.chain.Hops()
		used := map[protocol.PeerID]bool{}
		for _, h := range hops {
			used[h.Peer] = true
		}
		to := w.stream(w.peer(used))
		to.Span = h.Span
		switch {
		case w.nodes[h.Peer].alone: // nobody can take a cache from it
			w.take(w.chain.Stay(w.now, h.ID))
		case w.moves[h.ID]: // nor could the successor
			hops[i] = to
			w.take(w.chain.Route(w.now, hops))
		default:
			w.moves[h.ID] = true
			w.take(w.chain.Move(w.now, h.ID, to, 0))
		}
		return
	}
}

// event makes something happen, mostly a delivery.
func (w *world) event(b byte) {
	hops, _ := w.chain.Hops()
	id := hops[int(b)%len(hops)].Peer
	n := w.nodes[id]
	switch {
	case b < 186:
		w.deliver(int(b))
	case b < 190:
		w.kill(id, true)
	case b < 197:
		w.kill(id, false) // the stream ends, the peer lives
	case b < 201:
		n.alone = !n.alone
	case b < 204: // it forgets the session
		n.lost, n.sess = true, nil
	case b < 220:
		w.say(id, protocol.Parting{WithinMS: 1})
	case b < 225:
		w.swallow()
	case b < 228:
		w.repeat()
	case b < 231:
		if !w.finished {
			w.rollBack()
		}
	case b < 234: // who died is started again
		for _, n := range w.nodes {
			n.alive = true
		}
	case b < 236:
		w.tick()
	default:
		if w.troubles > 0 {
			w.mend()
		}
	}
}

// tick lets time pass until something is due.
func (w *world) tick() bool {
	at, ok := w.chain.Deadline()
	if ok {
		w.now = max(w.now, at)
		w.take(w.chain.Tick(w.now))
	}
	return ok
}

// end lets everything go its way, and says whether it comes to an end.
func (w *world) end() {
	for range 20_000 {
		switch {
		case w.troubles > 0:
			w.mend()
		case w.deliver(0):
		case w.finished:
			return
		case !w.tick():
			w.t.Fatalf("nothing happens any more: %+v", w.chain)
		}
	}
	w.t.Fatal("it does not come to an end")
}

// tell is a story of random events.
func (w *world) tell() {
	for range w.any(300) {
		w.event(byte(w.any(math.MaxUint8 + 1)))
	}
	w.end()
}
