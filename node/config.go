package node

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/baichuan-node/baichuan-node/node/parts"
	"github.com/baichuan-node/baichuan-node/node/session"
	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
	"github.com/baichuan-node/baichuan-node/shard/store"
)

// Config is what a volunteer decides about a node. DefaultConfig fills in all but Model.
type Config struct {
	// Model is what the shard was loaded from: peers ask for its manifest and tokenizer. Required.
	Model *store.Model
	// Nick is shown to others beside the peer's id. At most 64 bytes; default none.
	Nick string
	// NetRate is the upload that the node may use, in bytes/s, as it stands in the offer. Default 0: not said.
	NetRate uint64
	// Fixed says that the owner has chosen the layers: the node moves for nobody, as its offer says. Default false.
	Fixed bool
	// Capacity is how many layers the machine could hold, as it stands in the offer. Default 0: as many as it serves.
	Capacity int
	// Parts hands out the model's parts, and paces all that leaves in bulk; it stays the caller's to close. Default nil: Run
	// starts one of its own, within NetRate.
	Parts *parts.Server
	// Speed is how fast the shard is known to be on this machine, as Stats told once. Default zero: New measures it.
	Speed Speed

	// Sessions and SessionsPerPeer bound what is open at once, in all (default 256) and of one peer (default 64). An
	// open beyond it is refused as busy.
	Sessions, SessionsPerPeer int
	// Idle is after how long without a step a session is forgotten. Default 5 minutes. The client replays then.
	Idle time.Duration
	// DrainFor is how long Run, once its context has ended, goes on serving sessions that are in use and have not gone
	// elsewhere yet. Default a minute: that is what handing over a long session's cache takes at home. It ends as soon as
	// none is left, and whoever can't wait sends the signal again.
	DrainFor time.Duration

	// Process is what the metrics tell of the process beside the node. Default: nothing.
	Process Process

	// LosePush is for simulations: it is asked before each frame to a next hop, by several goroutines, and true breaks the
	// stream in the middle of that frame. Default: no frame is lost.
	LosePush func() bool
	// Ready is called once, when requests are accepted and the node has been announced. Default: nobody is told.
	Ready func()
	// Log gets what a volunteer may want to know. Default slog.Default().
	Log *slog.Logger
}

// Process is what a process knows that runs a node, for its metrics.
type Process struct {
	Version, Commit string           // of the program
	Traffic         *routing.Traffic // of the host; nil: it is not counted
	Fetcher         *parts.Fetcher   // of the model's parts; nil: none are fetched
}

// DefaultConfig is the config of a node that serves model.
func DefaultConfig(model *store.Model) Config {
	return Config{
		Model: model, Sessions: session.DefaultTotal, SessionsPerPeer: session.DefaultPerPeer, Idle: session.DefaultIdle,
		DrainFor: drainFor, Ready: func() {}, Log: slog.Default(),
	}
}

// Validate reports all faults at once.
func (c Config) Validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(c.Model != nil, "no model")
	check(len(c.Nick) <= protocol.MaxNickBytes, "the nick has %d bytes, at most %d are allowed", len(c.Nick), protocol.MaxNickBytes)
	check(c.NetRate <= protocol.MaxNetRate, "a net rate of %d bytes/s is beyond %d", c.NetRate, uint64(protocol.MaxNetRate))
	check(c.Capacity >= 0 && c.Capacity <= protocol.MaxLayers, "a capacity of %d layers: want 0 to %d", c.Capacity, protocol.MaxLayers)
	check(c.Speed.Decode >= 0 && c.Speed.Prefill >= 0 && c.Speed.Head >= 0, "a speed of %v tokens/s: want 0 or more", min(c.Speed.Decode, c.Speed.Prefill, c.Speed.Head))
	check(c.Sessions > 0, "%d sessions: want at least 1", c.Sessions)
	check(c.SessionsPerPeer > 0, "%d sessions for each peer: want at least 1", c.SessionsPerPeer)
	check(c.Idle > 0, "sessions are forgotten after %v: want more than 0", c.Idle)
	check(c.DrainFor >= 0, "draining takes %v: want 0 or more", c.DrainFor)
	check(c.Ready != nil, "no function to call when ready")
	check(c.Log != nil, "no log")
	return errors.Join(errs...)
}
