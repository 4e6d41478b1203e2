package placement

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// Self is what a peer knows of itself. It is believed before what a view says of it.
type Self struct {
	ID      string
	Choices []protocol.Span // what it could serve, by start; a single one: it stays there
	Rate    int64           // decode steps/s through one layer
	Held    protocol.Span   // served now; empty: nothing yet
	Target  protocol.Span   // announced; empty: nothing yet
	Loaded  bool            // the target is loaded, beside what is held
	Loading time.Duration   // what loading takes
}

// in puts a peer into a view as it knows itself.
func (me Self) in(v View) View {
	peers := slices.DeleteFunc(slices.Clone(v.Peers), func(p Peer) bool { return p.ID == me.ID })
	p := Peer{ID: me.ID, Held: me.Held, Target: me.Target, Rate: me.Rate, Fixed: len(me.Choices) == 1}
	v.Peers = append(peers, p)
	return v
}

// Kind is what there is to do.
type Kind uint8

// What [Decide] asks for.
const (
	Stay     Kind = iota // nothing
	Announce             // say that Span is the new target, and load it beside what is held
	Ask                  // ask peers to stay; hand what they say to [Memory.Promised]
	Serve                // serve Span and nothing else
	Withdraw             // give the target up: Span, which is held, is the target again
)

// Action is what a peer is to do now.
type Action struct {
	Kind  Kind
	Span  protocol.Span
	Ask   []Pledge
	Again time.Duration // when to decide again, unless something happens before
	Why   string        // in a few words, for people
}

// Pledge is a peer's word that it goes on serving some layers for a while.
type Pledge struct {
	Peer   string
	Layers protocol.Span
}

// Memory is what a peer remembers between decisions. Its zero value remembers nothing.
type Memory struct {
	next      time.Duration   // look
	wish      protocol.Span   // what the last looks wanted
	looks     int             // how many of them
	moves     []time.Duration // made in the last while
	gap       uint64          // which layers nobody serves
	gapSince  time.Duration
	bareSince time.Duration // since when a layer has had no holder, while a move waits; 0: all have
	asking    time.Duration // since when pledges are asked for; 0: not yet
	asked     time.Duration // the last time
	got, gave []pledged
	restKey   uint64 // where all have announced to be
	restSince time.Duration
	Plans     *Plans // of all; nil: its own. Simulated peers share one, as equal views give equal plans
}

// Plans remembers the plans that were made last. It is not safe for concurrent use.
type Plans struct {
	known map[uint64]plan
}

// plan is what [Plan] found.
type plan struct {
	moves []Move
	gain  int64
}

// of is the plan for a swarm as it is.
func (p *Plans) of(s *swarm) plan {
	key := s.key()
	found, known := p.known[key]
	if !known {
		if len(p.known) >= maxPlans || p.known == nil {
			p.known = map[uint64]plan{}
		}
		found.moves, found.gain = s.plan()
		p.known[key] = found
	}
	return found
}

// decision is one call of Decide.
type decision struct {
	s   *swarm
	i   int // me in s
	me  Self
	now time.Duration
	m   *Memory
}

// Decide says what a peer is to do, by what it knows at a time; now counts from any beginning and never back. It is to be
// called when the view or the peer itself has changed, and when the last action says so. The peer does what it says,
// and tells the outcome by the next call's Self and by [Memory.Promised].
func Decide(v View, me Self, now time.Duration, m *Memory) Action {
	m.forget(now)
	d := &decision{s: newSwarm(me.in(v).coarse(), me.ID), me: me, now: now, m: m}
	d.i = d.s.index(me.ID)
	switch {
	case me.Target.Len() == 0:
		return d.join()
	case me.Target != me.Held:
		return d.finish()
	}
	if a, found := d.fill(); found {
		return a
	}
	return d.look()
}

// forget lets go of what is over.
func (m *Memory) forget(now time.Duration) {
	m.moves = slices.DeleteFunc(m.moves, func(t time.Duration) bool { return now-t >= moveMemory })
	over := func(p pledged) bool { return now >= p.until }
	m.got, m.gave = slices.DeleteFunc(m.got, over), slices.DeleteFunc(m.gave, over)
}

