package planner

import (
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing/placement"
)

// Times of a made-up swarm.
const (
	tick      = time.Second
	readEvery = 5 * time.Second // what others have announced
	readAge   = 7 * time.Second // of what is read: so a view is 10 s old on average
	oldAge    = time.Minute     // of what is wrong in it
	offerLife = 24 * time.Second
	lateAfter = 17 * time.Second // of nothing that is read of a peer: it is asked itself
	loadFirst = 10 * time.Second // loading takes so long, and
	loadLayer = 3 * time.Second  // so long for each layer

	petalsEvery = time.Minute // its default --mean_balance_check_period
)

// world is a swarm in made-up time.
type world struct {
	draw    *Draw
	rng     *rand.Rand
	fate    *rand.Rand // who comes and goes, the same whatever the rule
	wrong   int        // percent of what is read that is wrong
	petals  bool       // peers follow Petals' rule
	now     time.Duration
	nodes   []*node // by id
	all     map[string]*node
	moves   int // announced
	opened  int // gaps that a move has opened
	plans   placement.Plans
	version int // counts what changes the truth
}

// node is a peer in it, which knows the others by what it reads.
type node struct {
	self      placement.Self
	memory    placement.Memory
	ready     time.Duration // when it has loaded
	again     time.Duration
	reads     time.Duration // the next time
	died      time.Duration // 0: it lives
	published []published
	known     map[string]sighting
}

// published is what a node has announced from a time on.
type published struct {
	at   time.Duration
	peer placement.Peer
}

// sighting is what a node knows of another.
type sighting struct {
	published
	seen time.Duration
}

func newWorld(d *Draw, seed uint64) *world {
	return &world{draw: d, rng: rand.New(rand.NewPCG(seed, 7)), fate: rand.New(rand.NewPCG(seed, 8)), now: time.Hour, all: map[string]*node{}}
}

// join lets a peer in, which has yet to find its place, or which serves some layers already.
func (w *world) join(p placement.Peer, at protocol.Span) *node {
	n := &node{self: placement.Self{ID: p.ID, Rate: p.Rate, Choices: placement.Spans(w.draw.Layers, p.Layers),
		Held: at, Target: at, Loading: loadFirst + time.Duration(p.Layers)*loadLayer}, known: map[string]sighting{}}
	n.reads = w.now + w.rand(readEvery)
	n.memory.Plans = &w.plans
	i, _ := slices.BinarySearchFunc(w.nodes, p.ID, func(n *node, id string) int { return strings.Compare(n.self.ID, id) })
	w.nodes = slices.Insert(w.nodes, i, n)
	w.all[p.ID] = n
	if at.Len() > 0 {
		w.publish(n)
	}
	w.read(n)
	if at.Len() == 0 {
		n.again = n.reads // a newcomer tries out how fast it is, and has asked twice before it chooses
	}
	w.version++
	return n
}

// settle lets all have known each other for long: a swarm begins at rest.
func (w *world) settle() {
	for _, n := range w.nodes {
		n.published[0].at = 0
	}
	for _, n := range w.nodes {
		for _, other := range w.nodes {
			if other != n {
				n.known[other.self.ID] = sighting{other.published[0], w.now - readAge}
			}
		}
	}
}

// kill ends a node without a word.
func (w *world) kill(n *node) {
	n.died = w.now
	w.version++
	w.nodes = slices.DeleteFunc(w.nodes, func(m *node) bool { return m == n })
}

// publish announces what a node serves and where it will be.
func (w *world) publish(n *node) {
	w.version++
	n.published = append(n.published, published{w.now, placement.Peer{ID: n.self.ID, Held: n.self.Held,
		Target: n.self.Target, Layers: n.self.Choices[0].Len(), Rate: n.self.Rate,
		Fixed: len(n.self.Choices) == 1}})
}

// as is what a node had announced by a time, if it lived then.
func (n *node) as(t time.Duration) (published, bool) {
	if n.died > 0 && t >= n.died {
		return published{}, false
	}
	for _, p := range slices.Backward(n.published) {
		if p.at <= t {
			return p, true
		}
	}
	return published{}, false
}

// read refreshes what a node knows. What has been seen is remembered to its end, and nothing older takes its place. Some
// of it is wrong: not there, or a minute old.
func (w *world) read(n *node) {
	at := w.now - readAge
	for id, s := range n.known {
		if w.now-s.seen >= offerLife {
			delete(n.known, id)
			n.again = 0
		}
	}
	for _, other := range w.nodesAt(at) {
		if other == n {
			continue
		}
		asOf := at
		if w.rng.IntN(100) < w.wrong {
			if w.rng.IntN(2) == 0 {
				continue
			}
			asOf -= oldAge
		}
		p, there := other.as(asOf)
		old, known := n.known[other.self.ID]
		if !there || (known && old.at > p.at) {
			continue
		}
		if !known || old.at != p.at {
			n.again = 0
		}
		n.known[other.self.ID] = sighting{p, at}
	}
	w.askLate(n)
}

// askLate asks those of whom nothing was read for a while, as routing.Directory does. Who lives says where it is now, and of
// the dead nothing comes: they are gone.
func (w *world) askLate(n *node) {
	for id, s := range n.known {
		if w.now-s.seen < lateAfter {
			continue
		}
		p, lives := w.all[id].as(w.now)
		if lives {
			n.known[id] = sighting{p, w.now}
		} else {
			delete(n.known, id)
		}
		if !lives || p.at != s.at {
			n.again = 0
		}
	}
}

