// Package placement decides which layers a peer serves. It holds plain functions of what a peer knows: no clock, no
// socket, no chance. Everyone who knows the same finds the same, on every architecture: all numbers are integers, all
// peers are taken in the order of their ids, and searches are limited by count, never by time.
//
// # The aim
//
// Placements are compared by the layers that nobody serves, then by
//
//	J = (tau + (D-1)/lambda) * (1 + 1/2 * share of the layers with a single holder)
//
// tau is the mean over a few clients of the least time that a token takes through a chain; lambda is the tokens/s that
// the weakest layer lets through, each holder of it giving the rate R/k at which it passes a token through its k layers;
// D is the number of sessions. So a lone client's time counts, the crowd's queue counts, and a layer whose only holder
// may leave counts against both.
//
// # Coming to rest
//
// A peer counts where it has announced to be, not where it still is. It looks every 5 s, moves only for a gain that
// grows with each move that it has made lately, and only if it saw the same in several looks running: the greatest gain
// waits least, which takes the place of an auction. It loads beside what it serves, and gives up a layer only when
// another holder has promised to stay: no move opens a gap. [Decide] is all of that as a state machine that a node's
// announcer drives; [Place] places everybody from nothing, which no swarm can do and every rule is measured by.
package placement

import (
	"bytes"
	"cmp"
	"slices"
	"time"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// Peer is what a view knows of a peer.
type Peer struct {
	ID     string
	Held   protocol.Span // what it serves now; empty while it joins
	Target protocol.Span // what it has announced to serve; it counts as there
	Layers int           // how many it can hold; 0: as many as in its target
	Rate   int64         // decode steps/s through one layer
	Fixed  bool          // its owner has said which layers: it moves for nobody
}

// capacity is how many layers p can serve.
func (p *Peer) capacity() int { return max(p.Layers, p.Target.Len()) }

// View is a swarm as one of its peers knows it: per peer the newest offer, remembered until it ends.
type View struct {
	Layers  int      // of the model
	Peers   []Peer   // in any order
	Clients []string // whose round trips are known; peers stand in for those that lack
	Demand  int      // sessions, as measured
	// RTT is the round trip between two peers, or between a client and a peer, the same both ways; negative: not known.
	// It is a function of the ids alone. Nil knows nothing.
	RTT func(a, b string) time.Duration
}

// FromOffers is the view of a model's offers, one for each peer, with the round trips that they tell of and those that
// one peer has measured itself. Who drains or leaves is not in it.
func FromOffers(offers []protocol.Offer, layers int, self protocol.PeerID, measured map[protocol.PeerID]time.Duration) View {
	v := View{Layers: layers, RTT: roundTrips(offers, self, measured)}
	for _, o := range offers {
		if o.Layers != layers || (o.State != protocol.Online && o.State != protocol.Joining) {
			continue
		}
		p := Peer{ID: string(o.Peer), Held: o.Span, Target: o.Target, Layers: o.Capacity, Rate: int64(o.DecodeRate), Fixed: o.Fixed}
		if o.State == protocol.Joining {
			p.Held = protocol.Span{}
		}
		v.Peers = append(v.Peers, p)
	}
	return v
}

// roundTrips is what offers tell of the ways between peers, and one peer of those that it has measured. Where both ends
// tell, the shorter counts: an answer may be slow for many reasons, but none is faster than the link.
func roundTrips(offers []protocol.Offer, self protocol.PeerID, measured map[protocol.PeerID]time.Duration) func(a, b string) time.Duration {
	type pair [2]protocol.PeerTail
	between := func(a, b protocol.PeerTail) pair {
		if bytes.Compare(a[:], b[:]) > 0 {
			a, b = b, a
		}
		return pair{a, b}
	}
	known := make(map[pair]time.Duration)
	tell := func(p pair, rtt time.Duration) {
		if old, told := known[p]; !told || rtt < old {
			known[p] = rtt
		}
	}
	for _, o := range offers {
		at := protocol.TailOf(o.Peer)
		for _, n := range o.Near {
			tell(between(at, n.Peer), n.RTT)
		}
	}
	at := protocol.TailOf(self)
	for id, rtt := range measured {
		tell(between(at, protocol.TailOf(id)), rtt)
	}
	return func(a, b string) time.Duration {
		if rtt, told := known[between(protocol.TailOf(protocol.PeerID(a)), protocol.TailOf(protocol.PeerID(b)))]; told {
			return rtt
		}
		return -1
	}
}

// coarse is v with speeds and round trips rounded down to steps of 10 %, so that small errors of measurement change
// nobody's mind.
func (v View) coarse() View {
	steps := tenths()
	peers := slices.Clone(v.Peers)
	for i := range peers {
		peers[i].Rate = roundDown(steps, peers[i].Rate)
	}
	v.Peers = peers
	if rtt := v.RTT; rtt != nil {
		v.RTT = func(a, b string) time.Duration {
			if d := rtt(a, b); d > 0 {
				return time.Duration(roundDown(steps, int64(d)))
			}
			return rtt(a, b)
		}
	}
	return v
}

// tenths are the numbers to which speeds and times are rounded: each a tenth, or one, above the last.
func tenths() []int64 {
	steps := []int64{0}
	for n := int64(1); n < maxCoarse; n += max(1, n/10) {
		steps = append(steps, n)
	}
	return steps
}

func roundDown(steps []int64, n int64) int64 {
	i, found := slices.BinarySearch(steps, n)
	if !found && i > 0 {
		i--
	}
	return steps[i]
}

// Spans lists the spans of k layers.
func Spans(layers, k int) []protocol.Span {
	k = min(k, layers)
	if k <= 0 {
		return nil
	}
	all := make([]protocol.Span, layers-k+1)
	for a := range all {
		all[a] = protocol.Span{Start: a, End: a + k}
	}
	return all
}

// Score says how good a placement is; the least is the best.
type Score struct {
	Gaps int   // layers that nobody serves
	J    int64 // nanoseconds
}

// Compare orders scores, the better first.
func (s Score) Compare(t Score) int {
	return cmp.Or(cmp.Compare(s.Gaps, t.Gaps), cmp.Compare(s.J, t.J))
}

// gain is what going from s to t saves, in parts of 1000 of J. A layer more or less that nobody serves is all.
func (s Score) gain(t Score) int64 {
	switch {
	case t.Gaps < s.Gaps:
		return 1000
	case t.Gaps > s.Gaps || s.J == 0:
		return -1000
	}
	return (s.J - t.J) / max(1, s.J/1000)
}

// Measured is a placement's score and what goes into it.
type Measured struct {
	Score
	Tau     time.Duration // mean least time of a token
	Lambda  int64         // tokens/s through the weakest layer, in thousandths
	Singles int           // layers with a single holder
}

// Measure rates a view's targets as they are, nothing rounded.
func Measure(v View) Measured { return newSwarm(v, "").measure() }

// Join is where a newcomer does the most good: of the spans that it could serve, one with nearly the least (gaps, J), that
// which stays best when somebody dies. One that can serve nothing gets no layers.
func Join(v View, me Self) protocol.Span {
	s := newSwarm(me.in(v).coarse(), me.ID)
	to, _ := s.bestLasting(s.index(me.ID), me.Choices)
	return to
}
