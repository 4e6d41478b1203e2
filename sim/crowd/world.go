// Package crowd tries how clients choose chains, in made-up time: peers with devices that compute the steps of several sessions
// in one pass, ways between them as on a map of the world, and clients that come within seconds of each other and go by
// offers that are seconds old. What decides is the code that decides in earnest: routing.Plan, routing.Repair, routing.Crowd.
//
// All is drawn from seeds; the same trial gives the same figures everywhere.
package crowd

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
)

// What is drawn, and how the world works.
const (
	renewEvery = 8 * time.Second
	mostLate   = 7 * time.Second // that an offer reaches a client behind its renewal
	hopFix     = 150 * time.Microsecond
	openedFor  = 10 * time.Second // that a session counts which has been opened and has computed nothing
	stepsOver  = 4 * time.Second
	shareOver  = 10 * time.Second // of which the device's share of time is told
)

// spot is a place on a flat world, 100 ms wide there and back.
type spot struct{ x, y float64 }

func (s spot) rtt(o spot) time.Duration {
	dx, dy := s.x-o.x, s.y-o.y
	far := float64(dx*dx) + float64(dy*dy)
	guess := 1.0
	for range 40 { // a square root that is the same everywhere
		guess = float64(guess+float64(far/guess)) / 2
	}
	return time.Duration(2000+int64(guess)) * time.Microsecond
}

// server is a peer that serves.
type server struct {
	id    protocol.PeerID
	spot  spot
	offer protocol.Offer
	gain  float64 // what a row in company costs, beside one alone

	queue    []*session
	passing  bool
	held     bool // a pass is put off
	took     time.Duration
	coming   map[*session]time.Duration // rows on their way, and when they are here
	sessions map[*session]*visit

	computed []span // times of passes
	steps    []step
	told     []telling // what its offers said
}

type span struct{ from, to time.Duration }

// step is what a step took beyond what it would have taken alone.
type step struct{ at, more time.Duration }

type telling struct {
	at   time.Duration
	busy uint32
}

// visit is what a server knows of a session.
type visit struct {
	opened, left time.Duration
	arrived      time.Duration
	away         time.Duration // mean; 0: unknown
	stepped      bool
}

// session is a client's, which decodes one token after the other.
type session struct {
	spot   spot
	hops   []routing.Hop
	began  time.Duration // of the token under way
	tokens int
	took   []time.Duration // of each token

	between func() // what its client does between two tokens; nil: nothing
}

// world is a swarm in time.
type world struct {
	rng     *rand.Rand
	layers  int
	servers map[protocol.PeerID]*server
	order   []protocol.PeerID
	now     time.Duration
	events  events
	serial  int
}

type event struct {
	at     time.Duration
	serial int
	do     func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].serial < e[j].serial
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

func (w *world) after(d time.Duration, do func()) {
	w.serial++
	heap.Push(&w.events, event{w.now + d, w.serial, do})
}

// run lets time pass until then.
func (w *world) run(until time.Duration) {
	for len(w.events) > 0 && w.events[0].at <= until {
		e := heap.Pop(&w.events).(event)
		w.now = e.at
		e.do()
	}
	w.now = until
}

// newWorld draws a swarm that holds all layers some three times.
func newWorld(seed uint64, servers, layers int) *world {
	w := &world{rng: rand.New(rand.NewPCG(seed, 7)), layers: layers, servers: make(map[protocol.PeerID]*server)}
	covered := make([]float64, layers)
	for i := range servers {
		k := 4 + w.rng.IntN(17)
		rate := float64((5 + w.rng.IntN(76)) * k)
		gain := []float64{0.03, 0.1, 0.19}[w.rng.IntN(3)]
		start := weakest(covered, k)
		for x := start; x < start+k; x++ {
			covered[x] += rate / float64(k)
		}
		s := &server{
			id: protocol.PeerID(fmt.Sprintf("%08x-%03d", w.rng.Uint32(), i)), spot: w.somewhere(), gain: gain,
			coming: make(map[*session]time.Duration), sessions: make(map[*session]*visit),
		}
		at := protocol.Span{Start: start, End: start + k}
		s.offer = protocol.Offer{
			Version: 1, Peer: s.id, Sequence: 1, Span: at, Target: at, Layers: layers, State: protocol.Online,
			DecodeRate: uint32(rate), PrefillRate: uint32(rate / gain), CacheFree: 1 << 20,
		}
		w.servers[s.id] = s
		w.order = append(w.order, s.id)
	}
	w.meet()
	for _, id := range w.order {
		s := w.servers[id]
		w.after(time.Duration(w.rng.Int64N(int64(renewEvery))), func() { w.renew(s) })
	}
	return w
}

