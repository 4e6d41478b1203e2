package virtual

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/baichuan-node/baichuan-node/kernels"
	"github.com/baichuan-node/baichuan-node/node"
	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
	"github.com/baichuan-node/baichuan-node/shard"
	"github.com/baichuan-node/baichuan-node/shard/store"
	"github.com/baichuan-node/baichuan-node/sim/simnet"
)

// player is one node of the plan: an identity, and the process that runs under it now, if one does.
type player struct {
	world *world
	name  int
	cast  Cast
	key   crypto.PrivKey
	id    peer.ID
	addr  ma.Multiaddr

	up      bool          // guarded by the world's mutex, as the following
	since   time.Time     // it is up, or down
	span    protocol.Span // that it serves; none before it has chosen
	settled time.Time     // since when it serves that
	doing   string        // in words
	run     *process

	before *process // what ran before; the playing goroutine's, as the following
	wanted bool     // the player is to be started when that has ended
	starts int
}

// process is what runs under an identity from a start to an end.
type process struct {
	host *simnet.Host
	dir  *routing.Directory
	pace *pacer
	stop context.CancelFunc
	done chan struct{} // closed when nothing of it runs any more
}

// drainFor is how long a node that leaves goes on with its sessions.
const drainFor = 10 * time.Second

// cacheTokens is a node's room: for three of the longest conversations. Nothing is as dear to load as the memory for it.
const cacheTokens = 1024

func (w *world) newPlayer(i int, c Cast) (*player, error) {
	key, addr, err := w.keyOf(i + 1)
	if err != nil {
		return nil, err
	}
	id, err := peer.IDFromPrivateKey(key)
	if err != nil {
		return nil, err
	}
	return &player{world: w, name: i, cast: c, key: key, id: id, addr: addr}, nil
}

// start starts the player's process, or sees to it that it is started when the one before has left. It does nothing if one
// runs.
func (p *player) start(ctx context.Context) error {
	if p.run != nil {
		return nil
	}
	p.wanted = p.before != nil && !p.before.ended()
	if p.wanted {
		return nil
	}
	h, err := p.world.net.Host(p.key, p.addr)
	if err != nil {
		return err
	}
	skew := p.cast.Skew
	if p.starts++; p.starts%2 == 0 {
		skew = -skew // somebody has set the clock
	}
	d, err := p.world.directory(ctx, h, true, skew)
	if err != nil {
		return errors.Join(err, h.Close())
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r := &process{host: h, dir: d, pace: &pacer{Device: kernels.NewCPU(1), tables: p.world.model.device}, stop: cancel, done: make(chan struct{})}
	r.pace.perRow.Store(int64(p.cast.Pace))
	doors := p.world.doors(p.id)
	p.world.mu.Lock()
	p.run, p.up, p.since, p.doing = r, true, time.Now(), "knocks"
	p.world.mu.Unlock()
	p.world.ending.Go(func() {
		defer close(r.done)
		err := errors.Join(p.live(ctx, r, doors), d.Close(), h.Close(), r.pace.Close())
		if err != nil {
			p.world.wrong("node %d: %v", p.name, err)
		}
	})
	return nil
}

// ended says whether nothing of a process runs any more.
func (r *process) ended() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// live is the life of a process. Like `serve` it knocks until somebody opens; who has given it addresses gives it others when
// all those have gone.
func (p *player) live(ctx context.Context, r *process, doors []peer.AddrInfo) error {
	for ; len(doors) > 0 && r.dir.Join(ctx, doors) != nil; doors = append(doors, p.world.doors(p.id)...) {
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return nil
		}
	}
	p.does("has joined")
	switch p.cast.Kind {
	case Honest, Babbler:
		return p.serve(ctx, r)
	case Forger:
		return p.forge(ctx, r)
	}
	return p.brag(ctx, r)
}

// serve runs a real node.
func (p *player) serve(ctx context.Context, r *process) error {
	cfg := node.DefaultConfig(p.world.model.stored)
	cfg.DrainFor = drainFor
	cfg.Log = slog.New(slog.DiscardHandler)
	perLayer := float64(time.Second) / float64(p.cast.Pace)
	cfg.Speed = node.Speed{Decode: perLayer, Prefill: perLayer, Head: perLayer}
	var h host.Host = r.host
	if p.cast.Kind == Babbler {
		h = &babbling{Host: h, world: p.world}
	}
	cfg.Fixed = !p.cast.Auto
	return (&mover{player: p, host: h, dir: r.dir, pace: r.pace, cfg: cfg}).run(ctx)
}

// load loads some layers.
func (p *player) load(on *pacer, span store.Span) (*shard.Shard, error) {
	return shard.Load(context.Background(), p.world.model.stored, span, on, shard.Config{CacheTokens: cacheTokens})
}

// choices are the spans that a node of the cast may choose from.
func (p *player) choices() (all []protocol.Span) {
	if !p.cast.Auto {
		return []protocol.Span{p.cast.Span}
	}
	for n, start := p.cast.Span.Len(), 0; start+n <= Layers; start++ {
		all = append(all, protocol.Span{Start: start, End: start + n})
	}
	return all
}

// serves takes down which layers the player serves.
func (p *player) serves(span protocol.Span) {
	p.world.mu.Lock()
	defer p.world.mu.Unlock()
	p.span, p.settled, p.doing = span, time.Now(), "serves"
}

// does takes down what the player does, for whoever wonders why it is not known.
func (p *player) does(what string) {
	p.world.mu.Lock()
	defer p.world.mu.Unlock()
	p.doing = what
}

func (p *player) moved() {
	p.world.mu.Lock()
	defer p.world.mu.Unlock()
	p.world.report.Moves++
	p.world.note("node %d has moved to %v", p.name, p.span)
}

// over takes down that the player's process is down, or about to be.
func (p *player) over() *process {
	p.world.mu.Lock()
	defer p.world.mu.Unlock()
	r := p.run
	if r != nil {
		p.run, p.before, p.up, p.since, p.span = nil, r, false, time.Now(), protocol.Span{}
	}
	return r
}

// leave tells the process to leave, which may take a while.
func (p *player) leave() {
	if r := p.over(); r != nil {
		r.stop()
	}
}

// kill ends the process, crash its machine. The identity is free at once: the old process comes to its end without a
// network.
func (p *player) kill() {
	if r := p.over(); r != nil {
		r.host.Kill()
		r.stop()
		p.before = nil
	}
}

func (p *player) crash() {
	if r := p.over(); r != nil {
		r.host.Crash()
		r.stop()
		p.before = nil
	}
}

// slow makes the process's link and device slow, and quick again.
func (p *player) slow(slow bool) {
	if p.run == nil {
		return
	}
	if slow {
		p.run.host.Slow(300*time.Millisecond, 1<<20)
		p.run.pace.perRow.Store(int64(10 * p.cast.Pace))
		return
	}
	p.run.host.Slow(0, 0)
	p.run.pace.perRow.Store(int64(p.cast.Pace))
}
