// Package node is the volunteer's server: it answers sessions over a loaded shard, announces what it serves, counts
// what it does, and leaves without cutting anybody off.
//
// Each session stream has a goroutine that reads and one that writes. What they may not do at once is guarded by one
// mutex: the books of package session and the queue. One goroutine owns the device and every cache; it takes the
// steps that wait in turns and computes them together. All of them are started by [Node.Run], which waits for them.
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

	"github.com/baichuan-node/baichuan-node/node/session"
	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
	"github.com/baichuan-node/baichuan-node/shard"
)

// service is what the resource manager accounts our streams to.
const service = "baichuan-session"

// Node serves a shard. Make one with New; its methods are safe for concurrent use.
type Node struct {
	host      host.Host
	directory *routing.Directory
	shard     *shard.Shard // the compute goroutine's alone once Run has begun, but for what never changes
	cfg       Config
	log       *slog.Logger
	limits    protocol.Limits
	maxFrame  int // bytes
	tokenizer []byte
	metrics   *metrics

	ctx      context.Context // of streams and of computing: ends when draining is over
	end      context.CancelFunc
	work     chan struct{}  // tells the compute goroutine to look at the queue; holds one
	handlers sync.WaitGroup // streams

	mu       sync.Mutex // guards all below
	started  bool
	draining bool
	closed   bool // no new streams
	table    *session.Table
	queue    queue
	pace     pace
	busy     bool            // steps are being computed
	settled  chan struct{}   // closed and replaced whenever steps are done
	streams  map[peer.ID]int // session streams
}

// New makes a node of a loaded shard, after computing a token with it and, unless the Config knows, measuring how fast it
// is, for a second or two. The host,
// the directory and the shard stay the caller's, to be closed after Run has returned.
func New(h host.Host, d *routing.Directory, s *shard.Shard, cfg Config) (*Node, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configure the node: %w", err)
	}
	tokenizer, err := cfg.Model.Tokenizer()
	if err != nil {
		return nil, err
	}
	speed, err := cfg.speedOf(s)
	if err != nil {
		return nil, fmt.Errorf("compute a token as a self-test: %w", err)
	}
	m := s.Manifest()
	n := &Node{
		host: h, directory: d, shard: s, cfg: cfg, log: cfg.Log, tokenizer: tokenizer, pace: pace{announced: speed, now: speed},
		limits: protocol.Limits{
			Model: protocol.ModelID(cfg.Model.ID), Layers: m.Layers, Hidden: m.Hidden, Vocab: m.Vocab, Context: m.Context,
		},
		table: session.New(session.Config{
			Layers: m.Layers, Context: m.Context, Tokens: s.CacheFree(),
			PerPeer: cfg.SessionsPerPeer, Total: cfg.Sessions, Idle: cfg.Idle,
		}),
		work: make(chan struct{}, 1), settled: make(chan struct{}), streams: make(map[peer.ID]int),
	}
	n.maxFrame = maxFrameBytes(n.limits)
	n.ctx, n.end = context.WithCancel(context.Background())
	n.metrics = newMetrics(func() float64 { return float64(n.Stats().Sessions) })
	return n, nil
}

// Run serves until ctx ends, then leaves: it withdraws the offer, takes no new session, goes on answering those that
// are in the midst of an answer for at most Config.DrainFor, and ends all that it has started. It runs once.
func (n *Node) Run(ctx context.Context) error {
	n.mu.Lock()
	again := n.started
	n.started = true
	n.mu.Unlock()
	if again {
		return errors.New("run the node: it has been run before")
	}
	var own sync.WaitGroup
	own.Go(func() { n.compute(n.ctx) })
	own.Go(func() { n.tend(n.ctx) })
	stopBlobs := n.serveBlobs()
	n.host.SetStreamHandler(protocol.SessionID, n.handle)

	n.announce(ctx)
	n.cfg.Ready()
	<-ctx.Done()

	leave, cancel := context.WithTimeout(context.WithoutCancel(ctx), n.cfg.DrainFor)
	if err := n.directory.Withdraw(leave); err != nil {
		n.log.Debug("nobody has heard that this node leaves", "error", err)
	}
	n.drain(leave)
	cancel()
	n.host.RemoveStreamHandler(protocol.SessionID)
	stopBlobs()
	n.mu.Lock()
	n.closed = true
	n.mu.Unlock()
	n.end()
	n.handlers.Wait()
	own.Wait()
	return nil
}

