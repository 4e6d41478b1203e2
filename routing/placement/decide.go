package placement

import (
	"fmt"
	"hash/fnv"
	"slices"
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
	gap       gap
	bareSince time.Duration // since when a layer has had no holder, while a move waits; 0: all have
	asking    time.Duration // since when pledges are asked for; 0: not yet
	asked     time.Duration // the last time
	got, gave []pledged
	together  together
	Plans     *Plans // of all; nil: its own. Simulated peers share one, as equal views give equal plans
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
	d.s.knows(d.i, me.Choices)
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
	to, any := d.s.bestLasting(d.i, d.me.Choices)
	if !any {
		return d.stay(d.now+lookEvery, "no layer fits")
	}
	return Action{Kind: Announce, Span: to, Again: d.now + lookEvery, Why: "join where it helps most"}
}

// announce begins a move.
func (d *decision) announce(to protocol.Span, why string) Action {
	m := d.m
	m.moves = append(m.moves, d.now)
	m.wish, m.looks, m.asking, m.bareSince = protocol.Span{}, 0, 0, 0
	return Action{Kind: Announce, Span: to, Again: d.now + lookEvery, Why: why}
}

// look weighs a move, at this peer's times.
func (d *decision) look() Action {
	m := d.m
	if d.now < m.next {
		return d.stay(m.next, "the next look")
	}
	m.next = d.now + lookEvery - (d.now+phase(d.me.ID))%lookEvery
	if len(d.s.peers) <= maxJoint {
		return d.lookTogether()
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
	if !d.drawn() {
		return d.stay(m.next, "to %v saves %d.%d %%, in turn", to, gain/10, gain%10)
	}
	return d.announce(to, fmt.Sprintf("saves %d.%d %%", gain/10, gain%10))
}

// phase spreads the looks of peers over time.
func phase(id string) time.Duration {
	h := fnv.New64a()
	_, _ = h.Write([]byte(id)) // never fails
	return time.Duration(h.Sum64() % uint64(lookEvery))
}

// drawn reports whether it is this peer's turn to move in a swarm too large to plan for all: as what one announces is
// seen late, only a few of those who want the same may go at once.
func (d *decision) drawn() bool {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s %d", d.me.ID, d.m.looks)
	return h.Sum64()%uint64(max(1, len(d.s.peers)/moversAtOnce)) == 0
}

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