func (d *decision) stay(again time.Duration, format string, args ...any) Action {
	return Action{Kind: Stay, Again: again, Why: fmt.Sprintf(format, args...)}
}

// join announces a newcomer's place at once.
func (d *decision) join() Action {
	best, any := d.s.best(d.i, d.me.Choices, nil)
	if !any {
		return d.stay(d.now+lookEvery, "no layer fits")
	}
	return Action{Kind: Announce, Span: best.span, Again: d.now + lookEvery, Why: "join where it helps most"}
}

// announce begins a move.
func (d *decision) announce(to protocol.Span, why string) Action {
	m := d.m
	m.moves = append(m.moves, d.now)
	m.wish, m.looks, m.asking, m.bareSince = protocol.Span{}, 0, 0, 0
	return Action{Kind: Announce, Span: to, Again: d.now + lookEvery, Why: why}
}

// fill looks for layers that nobody serves. Who can mend most goes first; the others wait their turn, and see it announced.
func (d *decision) fill() (Action, bool) {
	s, m := d.s, d.m
	gaps, which := s.bare()
	if gaps == 0 {
		m.gap = 0
		return Action{}, false
	}
	s.load.count(s, -1)
	gaps = s.load.gaps()
	if m.gap != which {
		m.gap, m.gapSince = which, d.now
	}
	best, any := s.best(d.i, d.me.Choices, d.keepsWord)
	if !any || best.score.Gaps >= gaps {
		return Action{}, false
	}
	slot := rankSlot
	if d.me.Loading >= quickLoad {
		slot = slowSlot
	}
	due := m.gapSince + time.Duration(d.rank(best.score, gaps))*slot
	if d.now < due {
		return d.stay(due, "%d layers lack a holder, others fill them better", gaps), true
	}
	return d.announce(best.span, fmt.Sprintf("%d layers lack a holder", gaps)), true
}

// rank counts the peers that mend more than this one. In a large swarm the ids alone decide.
func (d *decision) rank(mine Score, gaps int) (rank int) {
	s := d.s
	s.load.count(s, -1)
	for i, p := range s.peers {
		if i == d.i || p.Fixed || p.Held != p.Target || s.at[i].Len() == 0 {
			continue
		}
		if len(s.peers) > maxRanked {
			if p.ID < d.me.ID && s.mends(i) {
				rank++
			}
			continue
		}
		best, any := s.best(i, s.choices(i), nil)
		if any && best.score.Gaps < gaps && (best.score.Compare(mine) < 0 || best.score == mine && p.ID < d.me.ID) {
			rank++
		}
	}
	return rank
}

// mends reports whether a peer could leave its place for one with fewer gaps, by a count of all peers.
func (s *swarm) mends(i int) bool {
	at := s.at[i]
	return slices.ContainsFunc(s.choices(i), func(sp protocol.Span) bool {
		closed := 0
		for x := sp.Start; x < sp.End; x++ {
			if s.load.holders[x] == 0 {
				closed++
			}
		}
		for x := at.Start; x < at.End; x++ {
			if s.load.holders[x] == 1 && (x < sp.Start || x >= sp.End) {
				closed--
			}
		}
		return closed > 0
	})
}

// look weighs a move, at this peer's times.
func (d *decision) look() Action {
	m := d.m
	if d.now < m.next {
		return d.stay(m.next, "the next look")
	}
	m.next = d.now + lookEvery - (d.now+phase(d.me.ID))%lookEvery
	if who, busy := d.busy(); busy {
		return d.stay(m.next, "%s is moving", who)
	}
	to, gain := d.wish()
	if to == d.me.Held {
		m.wish, m.looks = protocol.Span{}, 0
		return d.stay(m.next, "no move pays: the best saves %d.%d %%", gain/10, gain%10)
	}
	if m.wish != to {
		m.wish, m.looks = to, 0
	}
	m.looks++
	if n := looksFor(gain); m.looks < n {
		return d.stay(m.next, "to %v saves %d.%d %%, look %d of %d", to, gain/10, gain%10, m.looks, n)
	}
	return d.announce(to, fmt.Sprintf("saves %d.%d %%", gain/10, gain%10))
}

