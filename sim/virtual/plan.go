package virtual

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// Shape says what swarms are like of which plans are drawn.
type Shape struct {
	Nodes   int // honest ones; there are some that are not beside them
	Clients int
	Kad     bool // the keepers are found by the real DHT, not by one who sees everything
	Calm    bool // nothing happens
}

// Kind is how a node behaves.
type Kind int

// The kinds. All but Honest lie in a way that can be found out: a node that computes wrong rows and sends them in the right
// form is not among them.
const (
	Honest  Kind = iota
	Bragger      // offers all layers at a great speed, and has none: opens are refused
	Mute         // offers likewise, takes streams and never answers
	Babbler      // a real node, of which some frames are noise
	Forger       // keeps a directory of forged offers, puts them everywhere, and repeats old ones
)

func (k Kind) String() string {
	return [...]string{"honest", "bragger", "mute", "babbler", "forger"}[k]
}

// Cast is one node of a plan.
type Cast struct {
	Kind  Kind
	Span  protocol.Span
	Pace  time.Duration // of a token in a layer
	Skew  time.Duration // of its wall clock; when it is started again it is wrong the other way
	Later bool          // it is not there from the start
	Auto  bool          // it chooses its layers, as many as Span has, and moves
}

// Act is what happens to a swarm.
type Act int

// The acts. Each that needs a node names it.
const (
	Start     Act = iota // a node comes, or comes back under its identity
	Leave                // it is told to leave
	Kill                 // its process dies
	Crash                // its machine dies: no word of it arrives any more
	Raze                 // the processes of all who hold a layer die, if those who choose their layers can fill the gap
	Slow                 // its link and its device become ten times slower
	Quick                // and again as they were
	Partition            // the swarm falls into two
	Heal                 // and is one again
	Lossy                // three in ten replies of the directory and of the DHT are lost
	Sound                // and none any more
)

func (a Act) String() string {
	return [...]string{"start", "leave", "kill", "crash", "raze", "slow", "quick", "partition", "heal", "lossy", "sound"}[a]
}

// Event is an act at a time.
type Event struct {
	At  time.Duration
	Act Act
	Who int // node; of a partition, the seed of its sides; of a razing, the layer
}

// Plan is all that happens to a swarm: a function of the seed and the shape alone.
type Plan struct {
	Seed   uint64
	Shape  Shape
	Casts  []Cast
	Events []Event
	Quiet  time.Duration // when the faults are over, and all honest nodes are to be there that hold what nobody else does
	End    time.Duration
}

// How long the parts of a plan take.
const (
	warmUp   = 10 * time.Second
	troubles = 40 * time.Second
	recovery = 40 * time.Second // until everything must be known to everyone: a life of an offer, a renewal, and some
	calm     = 15 * time.Second // for answers after that
)

// Draw draws a plan.
func Draw(seed uint64, shape Shape) Plan {
	rng := rand.New(rand.NewPCG(seed, 0x5eed))
	p := Plan{Seed: seed, Shape: shape, Quiet: warmUp + troubles}
	p.End = p.Quiet + recovery + calm
	auto := rng.IntN(2) == 0
	for i := range shape.Nodes {
		p.Casts = append(p.Casts, Cast{
			Span: spanOf(rng, i), Pace: time.Duration(1+rng.IntN(8)) * time.Millisecond, Skew: skewOf(rng),
			Later: i >= Layers && rng.IntN(6) == 0, Auto: auto && i > 0,
		})
	}
	if shape.Calm {
		return p
	}
	for k := Bragger; k <= Forger; k++ {
		if rng.IntN(3) == 0 {
			p.Casts = append(p.Casts, Cast{Kind: k, Span: spanOf(rng, rng.IntN(Layers)), Pace: time.Millisecond, Skew: skewOf(rng), Later: true})
		}
	}
	p.trouble(rng)
	return p
}

// spanOf draws a span. The first nodes hold every layer twice between them.
func spanOf(rng *rand.Rand, i int) protocol.Span {
	if i < Layers { // thirds, twice
		start := i % 3 * (Layers / 3)
		return protocol.Span{Start: start, End: start + Layers/3}
	}
	n := 1 + rng.IntN(4)
	start := rng.IntN(Layers - n + 1)
	return protocol.Span{Start: start, End: start + n}
}

// skewOf draws how wrong a wall clock is: in one of three cases by an hour, or by years.
func skewOf(rng *rand.Rand) time.Duration {
	return [...]time.Duration{0, 0, 0, 0, time.Hour, -time.Hour, -40 * 365 * 24 * time.Hour}[rng.IntN(7)]
}

// trouble draws the events.
func (p *Plan) trouble(rng *rand.Rand) {
	at := func() time.Duration { return warmUp + time.Duration(rng.Int64N(int64(troubles))) }
	add := func(t time.Duration, a Act, who int) { p.Events = append(p.Events, Event{min(t, p.Quiet), a, who}) }
	for i, c := range p.Casts {
		if c.Later {
			add(at()/2, Start, i)
		}
		if c.Kind != Honest || rng.IntN(3) > 0 {
			continue
		}
		t := at()
		switch rng.IntN(5) {
		case 0:
			add(t, Slow, i)
			add(t+20*time.Second, Quick, i)
		default:
			add(t, []Act{Leave, Kill, Crash, Crash}[rng.IntN(4)], i)
			if back := rng.IntN(2) == 0; back || i < Layers && !c.Auto {
				add(t+time.Duration(1+rng.IntN(30))*time.Second, Start, i)
			}
		}
	}
	if rng.IntN(3) == 0 {
		t := at()
		add(t, Partition, rng.Int())
		add(t+time.Duration(2+rng.IntN(35))*time.Second, Heal, 0)
	}
	if len(p.Casts) > 1 && p.Casts[1].Auto {
		add(at(), Raze, rng.IntN(Layers))
	}
	if rng.IntN(3) == 0 {
		add(warmUp/3, Lossy, 0)
		add(p.Quiet, Sound, 0)
	}
	slices.SortStableFunc(p.Events, func(a, b Event) int { return cmp.Compare(a.At, b.At) })
}

// String tells the plan, for whoever has to find out what went wrong.
func (p Plan) String() string {
	s := fmt.Sprintf("seed %d:", p.Seed)
	for i, c := range p.Casts {
		s += fmt.Sprintf(" %d=%v/%v", i, c.Kind, c.Span)
		if c.Auto {
			s += "/auto"
		}
		if c.Skew != 0 {
			s += fmt.Sprintf("/clock%+v", c.Skew)
		}
	}
	for _, e := range p.Events {
		s += fmt.Sprintf("; %.1fs %v", e.At.Seconds(), e.Act)
		switch e.Act {
		case Partition, Heal, Lossy, Sound:
		default:
			s += fmt.Sprint(" ", e.Who)
		}
	}
	return s
}