// Drain refuses new sessions from now on, tells the swarm so, and waits until no session is in the midst of an answer
// or ctx ends. The node goes on serving those that it has.
func (n *Node) Drain(ctx context.Context) {
	n.mu.Lock()
	n.draining = true
	n.mu.Unlock()
	n.announce(ctx)
	n.drain(ctx)
}

// drain is Drain without a word to the swarm, which has been told more already when the node leaves.
func (n *Node) drain(ctx context.Context) {
	n.mu.Lock()
	n.draining = true
	n.mu.Unlock()
	poll := time.NewTicker(drainPoll)
	defer poll.Stop()
	for n.answering() {
		select {
		case <-poll.C:
		case <-ctx.Done():
			return
		}
	}
}

// answering says whether steps wait or run, or some session had one a moment ago.
func (n *Node) answering() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.busy || n.queue.steps > 0 || n.table.Active(time.Now().Add(-drainQuiet))
}

// Stats is what a node can tell about itself.
type Stats struct {
	State     protocol.State
	Sessions  int
	Queue     int // steps that wait
	CacheFree int // tokens that no session has been promised
	Speed     Speed
}

// Stats tells how the node is doing.
func (n *Node) Stats() Stats {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := Stats{
		State: protocol.Online, Sessions: n.table.Len(), Queue: n.queue.steps, CacheFree: n.table.Free(), Speed: n.pace.announced,
	}
	if n.draining {
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
			expired := n.table.Expire(now)
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

// openSession begins or changes the session that a stream carries, in the books, and attaches the stream to it.
func (n *Node) openSession(st *stream, m protocol.Open) (*session.Session, error) {
	now := time.Now()
	id := session.ID{Owner: st.owner, Key: m.Session}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.draining && n.table.Find(id) == nil {
		return nil, refusal(protocol.CodeDraining, "this node takes no new sessions: it is leaving")
	}
	s, err := n.table.Open(now, st.owner, m)
	if err != nil {
		return nil, err
	}
	if st.session != s {
		if st.session != nil {
			st.session.Detach(now) // it was forgotten, and has been opened anew
		}
		s.Attach(now)
		st.session = s
		n.host.ConnManager().Protect(st.owner, protectTag(m.Session))
	}
	n.refuseQueued(s, func(j *job) bool { return j.in.Epoch < s.Epoch() }, "the session is in a newer epoch")
	return s, nil
}

// closeSession ends a session at its owner's wish.
func (n *Node) closeSession(s *session.Session) {
	n.mu.Lock()
	n.table.Close(s)
	n.refuseQueued(s, func(*job) bool { return true }, "the session has been closed")
	n.mu.Unlock()
	n.wake()
}

// refuseQueued answers waiting steps of a session, which must not wait for their turn to hear it. Called with the mutex
// held.
func (n *Node) refuseQueued(s *session.Session, which func(*job) bool, why string) {
	for _, j := range n.queue.drop(s, which) {
		j.fail(refusal(protocol.CodeLostSession, "%s", why))
		j.stream.outcomes <- j
	}
}

// detach takes a stream from its session, and from the queue what it had brought.
func (n *Node) detach(st *stream) {
	n.mu.Lock()
	defer n.mu.Unlock()
	st.session.Detach(time.Now())
	n.queue.drop(st.session, func(j *job) bool { return j.stream == st })
}

// enqueue queues a step; it says no if too many of its session wait.
func (n *Node) enqueue(j *job) bool {
	n.mu.Lock()
	ok := n.queue.push(j)
	n.mu.Unlock()
	n.wake()
	return ok
}

// enqueueHead queues a request for logits.
func (n *Node) enqueueHead(h *headJob) {
	n.mu.Lock()
	n.queue.heads = append(n.queue.heads, h)
	n.mu.Unlock()
	n.wake()
}

// protectTag keeps the connection manager from closing the connection that a session needs.
func protectTag(k protocol.Key) string { return fmt.Sprintf("session/%x", k[:]) }

// maxFrameBytes is the largest frame that a client may send: an open with all ids, or a chunk of rows with theirs.
func maxFrameBytes(l protocol.Limits) int {
	open := protocol.MaxOfferBytes + 4*l.Context
	push := protocol.MaxStepRows * (4 + 1 + 2*l.Hidden)
	return protocol.MaxHeaderBytes + max(open, push)
}
