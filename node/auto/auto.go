// Package auto has a node choose by itself which layers it serves, and move when that helps the swarm more.
//
// What to do is decided by package placement. A [Driver] asks it whenever something has changed, and does what it says,
// in this order: it announces where it is going, loads beside what it serves, has others promise to stay, and only then
// leaves. So several newcomers do not all choose the same, and no move opens a gap. The driver never touches a shard or a
// socket: a [Host] does.
package auto

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing/placement"
)

// Host is what a Driver drives: a node with its directory. Only Load takes long; Load and Ask are called from goroutines
// of their own, View and Serving by several.
type Host interface {
	// View is what is known of the others, and how long that lasts at most: then somebody's offer ends.
	View() (v placement.View, lasts time.Duration)
	// Changed is closed when View says something else than when Changed was called.
	Changed() <-chan struct{}
	// Rate is how many tokens/s go through one layer, as far as is known; 0: it is not.
	Rate() int64
	// Serving reports whether the node takes sessions: not while its owner has it paused, nor once it leaves.
	Serving() bool

	// Aim tells the swarm where the node is going to be: where it is, if it stays after all; nowhere, if it has nothing yet
	// and can't load.
	Aim(ctx context.Context, to protocol.Span) error
	// Load makes a span ready beside what is served. An error leaves nothing behind; one that wraps ErrLater is worth another
	// try although nothing is served yet.
	Load(ctx context.Context, span protocol.Span) error
	// Drop lets go of what was loaded and is not served.
	Drop()
	// Ask asks a peer to stay, and reports whether it gives its word.
	Ask(ctx context.Context, p placement.Pledge) bool
	// Serve has the node serve what was loaded, and nothing else.
	Serve(ctx context.Context, why string) error
}

// ErrLater is in errors of what may work later: the parts that lack are on peers that can't be reached now.
var ErrLater = errors.New("not now")

// Later is an error that says the same, and wraps ErrLater as well.
func Later(err error) error { return later{err} }

type later struct{ error }

func (l later) Unwrap() []error { return []error{l.error, ErrLater} }

// Config says what a node may choose from.
type Config struct {
	// ID is the peer's, as views have it. Required.
	ID string
	// Choices are the spans that it could serve, by their start. A single one: it stays there. Required.
	Choices []protocol.Span
	// Loading is what loading the longest of them is expected to take, until one has been loaded. Default: no time.
	Loading time.Duration
	// Plans are remembered for several nodes, as simulations have them. Nil: the node has its own.
	Plans *placement.Plans
	// Log is told what is decided, and why. Required.
	Log *slog.Logger
}

// Driver has a node choose its layers. Make one with New; Join, then Run, are for one goroutine; Pledge is for any.
type Driver struct {
	host  Host
	cfg   Config
	begun time.Time

	mu     sync.Mutex // guards the following
	self   placement.Self
	memory placement.Memory
	left   bool // no word is given any more

	// Of the goroutine in Join or Run.
	loading *loading // nil: none is under way
	said    string
	aimed   time.Duration // when the target was announced
	why     string        // it was
	fails   int           // of loads and moves, running
	rest    time.Duration // after a failure: nothing is begun before
	ease    time.Duration // after a decision: none is made before
}

// New makes a driver that has done nothing yet.
func New(h Host, cfg Config) *Driver {
	// Placement counts from any beginning. An hour ago leaves room for what is to have been before.
	d := &Driver{host: h, cfg: cfg, begun: time.Now().Add(-time.Hour)}
	d.memory.Plans = cfg.Plans
	d.self = placement.Self{ID: cfg.ID, Choices: cfg.Choices, Loading: cfg.Loading}
	return d
}

// now is the time as placement counts it.
func (d *Driver) now() time.Duration { return time.Since(d.begun) }

// Join announces and loads the first span, and returns it, to be served by the caller. An error is that of a load that
// waiting would not mend, or ctx's.
func (d *Driver) Join(ctx context.Context) (span protocol.Span, why string, err error) {
	for {
		if held := d.know().Held; held.Len() > 0 {
			return held, d.why, nil
		}
		if err := d.step(ctx); err != nil {
			d.drop()
			return span, "", err
		}
	}
}

// Run moves the node while that pays, until ctx ends. From then on it gives no word.
func (d *Driver) Run(ctx context.Context) {
	defer func() {
		d.mu.Lock()
		d.left = true
		d.mu.Unlock()
		d.drop()
	}()
	if len(d.cfg.Choices) == 1 {
		<-ctx.Done()
		return
	}
	for d.step(ctx) == nil {
	}
}

// know is what the driver knows of its node.
func (d *Driver) know() placement.Self {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.self
}

// Pledge answers a peer that asks this one to go on serving layers. Who does not serve them itself has no reason to ask.
func (d *Driver) Pledge(asker protocol.PeerID, layers protocol.Span, want time.Duration) bool {
	if want > PledgeFor || !d.host.Serving() || !d.holds(string(asker), layers) {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.left && d.memory.Promise(d.self, string(asker), layers, d.now())
}

// holds reports whether a peer serves layers, as far as is known.
func (d *Driver) holds(id string, layers protocol.Span) bool {
	v, _ := d.host.View()
	for _, p := range v.Peers {
		if p.ID == id {
			return layers.Start >= p.Held.Start && layers.End <= p.Held.End
		}
	}
	return false
}