// somewhere is one of six towns, or near it.
func (w *world) somewhere() spot {
	towns := []spot{{10e3, 30e3}, {25e3, 28e3}, {30e3, 80e3}, {50e3, 20e3}, {75e3, 50e3}, {95e3, 35e3}}
	t := towns[w.rng.IntN(len(towns))]
	return spot{t.x + 6000*w.rng.Float64(), t.y + 6000*w.rng.Float64()}
}

// weakest is where k layers are served least.
func weakest(covered []float64, k int) (best int) {
	least := -1.0
	for a := 0; a+k <= len(covered); a++ {
		sum, low := 0.0, covered[a]
		for _, c := range covered[a : a+k] {
			sum += c
			low = min(low, c)
		}
		if v := 1000*low + sum/float64(k); least < 0 || v < least {
			best, least = a, v
		}
	}
	return best
}

// meet has each server measure the ways to those that it may send rows to.
func (w *world) meet() {
	for _, id := range w.order {
		s := w.servers[id]
		for _, o := range w.order {
			t := w.servers[o]
			if len(s.offer.Near) < 10 && o != id && t.offer.Span.Start <= s.offer.Span.End && s.offer.Span.End < t.offer.Span.End {
				s.offer.Near = append(s.offer.Near, protocol.Near{Peer: protocol.TailOf(o), RTT: s.spot.rtt(t.spot)})
			}
		}
	}
}

func (w *world) renew(s *server) {
	s.told = append(s.told, telling{w.now, w.busy(s, nil)})
	w.after(renewEvery, func() { w.renew(s) })
}

// busy is what a server says of itself to somebody whose own session does not count.
func (w *world) busy(s *server, not *session) uint32 {
	c := routing.Crowd{Decode: s.offer.DecodeRate, Prefill: s.offer.PrefillRate, Share: w.share(s)}
	c.Alone = time.Second * time.Duration(s.offer.Span.Len()) / time.Duration(s.offer.DecodeRate)
	var away time.Duration
	known := 0
	for x, v := range s.sessions {
		if v.stepped {
			c.Stepping++
		}
		if x == not {
			continue
		}
		if v.stepped || w.now-v.opened < openedFor {
			c.Sessions++
		}
		if v.away > 0 {
			away += v.away
			known++
		}
	}
	if known > 0 {
		c.Away = away / time.Duration(known)
	} else {
		c.Away = c.Alone*time.Duration(w.layers-s.offer.Span.Len())/time.Duration(s.offer.Span.Len()) + 50*time.Millisecond
	}
	for len(s.steps) > 0 && s.steps[0].at < w.now-stepsOver {
		s.steps = s.steps[1:]
	}
	more := time.Duration(0)
	for _, x := range s.steps {
		more += x.more
	}
	if n := time.Duration(len(s.steps)); n > 0 {
		c.More = more / n
	} else {
		c.Stepping = 0
	}
	return c.Busy()
}

// share is the device's, in thousandths of the last seconds.
func (w *world) share(s *server) int64 {
	since := w.now - shareOver
	for len(s.computed) > 0 && s.computed[0].to <= since {
		s.computed = s.computed[1:]
	}
	sum := time.Duration(0)
	for _, p := range s.computed {
		sum += min(p.to, w.now) - max(p.from, since)
	}
	return int64(1000 * sum / shareOver)
}

