package sim

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/node/launch"
	"github.com/baichuan-node/baichuan-node/shard/store"
	"github.com/baichuan-node/baichuan-node/sim/wire"
)

// What may become of a node.
const (
	healthy = ""
	killed  = "killed"
	hung    = "hung"
	left    = "left"
)

// swarm is processes that serve the model. It is safe for concurrent use.
type swarm struct {
	stage *stage
	cast  cast
	group *launch.Group
	net   *wire.Net // between the nodes' homes; nil: all are one machine

	mu      sync.Mutex
	started int        // guarded by mu
	nodes   []*process // guarded by mu; also those that are gone
}

// process is a node.
type process struct {
	*launch.Process
	spec  nodeSpec
	span  store.Span
	peer  peer.ID
	ready launch.Ready
	home  *wire.Home // nil: it lives where all do

	mu    sync.Mutex
	fate  string   // guarded by mu
	held  bool     // guarded by mu; it has been held up, and may have computed what was given to another meanwhile
	count Counters // guarded by mu; as last read
}

// newSwarm starts some copies of each span and waits until all accept requests; of 0 copies nobody is started.
func newSwarm(ctx context.Context, st *stage, c cast) (_ *swarm, err error) {
	group, err := launch.NewGroup(launch.Config{})
	if err != nil {
		return nil, err
	}
	w := &swarm{stage: st, cast: c, group: group}
	if c.link != nil {
		w.net = wire.New(st.cfg.Seed, c.link(0))
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	if c.copies == 0 {
		return w, nil
	}
	if _, err = w.start(ctx, st.spans()[:1]); err != nil {
		return nil, err
	}
	var rest []store.Span
	for range c.copies {
		rest = append(rest, st.spans()...)
	}
	_, err = w.start(ctx, rest[1:])
	return w, err
}

// spans are those that the model is cut into.
func (st *stage) spans() (all []store.Span) {
	for i := 0; i < st.model.Manifest.Layers; i += st.layers {
		all = append(all, store.Span{Start: i, End: min(i+st.layers, st.model.Manifest.Layers)})
	}
	return all
}

// start starts a node for each span and waits until all accept requests. Each has the first identity of the home that
// no other uses: that of one that was killed, if there is one, as a node has that is started again.
func (w *swarm) start(ctx context.Context, spans []store.Span, more ...string) ([]*process, error) {
	var wanted []nodeSpec
	for _, span := range spans {
		wanted = append(wanted, nodeSpec{span: span, layers: span.String(), home: w.stage.home, args: more})
	}
	return w.launch(ctx, wanted...)
}

// nodeSpec is a node that is to be started.
type nodeSpec struct {
	span   store.Span // that it is told to serve; empty: it chooses
	layers string     // as --layers has it
	home   string
	args   []string // more of them
}

// launch starts nodes and waits until all accept requests.
func (w *swarm) launch(ctx context.Context, wanted ...nodeSpec) ([]*process, error) {
	args := []string{"--threads", "1", "--metrics", "127.0.0.1:0", "--kv-tokens", fmt.Sprint(cacheTokens)}
	for _, n := range w.living() {
		args = append(args, "--join", n.ready.Addrs[0])
	}
	var started []*process
	for _, spec := range wanted {
		n, home, own, err := w.next()
		if err != nil {
			return nil, err
		}
		model := w.stage.model.ID.String()
		if spec.home == w.stage.home {
			model = w.stage.model.Name
		}
		p, err := w.group.Start(launch.Command{
			Name: "a node of layers " + spec.layers, Binary: w.stage.cfg.Binary,
			Args:    slices.Concat([]string{"serve", model, "--layers", spec.layers}, args, own, spec.args),
			Env:     append([]string{"BAICHUAN_HOME=" + spec.home, "BAICHUAN_LOG_LEVEL=warn"}, w.stage.cfg.Env...),
			Without: w.stage.cfg.Without, Stderr: w.stage.logs.of(fmt.Sprintf("node %d, %s", n, spec.layers)),
		})
		if err != nil {
			return nil, err
		}
		started = append(started, &process{Process: p, spec: spec, span: spec.span, home: home})
	}
	return started, w.await(ctx, started)
}

// await waits until nodes accept requests, and takes them among the swarm's.
func (w *swarm) await(ctx context.Context, started []*process) error {
	for _, n := range started {
		var err error
		if n.ready, err = n.Ready(ctx); err != nil {
			return err
		}
		if n.peer, err = peer.Decode(n.ready.Peer); err != nil {
			return fmt.Errorf("the ready file's peer: %w", err)
		}
		w.mu.Lock()
		w.nodes = append(w.nodes, n)
		w.mu.Unlock()
	}
	return nil
}

// next gives the number of the next node, its home, and the arguments that it has beside those of all.
func (w *swarm) next() (n int, home *wire.Home, args []string, err error) {
	w.mu.Lock()
	w.started++
	n = w.started
	w.mu.Unlock()
	args = []string{"--listen", "/ip4/127.0.0.1/tcp/0"}
	if w.net != nil {
		if home, err = w.net.Home(w.cast.link(n)); err != nil {
			return 0, nil, nil, err
		}
		args = []string{"--listen", address(home.Inside()), "--announce", address(home.Door())}
	}
	if w.cast.args != nil {
		args = append(args, w.cast.args(n)...)
	}
	return n, home, args, nil
}

// address writes where somebody listens over TCP as peers do.
func address(at netip.AddrPort) string { return fmt.Sprintf("/ip4/%v/tcp/%d", at.Addr(), at.Port()) }

// close ends all processes. Those that hang are killed: they could not leave.
func (w *swarm) close() error {
	if w.net != nil {
		w.net.Cut(nil) // else they could not say goodbye
	}
	for _, n := range w.all() {
		if n.is() == hung {
			n.Kill()
		}
	}
	err := w.group.Stop()
	if w.net != nil {
		err = errors.Join(err, w.net.Close())
	}
	return err
}

func (w *swarm) all() []*process {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.nodes)
}

