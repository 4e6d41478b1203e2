package planner

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing/placement"
)

// What a fleet is made of.
const (
	fleetLayers  = 40
	fleetTick    = 5 * time.Second
	fleetLag     = 2                // ticks that a view is old
	fleetForget  = 30 * time.Second // until all have noticed that a node is gone
	fleetView    = 512              // offers that a node of a large swarm reads, others each time
	meanSession  = 4 * time.Hour    // that a home computer stays, exponentially distributed; it goes without a word
	sampleFleet  = time.Minute
	rowKilobits  = 80      // what goes from hop to hop for each token: 5,120 halves
	leastUplink  = 10      // Mbit/s of a home
	mostUplink   = 100     //
	fleetClients = 8       // whose chains are timed in each sample
	quietLooks   = 200_000 // looks of idle nodes in a tick, times the square of what a look sees
)

// FleetConfig is a swarm of a size, over some time.
type FleetConfig struct {
	Nodes int
	Seed  uint64
	For   time.Duration // 0: less for more nodes, see the report
}

// lasts is how long a fleet is played.
func (c FleetConfig) lasts() time.Duration {
	switch {
	case c.For > 0:
		return c.For
	case c.Nodes <= 30:
		return 12 * time.Hour
	case c.Nodes <= 100:
		return 2 * time.Hour
	case c.Nodes <= 1000:
		return time.Hour
	}
	return 30 * time.Minute
}

// Fleet is what became of one.
type Fleet struct {
	Nodes   int
	For     time.Duration
	Joined  int
	Left    int
	Moves   int // announced by nodes that served
	Opened  int // gaps that a move has opened
	Samples []FleetSample
}

// FleetSample is a fleet at one time, by what is served then.
type FleetSample struct {
	At      time.Duration
	Gaps    int     // layers that nobody serves
	Tokens  float64 // per second through the weakest layer
	Ceiling float64 // no placement of these nodes lets more through
	TokenMS float64 // of a lone client, by the chain that routing plans; 0: there is none
	Hops    float64
}

// fleet plays one.
type fleet struct {
	cfg     FleetConfig
	draw    *Draw
	rng     *rand.Rand
	now     time.Duration
	members []*member // by arrival
	byID    map[string]*member
	gone    []ghost
	seen    [][]placement.Peer // what has been announced, in the last ticks
	idle    int                // whose turn it is to look
	plans   placement.Plans
	out     Fleet
}

// member is a node of a fleet.
type member struct {
	self   placement.Self
	memory placement.Memory
	layers int
	again  time.Duration
	ready  time.Duration // when it has loaded; 0: it does not load
	ends   time.Duration
}

// ghost is a node that others still believe to be there.
type ghost struct {
	peer  placement.Peer
	until time.Duration
}

// PlayFleet lets a swarm live: it begins where [placement.Place] puts everybody, and then nodes come, go and move.
func PlayFleet(ctx context.Context, cfg FleetConfig) (Fleet, error) {
	f := newFleet(cfg)
	for end := f.now + cfg.lasts(); f.now < end; f.now += fleetTick {
		if err := ctx.Err(); err != nil {
			return f.out, fmt.Errorf("play %d nodes: %w", cfg.Nodes, err)
		}
		f.step()
		if f.now%sampleFleet == 0 {
			f.sample()
		}
	}
	return f.out, nil
}

func newFleet(cfg FleetConfig) *fleet {
	f := &fleet{cfg: cfg, rng: rand.New(rand.NewPCG(cfg.Seed, uint64(cfg.Nodes))), now: time.Hour, byID: map[string]*member{}}
	f.draw = &Draw{Layers: fleetLayers, place: map[string]spot{}, far: regions()}
	f.out = Fleet{Nodes: cfg.Nodes, For: cfg.lasts()}
	for range cfg.Nodes {
		f.home()
	}
	at := placement.Place(f.draw.View(nil))
	for i, p := range slices.Clone(f.draw.Peers) {
		f.add(p, at[i])
	}
	return f
}

// home draws a computer at home: its place is the further away the slower its uplink sends a row.
func (f *fleet) home() placement.Peer {
	p := f.draw.add(f.rng)
	s := f.draw.place[p.ID]
	s.mile += rowKilobits / (leastUplink + f.rng.IntN(mostUplink-leastUplink+1))
	f.draw.place[p.ID] = s
	return p
}

func (f *fleet) add(p placement.Peer, at protocol.Span) {
	m := &member{layers: p.Layers, self: placement.Self{ID: p.ID, Rate: p.Rate, Choices: placement.Spans(fleetLayers, p.Layers),
		Held: at, Target: at, Loading: loadFirst + time.Duration(p.Layers)*loadLayer}}
	m.ends = f.now + time.Duration(f.rng.ExpFloat64()*float64(meanSession))
	m.memory.Plans = &f.plans
	f.members = append(f.members, m)
	f.byID[p.ID] = m
}

// step is one tick: nodes go, nodes come, those that have something under way go on, some of the others look.
func (f *fleet) step() {
	f.leave()
	f.announced()
	for range f.arrivals() {
		f.add(f.home(), protocol.Span{})
		f.out.Joined++
	}
	for _, m := range f.members {
		if m.self.Held != m.self.Target || m.self.Target.Len() == 0 {
			f.decide(m)
		}
	}
	for range min(f.looks(), len(f.members)) {
		f.idle = (f.idle + 1) % len(f.members)
		f.decide(f.members[f.idle])
	}
}