// phase spreads the looks of peers over time.
func phase(id string) time.Duration {
	h := fnv.New64a()
	_, _ = h.Write([]byte(id)) // never fails
	return time.Duration(h.Sum64() % uint64(lookEvery))
}

// busy finds another peer whose announced move is not done.
func (d *decision) busy() (who string, busy bool) {
	for i, p := range d.s.peers {
		if i != d.i && p.Held.Len() > 0 && p.Held != p.Target {
			return shortID(p.ID), true
		}
	}
	return "", false
}

// shortID is how people tell a peer by: the end of its id.
func shortID(id string) string { return strings.ToValidUTF8(id[max(0, len(id)-8):], "?") }

// wish is where this peer should be, and what that saves; where it is, if no move pays.
func (d *decision) wish() (protocol.Span, int64) {
	s, m := d.s, d.m
	o := s.without(d.i)
	now := o.at(s.at[d.i])
	least := int64(leastGain) << min(len(m.moves), 16)
	best := choice{s.at[d.i], now}
	for _, sp := range d.me.Choices {
		sp = clip(sp, s.layers)
		if sp.Len() == 0 || !s.spared(d.i, sp) || !d.keepsWord(sp) {
			continue
		}
		if c := (choice{sp, o.at(sp)}); c.score.Compare(best.score) < 0 {
			best = c
		}
	}
	gain := now.gain(best.score)
	if gain >= least {
		return d.again(o, now, best.span, gain)
	}
	if to, together, mine := d.joint(); mine && together >= least {
		return to, together
	}
	return d.me.Held, gain
}

// again keeps to what the last looks wanted while it is nearly as good as the best: what is seen is never quite exact, and
// a wish that changes each time never comes true.
func (d *decision) again(o *own, now Score, best protocol.Span, gain int64) (protocol.Span, int64) {
	old := d.m.wish
	if old.Len() == 0 || old == best || !slices.Contains(d.me.Choices, old) || !d.s.spared(d.i, old) || !d.keepsWord(old) {
		return best, gain
	}
	if kept := now.gain(o.at(old)); kept >= gain*nearly/100 {
		return old, kept
	}
	return best, gain
}

// joint is this peer's part of the plan that all make: the first move, or none. After it all plan anew, so that plans
// which differ do not mix.
func (d *decision) joint() (to protocol.Span, gain int64, mine bool) {
	s, m := d.s, d.m
	if key := s.key(); m.restKey != key {
		m.restKey, m.restSince = key, d.now
	}
	if len(s.peers) > maxJoint || d.now-m.restSince < restFor {
		return to, 0, false
	}
	if m.Plans == nil {
		m.Plans = &Plans{}
	}
	p := m.Plans.of(s)
	if len(p.moves) == 0 || p.moves[0].Peer != d.me.ID {
		return to, 0, false
	}
	to = p.moves[0].To
	return to, p.gain, slices.Contains(d.me.Choices, to) && d.keepsWord(to)
}

// looksFor is how often in a row a gain must be seen.
func looksFor(gain int64) int {
	switch {
	case gain > largeGain:
		return looksLarge
	case gain > middleGain:
		return looksMiddle
	}
	return looksSmall
}

// key tells placements of a swarm apart.
func (s *swarm) key() uint64 {
	h := fnv.New64a()
	for i, p := range s.peers {
		fmt.Fprintf(h, "%d %s %v;", len(p.ID), p.ID, s.at[i])
	}
	return h.Sum64()
}

// bare counts the layers that nobody serves or has announced to serve, and gives a number other than 0 that tells such
// sets apart. What a peer still serves that is on its way elsewhere is not bare: it stays if nobody else comes.
func (s *swarm) bare() (n int, key uint64) {
	h := fnv.New64a()
	for x := range s.layers {
		if !s.holds(x, -1) && !s.held(x, -1) {
			fmt.Fprintf(h, "%d;", x)
			n++
		}
	}
	return n, max(1, h.Sum64())
}