// living lists the nodes to which nothing has happened.
func (w *swarm) living() []*process {
	return slices.DeleteFunc(w.all(), func(n *process) bool { return n.is() != healthy })
}

// of gives the newest process that is or was a peer.
func (w *swarm) of(id peer.ID) *process {
	if n := newest(w.all(), id); n != nil {
		return n
	}
	panic("sim: a chain leads to a peer that is none of ours: " + id.String())
}

// newest gives the newest of some processes that is or was a peer; nil: none was.
func newest(of []*process, id peer.ID) *process {
	for _, n := range slices.Backward(of) {
		if n.peer == id {
			return n
		}
	}
	return nil
}

// first gives the first process that is or was a peer; nil: none was.
func (w *swarm) first(id peer.ID) *process {
	for _, n := range w.all() {
		if n.peer == id {
			return n
		}
	}
	return nil
}

// others lists the living nodes of a span but one.
func (w *swarm) others(but *process) []*process {
	return slices.DeleteFunc(w.living(), func(n *process) bool { return n == but || n.span != but.span })
}

// counts reads all nodes' counters. Those of a node that does not answer are as they were last.
func (w *swarm) counts(ctx context.Context) (all []Node) {
	for _, n := range w.all() {
		fate := n.is()
		c := n.last()
		if fate == healthy {
			if now, err := n.counters(ctx); err == nil {
				c = now
			} else {
				fate = "silent: " + err.Error()
			}
		}
		all = append(all, Node{Peer: n.ready.Peer, Layers: n.ready.Layers, PID: n.ready.PID, Fate: fate, Counters: c})
	}
	return all
}

func (n *process) is() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.fate
}

func (n *process) last() Counters {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.count
}

// meets takes down what becomes of a node.
func (n *process) meets(fate string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.fate = fate
}

// hang holds the node up.
func (n *process) hang() error {
	n.meets(hung)
	return n.Pause()
}

// holdFor holds the node up for a while.
func (n *process) holdFor(ctx context.Context, while time.Duration) error {
	if err := n.hang(); err != nil {
		return err
	}
	select {
	case <-time.After(while):
	case <-ctx.Done(): // it goes on nevertheless, as it could not leave
	}
	if err := n.Resume(); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.fate, n.held = healthy, true
	return nil
}

// wasHeld says whether the node has been held up for a while.
func (n *process) wasHeld() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.held
}

// leaves tells the node to leave.
func (n *process) leaves() {
	n.meets(left)
	n.Terminate()
}

// hasLeft waits until the node has left, and says if it takes longer than it may.
func (n *process) hasLeft(limit time.Duration) error {
	select {
	case <-n.Exited():
		return nil
	case <-time.After(limit):
		return fmt.Errorf("node %d has not left after %v", n.PID(), limit)
	}
}

// computed waits until the node has computed some tokens, or does not tell any more.
func (n *process) computed(ctx context.Context, tokens int) {
	for ctx.Err() == nil {
		if c, err := n.counters(ctx); err != nil || c.Computed >= tokens {
			return
		}
		time.Sleep(countPoll)
	}
}

// addrInfo says how a node is reached.
func addrInfo(r launch.Ready) (*peer.AddrInfo, error) {
	info, err := peer.AddrInfoFromString(r.Addrs[0])
	if err != nil {
		return nil, fmt.Errorf("the ready file's address: %w", err)
	}
	return info, nil
}