// arrive has a session's row come to the server of a hop.
func (w *world) arrive(s *session, hop int) {
	x := w.servers[s.hops[hop].Peer]
	delete(x.coming, s)
	x.queue = append(x.queue, s)
	if v := x.sessions[s]; v != nil {
		v.arrived = w.now
	}
	if v := x.sessions[s]; v != nil && v.left > 0 {
		away := w.now - v.left
		if v.away == 0 {
			v.away = away
		}
		v.away += (away - v.away) / 8
	}
	w.pass(x)
}

// pass computes what waits, as soon as the device is free; it is put off for rows that will be here before half a pass is
// over.
func (w *world) pass(x *server) {
	if x.passing || x.held || len(x.queue) == 0 {
		return
	}
	wait := time.Duration(0)
	for _, at := range x.coming {
		if d := at - w.now; d <= x.took/2 {
			wait = max(wait, d)
		}
	}
	if wait > 0 {
		x.held = true
		w.after(wait, func() {
			x.held = false
			w.start(x)
		})
		return
	}
	w.start(x)
}

func (w *world) start(x *server) {
	batch := x.queue
	x.queue = nil
	x.passing = true
	x.took = x.takes(batch)
	x.computed = append(x.computed, span{w.now, w.now + x.took})
	w.after(x.took, func() {
		x.passing = false
		for _, s := range batch {
			w.leave(x, s)
		}
		w.pass(x)
	})
}

// takes is how long a pass is: each layer as long as its rows take together.
func (x *server) takes(batch []*session) (sum time.Duration) {
	layer := time.Second / time.Duration(x.offer.DecodeRate)
	for i := x.offer.Span.Start; i < x.offer.Span.End; i++ {
		rows := 0
		for _, s := range batch {
			for _, h := range s.hops {
				if h.Peer == x.id && h.Span.Start <= i && i < h.Span.End {
					rows++
				}
			}
		}
		if rows > 0 {
			sum += time.Duration(float64(layer) * longer(float64(rows), x.gain))
		}
	}
	return sum
}

// longer is how many times as long rows take together as one alone: as measured where a row in company costs a fifth
// (node/limits.go), and for other devices at as many rows as cost the same.
func longer(rows, gain float64) float64 {
	measured := [][2]float64{{1, 1}, {2, 1.04}, {4, 1.14}, {5, 1.43}, {8, 1.85}, {16, 3.3}, {32, 6.2}}
	b := 1 + (rows-1)*gain/0.19
	for k := 1; k < len(measured); k++ {
		if lo, hi := measured[k-1], measured[k]; b <= hi[0] {
			return lo[1] + (hi[1]-lo[1])*(b-lo[0])/(hi[0]-lo[0])
		}
	}
	return 6.2 + (b-32)*0.19
}

// leave sends a row on, or the token to the client, who sends the next one.
func (w *world) leave(x *server, s *session) {
	k := 0
	for s.hops[k].Peer != x.id {
		k++
	}
	if v := x.sessions[s]; v != nil {
		v.left, v.stepped = w.now, true
		x.steps = append(x.steps, step{w.now, w.now - v.arrived - x.takes([]*session{s})})
	}
	if k+1 < len(s.hops) {
		w.send(s, k+1, x.spot.rtt(w.servers[s.hops[k+1].Peer].spot)/2)
		return
	}
	w.after(x.spot.rtt(s.spot)/2, func() {
		s.tokens++
		s.took = append(s.took, w.now-s.began)
		if s.between != nil {
			s.between()
		}
		w.token(s)
	})
}

func (w *world) send(s *session, hop int, way time.Duration) {
	w.servers[s.hops[hop].Peer].coming[s] = w.now + way + hopFix
	w.after(way+hopFix, func() { w.arrive(s, hop) })
}

// token begins the next token.
func (w *world) token(s *session) {
	s.began = w.now
	w.send(s, 0, s.spot.rtt(w.servers[s.hops[0].Peer].spot)/2)
}
