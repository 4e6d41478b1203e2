// Package node is the volunteer's server: it answers sessions over a loaded shard, announces what it serves, counts
// what it does, and leaves without cutting anybody off.
//
// Each stream has a goroutine that reads: a control stream of a session's owner, or a push stream on which a neighbour
// sends rows. Each session has a goroutine, its [hop]'s, that sends what leaves the node for it. What they may not do at
// once is guarded by one mutex: the books of package session and the queue. One goroutine owns the device and every cache;
// it takes the steps that wait in turns and computes them together. All of them are started by [Node.Run], which waits
// for them.
//
// A node that moves to other layers ([Node.Move]) holds several shards, until the last session has left the old ones.
//
// A node knows ids and rows. Text, sampling's draw and the other hops of a chain are the client's.
package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/node/parts"
	"github.com/baichuan-node/baichuan-node/node/session"
	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
	"github.com/baichuan-node/baichuan-node/shard"
)

// What the resource manager accounts our streams to.
const (
	service     = "baichuan-session"
	pushService = "baichuan-push"
)

// Node serves a shard, or several while it moves. Make one with New; its methods are safe for concurrent use.
type Node struct {
	host      host.Host
	directory *routing.Directory
	cfg       Config
	log       *slog.Logger
	limits    protocol.Limits
	maxFrame  int // bytes
	kvBytes   int // of a token's keys and values in a layer, as they are handed over
	metrics   *metrics
	asks      *routing.Pacer // of peers for what is not computing

	ctx      context.Context // of streams and of computing: ends when draining is over
	end      context.CancelFunc
	work     chan struct{}  // tells the compute goroutine to look at the queue; holds one
	telling  chan struct{}  // holds one while the swarm is told what the node is up to
	handlers sync.WaitGroup // streams and hops
	retirees sync.WaitGroup // shards that are given back

	mu       sync.Mutex // guards all below
	started  bool
	paused   bool      // no new sessions until Resume
	leaving  bool      // no new sessions any more
	closed   bool      // no new streams
	leaveBy  time.Time // until when sessions are served, if it is paused or leaving
	berths   []*berth  // the last one takes new sessions, those before it retire
	target   protocol.Span
	progress uint64 // of the shards that have been given back
	table    *session.Table
	hops     map[*session.Session]*hop
	queue    queue
	pace     pace
	busyness busyness
	uplink   uplink
	busy     bool            // steps are being computed
	passEnd  time.Time       // of the last pass
	passTook time.Duration   // and what it took
	changed  chan struct{}   // closed and replaced whenever somebody may wait for what has changed
	streams  map[peer.ID]int // that the peer has opened
	early    map[peer.ID]int // of them, those whose frame waits for its session to be opened
	dials    map[peer.ID]dials
}

// New makes a node of a loaded shard, after computing a token with it and, unless the Config knows, measuring how fast it
// is, for a second or two. The host, the directory and the shard stay the caller's, to be closed after Run has returned; the
// shard after a Move when it has been given back.
func New(h host.Host, d *routing.Directory, s *shard.Shard, cfg Config) (*Node, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configure the node: %w", err)
	}
	speed, err := cfg.speedOf(s)
	if err != nil {
		return nil, fmt.Errorf("compute a token as a self-test: %w", err)
	}
	m := s.Manifest()
	n := &Node{
		host: h, directory: d, cfg: cfg, log: cfg.Log, pace: pace{announced: speed, now: speed},
		limits: protocol.Limits{
			Model: protocol.ModelID(cfg.Model.ID), Layers: m.Layers, Hidden: m.Hidden, Vocab: m.Vocab, Context: m.Context,
		},
		table: session.New(session.Config{
			Layers: m.Layers, Context: m.Context,
			PerPeer: cfg.SessionsPerPeer, Total: cfg.Sessions, Idle: cfg.Idle,
		}),
		berths: []*berth{newBerth(s)}, target: protocol.Span(s.Span()),
		work: make(chan struct{}, 1), telling: make(chan struct{}, 1), changed: make(chan struct{}), hops: make(map[*session.Session]*hop),
		streams: make(map[peer.ID]int), early: make(map[peer.ID]int), dials: make(map[peer.ID]dials),
	}
	n.maxFrame = maxFrameBytes(n.limits)
	n.asks = routing.NewPacer(askRate, askBurst)
	n.kvBytes = s.NewCache(s.Span()).PageBytes(s.Span().Start, protocol.PageTokens) / protocol.PageTokens
	n.uplink.Uplink = parts.NewUplink(cfg.NetRate)
	if cfg.Parts != nil {
		n.uplink.Uplink = cfg.Parts.Uplink()
		n.uplink.SetCap(cfg.NetRate)
	}
	n.ctx, n.end = context.WithCancel(context.Background())
	n.metrics = newMetrics(n)
	return n, nil
}