// looks is how many idle nodes look in a tick. A look costs the square of what is seen, so in large fleets each node looks
// less often than a real one would: what they mend is mended later here.
func (f *fleet) looks() int {
	seen := min(max(len(f.members), 1), fleetView)
	return max(2, quietLooks/(seen*seen))
}

// arrivals draws how many come in a tick, as many as go on average.
func (f *fleet) arrivals() (n int) {
	mean := float64(f.cfg.Nodes) * float64(fleetTick) / float64(meanSession)
	for p := f.rng.Float64(); p > math.Exp(-mean); n++ {
		p *= f.rng.Float64()
	}
	return n
}

func (f *fleet) leave() {
	f.gone = slices.DeleteFunc(f.gone, func(g ghost) bool { return f.now >= g.until })
	f.members = slices.DeleteFunc(f.members, func(m *member) bool {
		if f.now < m.ends {
			return false
		}
		if m.self.Target.Len() > 0 {
			f.gone = append(f.gone, ghost{m.peer(), f.now + fleetForget})
		}
		delete(f.byID, m.self.ID)
		f.out.Left++
		return true
	})
}

// peer is what a member announces.
func (m *member) peer() placement.Peer {
	return placement.Peer{ID: m.self.ID, Held: m.self.Held, Target: m.self.Target, Layers: m.layers, Rate: m.self.Rate}
}

// announced notes what can be read some ticks later.
func (f *fleet) announced() {
	var all []placement.Peer
	for _, m := range f.members {
		if m.self.Target.Len() > 0 {
			all = append(all, m.peer())
		}
	}
	for _, g := range f.gone {
		all = append(all, g.peer)
	}
	f.seen = append(f.seen, all)
	f.seen = f.seen[max(0, len(f.seen)-fleetLag-1):]
}

// view is what a member reads: all offers, or as many as a reader of a large swarm gets.
func (f *fleet) view() placement.View {
	return placement.View{Layers: fleetLayers, RTT: f.draw.RTT, Peers: some(f.seen[0], fleetView, f.rng)}
}

// some draws so many of them, or takes all.
func some(all []placement.Peer, most int, rng *rand.Rand) []placement.Peer {
	if len(all) <= most {
		return all
	}
	drawn := make([]placement.Peer, 0, most)
	for i, p := range all {
		if rng.IntN(len(all)-i) < most-len(drawn) {
			drawn = append(drawn, p)
		}
	}
	return drawn
}

// decide lets a member do what is due. While it loads nothing is due in a large fleet, where nobody is the last holder.
func (f *fleet) decide(m *member) {
	if m.ready > 0 && f.now >= m.ready {
		m.ready, m.again, m.self.Loaded = 0, 0, true
	}
	if m.ready > 0 && len(f.members) > fleetView {
		return
	}
	for again := f.now >= m.again; again; {
		again = f.act(m, placement.Decide(f.view(), m.self, f.now, &m.memory))
	}
}

// act does what a member has decided, and reports whether it is to decide again at once.
func (f *fleet) act(m *member, a placement.Action) (again bool) {
	m.again = a.Again
	switch a.Kind {
	case placement.Announce:
		if m.self.Target.Len() > 0 {
			f.out.Moves++
		}
		m.self.Target, m.self.Loaded = a.Span, false
		m.ready = f.now + loadFirst + time.Duration(missing(m.self.Held, a.Span))*loadLayer
	case placement.Withdraw:
		m.self.Target, m.self.Loaded, m.ready = a.Span, false, 0
	case placement.Serve:
		before := f.bare()
		m.self.Held, m.self.Target, m.self.Loaded = a.Span, a.Span, false
		if before == 0 && f.bare() > 0 {
			f.out.Opened++
		}
	case placement.Ask:
		for _, p := range a.Ask {
			if other := f.byID[p.Peer]; other != nil && other.memory.Promise(other.self, m.self.ID, p.Layers, f.now) {
				m.memory.Promised(p, f.now)
				again = true
			}
		}
	}
	return again
}

// missing counts the layers of a span that another lacks.
func missing(held, to protocol.Span) (n int) {
	for x := to.Start; x < to.End; x++ {
		if x < held.Start || x >= held.End {
			n++
		}
	}
	return n
}

// bare counts the layers that nobody serves.
func (f *fleet) bare() (n int) {
	var holders [fleetLayers]int
	for _, m := range f.members {
		for x := m.self.Held.Start; x < m.self.Held.End; x++ {
			holders[x]++
		}
	}
	for _, h := range holders {
		if h == 0 {
			n++
		}
	}
	return n
}

// sample measures the fleet as it is.
func (f *fleet) sample() {
	v := placement.View{Layers: fleetLayers, RTT: f.draw.RTT}
	total := int64(0)
	for _, m := range f.members {
		if m.self.Held.Len() > 0 {
			p := m.peer()
			p.Target = p.Held
			v.Peers = append(v.Peers, p)
			total += p.Rate
		}
	}
	slices.SortFunc(v.Peers, func(a, b placement.Peer) int { return cmp.Compare(a.ID, b.ID) })
	s := FleetSample{At: f.now - time.Hour, Gaps: f.bare(), Ceiling: float64(total) / fleetLayers}
	if s.Gaps == 0 {
		s.Tokens = weakestOf(v)
		s.TokenMS, s.Hops = f.chains(v)
	}
	f.out.Samples = append(f.out.Samples, s)
}

// weakestOf is what the weakest layer lets through.
func weakestOf(v placement.View) float64 {
	at := make([]protocol.Span, len(v.Peers))
	for i, p := range v.Peers {
		at[i] = p.Held
	}
	return float64(weakest(v.Layers, v.Peers, at)) / 1000
}