// nodesAt lists who lived then, by id.
func (w *world) nodesAt(t time.Duration) (alive []*node) {
	for _, n := range w.all {
		if _, there := n.as(t); there {
			alive = append(alive, n)
		}
	}
	slices.SortFunc(alive, func(a, b *node) int { return strings.Compare(a.self.ID, b.self.ID) })
	return alive
}

// view is what a node knows.
func (w *world) view(n *node) placement.View {
	v := placement.View{Layers: w.draw.Layers, RTT: w.draw.RTT}
	for _, s := range n.known {
		v.Peers = append(v.Peers, s.peer)
	}
	return v
}

// run lets some time go by.
func (w *world) run(d time.Duration, each func()) {
	for end := w.now + d; w.now < end; {
		w.now += tick
		for _, n := range slices.Clone(w.nodes) {
			w.step(n)
		}
		if each != nil {
			each()
		}
	}
}

// step lets a node do what is due.
func (w *world) step(n *node) {
	if n.ready > 0 && w.now >= n.ready {
		n.ready, n.again, n.self.Loaded = 0, 0, true
	}
	if w.now >= n.reads {
		n.reads = w.now + readEvery
		w.read(n)
	}
	if w.now < n.again {
		return
	}
	if w.petals {
		w.petalsStep(n)
		return
	}
	for w.act(n, placement.Decide(w.view(n), n.self, w.now, &n.memory)) {
	}
}

// act does what a node has decided, and reports whether it is to decide again at once.
func (w *world) act(n *node, a placement.Action) (again bool) {
	n.again = a.Again
	switch a.Kind {
	case placement.Announce:
		if n.self.Target.Len() > 0 {
			w.moves++
		}
		w.load(n, a.Span)
		w.publish(n)
	case placement.Withdraw:
		n.self.Target, n.self.Loaded, n.ready = a.Span, false, 0
		w.publish(n)
	case placement.Serve:
		w.serve(n, a.Span)
	case placement.Ask:
		for _, p := range a.Ask {
			other := w.all[p.Peer]
			if other.died == 0 && other.memory.Promise(other.self, n.self.ID, p.Layers, w.now) {
				n.memory.Promised(p, w.now)
				again = true
			}
		}
	}
	return again
}

// load begins to load what a node has not.
func (w *world) load(n *node, to protocol.Span) {
	missing := 0
	for x := to.Start; x < to.End; x++ {
		if x < n.self.Held.Start || x >= n.self.Held.End {
			missing++
		}
	}
	n.self.Target, n.self.Loaded = to, false
	n.ready = w.now + loadFirst + time.Duration(missing)*loadLayer
}

// serve lets a node serve a span and nothing else.
func (w *world) serve(n *node, to protocol.Span) {
	before := w.gaps()
	n.self.Held, n.self.Target, n.self.Loaded = to, to, false
	if before == 0 && w.gaps() > 0 {
		w.opened++
	}
	w.publish(n)
}

// gaps counts the layers that nobody serves. A node that has loaded serves what it loaded, too.
func (w *world) gaps() (n int) {
	for x := range w.draw.Layers {
		if !slices.ContainsFunc(w.nodes, func(n *node) bool { return x >= n.self.Held.Start && x < n.self.Held.End }) {
			n++
		}
	}
	return n
}

// petalsStep is a node's life by Petals' rule: it looks at random times, once a minute on average, and serves nothing while
// it loads what it has chosen anew.
func (w *world) petalsStep(n *node) {
	if n.self.Loaded {
		w.serve(n, n.self.Target)
		n.again = w.now + w.rand(2*petalsEvery)
		return
	}
	if n.ready > 0 {
		return
	}
	var servers []petalsServer
	for _, p := range w.view(n).Peers {
		servers = append(servers, petalsServer{p.ID, p.Target, float64(p.Rate) / float64(p.Layers)})
	}
	k := n.self.Choices[0].Len()
	if n.self.Target.Len() > 0 {
		me := petalsServer{n.self.ID, n.self.Target, float64(n.self.Rate) / float64(k)}
		if !newPetals(w.draw.Layers, append(servers, me)).shouldMove(me.id, petalsQuality, w.rng) {
			n.again = w.now + w.rand(2*petalsEvery)
			return
		}
		w.moves++
	}
	to := newPetals(w.draw.Layers, servers).choose(k)
	before := w.gaps()
	n.self.Held = protocol.Span{}
	if before == 0 && w.gaps() > 0 {
		w.opened++
	}
	w.load(n, to)
	w.publish(n)
}

// truth is the swarm as it is: where all have announced to be, or what they serve.
func (w *world) truth(served bool) placement.View {
	v := placement.View{Layers: w.draw.Layers, RTT: w.draw.RTT}
	for _, n := range w.nodes {
		p := placement.Peer{ID: n.self.ID, Held: n.self.Held, Target: n.self.Target, Layers: n.self.Choices[0].Len(), Rate: n.self.Rate}
		if served {
			p.Target = p.Held
		}
		v.Peers = append(v.Peers, p)
	}
	return v
}

// rand is a random time below d.
func (w *world) rand(d time.Duration) time.Duration { return time.Duration(w.rng.Int64N(int64(d))) }