// Run serves until ctx ends, then leaves: it tells the sessions' owners and withdraws the offer, takes no new session,
// serves those that it has until the last has gone elsewhere, for at most Config.DrainFor, and ends all that it has
// started. It runs once.
func (n *Node) Run(ctx context.Context) error {
	n.mu.Lock()
	again := n.started
	n.started = true
	n.mu.Unlock()
	if again {
		return errors.New("run the node: it has been run before")
	}
	stopParts, err := n.handOut()
	if err != nil {
		return err
	}
	var own sync.WaitGroup
	own.Go(func() { n.compute(n.ctx) })
	own.Go(func() { n.tend(n.ctx) })
	n.host.SetStreamHandler(protocol.SessionID, n.handle)
	n.host.SetStreamHandler(protocol.PushID, n.handlePush)

	n.directory.TellLoad(n.Load)
	n.announce(ctx)
	n.cfg.Ready()
	<-ctx.Done()

	leave, cancel := context.WithTimeout(context.WithoutCancel(ctx), n.cfg.DrainFor)
	n.part(leave, &n.leaving)
	if err := n.tellSwarm(leave); err != nil {
		n.log.Debug("nobody has heard that this node leaves", "error", err)
	}
	if err := n.awaitParted(leave); err != nil {
		n.log.Info("this node leaves before its sessions have gone elsewhere", "error", err)
	}
	cancel()
	n.host.RemoveStreamHandler(protocol.SessionID)
	n.host.RemoveStreamHandler(protocol.PushID)
	stopParts()
	n.mu.Lock()
	n.closed = true
	n.mu.Unlock()
	n.end()
	n.handlers.Wait()
	own.Wait()
	n.retireAll()
	return nil
}

// Stats is what a node can tell about itself.
type Stats struct {
	State     protocol.State
	Sessions  int
	Queue     int           // steps that wait
	CacheFree int           // tokens that a new session may be promised
	Layers    protocol.Span // that new sessions are opened on
	Speed     Speed
}

// Stats tells how the node is doing.
func (n *Node) Stats() Stats {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := Stats{
		State: protocol.Online, Sessions: n.table.Len(), Queue: n.queue.steps,
		CacheFree: n.table.Available(time.Now(), n.current().tokens), Layers: n.current().span(), Speed: n.pace.announced,
	}
	if n.draining() {
		s.State = protocol.Draining
	}
	return s
}

// tend forgets idle sessions and keeps the offer's load up to date.
func (n *Node) tend(ctx context.Context) {
	tick := time.NewTicker(tendEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			n.mu.Lock()
			expired := n.table.Expire(now) + n.vacate(now)
			n.pace.announce()
			n.mu.Unlock()
			if expired > 0 {
				n.wake() // their caches are to be freed
			}
			n.refresh()
		}
	}
}

// enter admits a stream and counts it.
func (n *Node) enter(s network.Stream) bool {
	if err := s.Scope().SetService(service); err != nil {
		return false
	}
	from := s.Conn().RemotePeer()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed || n.streams[from] >= streamsPerPeer {
		return false
	}
	n.streams[from]++
	n.handlers.Add(1)
	return true
}

// evicted is how many sessions had to give way to others.
func (n *Node) evicted() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.table.Evicted()
}

// openStreams is how many streams peers have open here.
func (n *Node) openStreams() (all int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, of := range n.streams {
		all += of
	}
	return all
}

// leave counts a stream off.
func (n *Node) leave(s network.Stream) {
	from := s.Conn().RemotePeer()
	n.mu.Lock()
	if n.streams[from]--; n.streams[from] == 0 {
		delete(n.streams, from)
	}
	n.mu.Unlock()
	n.handlers.Done()
}

// watch gives a channel that is closed when something has changed that others may wait for.
func (n *Node) watch() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.changed
}

// broadcast wakes who waits for a change. Called with the mutex held.
func (n *Node) broadcast() {
	close(n.changed)
	n.changed = make(chan struct{})
}

// protectTag keeps the connection manager from closing the connection that a session needs.
func protectTag(k protocol.Key) string { return fmt.Sprintf("session/%x", k[:]) }

// rowBytes is the size of a token's row.
func (n *Node) rowBytes() int { return 2*n.limits.Hidden + 1 }

// maxFrameBytes is the largest frame that a peer may send: an open with all ids and names, or a chunk of rows with their
// ids.
func maxFrameBytes(l protocol.Limits) int {
	open := protocol.MaxOfferBytes + 4*l.Context + 32*(l.Context/protocol.PageTokens+1)
	push := protocol.MaxStepRows * (4 + 1 + 2*l.Hidden)
	return protocol.MaxHeaderBytes + max(open, push)
}
