package sim

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/host"

	"github.com/baichuan-node/baichuan-node/client"
	"github.com/baichuan-node/baichuan-node/client/local"
	"github.com/baichuan-node/baichuan-node/kernels"
	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
	"github.com/baichuan-node/baichuan-node/shard"
	"github.com/baichuan-node/baichuan-node/shard/sample"
	"github.com/baichuan-node/baichuan-node/shard/store"
	"github.com/baichuan-node/baichuan-node/sim/wire"
)

// question is a prompt and how it is to be answered.
type question struct {
	prompt  []uint32
	options client.Options
}

// someIDs makes n ids that look unlike each other and unlike those of another seed.
func someIDs(n int, seed uint32) []uint32 {
	ids := make([]uint32, n)
	for i := range ids {
		k := uint32(i) + 1000*seed
		ids[i] = 300 + (k*k*31+7*k)%3500
	}
	return ids
}

// ask makes a question of so many tokens, for an answer of so many.
func ask(prompt []uint32, answer int) question {
	return question{prompt, client.Options{
		MaxTokens: answer, Sampling: sample.Params{Temperature: 1, TopK: 50, TopP: 0.95, Penalty: 1.1}, Seed: 7, IgnoreEOS: true,
	}}
}

// equals compares what ask lets differ.
func (q question) equals(p question) bool {
	return q.options.MaxTokens == p.options.MaxTokens && slices.Equal(q.prompt, p.prompt)
}

// computes is how many tokens a node computes for the answer: the last is not computed.
func (q question) computes() int { return len(q.prompt) + q.options.MaxTokens - 1 }

// oracle is the whole model in this process, which nothing happens to. It is safe for concurrent use.
type oracle struct {
	model  *client.Model
	device *kernels.CPU
	shard  *shard.Shard

	mu   sync.Mutex      // one answer at a time
	last question        // guarded by mu; some scenarios ask the same again and again
	said *client.Outcome // guarded by mu; the answer to it
}

func newOracle(ctx context.Context, m *store.Model) (*oracle, error) {
	model, err := client.ModelOf(m)
	if err != nil {
		return nil, err
	}
	device := kernels.NewCPU(1)
	loaded, err := shard.Load(ctx, m, store.Span{End: m.Manifest.Layers}, device, shard.Config{CacheTokens: m.Manifest.Context})
	if err != nil {
		return nil, errors.Join(err, device.Close())
	}
	return &oracle{model: model, device: device, shard: loaded}, nil
}

func (o *oracle) close() error { return errors.Join(o.shard.Close(), o.device.Close()) }

// answers gives the right answer.
func (o *oracle) answers(ctx context.Context, q question) (*client.Outcome, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.said != nil && q.equals(o.last) {
		return o.said, nil
	}
	s, err := local.New(o.shard)
	if err != nil {
		return nil, err
	}
	out, err := generate(ctx, client.NewConversation(o.model, s), q)
	if err := errors.Join(err, s.Close()); err != nil {
		return nil, err
	}
	o.last, o.said = q, out
	return out, nil
}

func generate(ctx context.Context, c *client.Conversation, q question) (*client.Outcome, error) {
	for chunk, err := range c.Generate(ctx, q.prompt, q.options) {
		if err != nil {
			return nil, err
		}
		if chunk.Outcome != nil {
			return chunk.Outcome, nil
		}
	}
	return nil, errors.New("the answer has no end")
}

// scene is a swarm, its clients, and what becomes of their answers.
type scene struct {
	*swarm
	clients []*asker

	mu          sync.Mutex
	result      Step          // guarded by mu while several clients ask
	interrupted []interrupted // guarded by mu while several clients ask
}

// asker is a client with a host of its own.
type asker struct {
	*client.Client
	host      host.Host
	directory *routing.Directory
	home      *wire.Home // nil: it lives where all do
}

// join adds a client to the scene.
func (sc *scene) join(ctx context.Context) error {
	a, err := sc.newAsker(ctx, sc.living()...)
	if err != nil {
		return err
	}
	sc.clients = append(sc.clients, a)
	return nil
}

// newAsker connects a client to nodes.
func (sc *scene) newAsker(ctx context.Context, to ...*process) (_ *asker, err error) {
	var where routing.HostConfig
	var home *wire.Home
	if sc.net != nil { // who does not listen can't be told from others who don't
		if home, err = sc.net.Home(sc.cast.link(0)); err != nil {
			return nil, err
		}
		where.Listen, where.Announce = []string{address(home.Inside())}, []string{address(home.Door())}
	}
	h, err := routing.NewHost(where)
	if err != nil {
		return nil, err
	}
	d, err := routing.NewDirectory(ctx, h, routing.DirectoryConfig{})
	if err != nil {
		return nil, errors.Join(err, h.Close())
	}
	a := &asker{host: h, directory: d, home: home}
	cfg := client.Config{Model: sc.stage.model.ID.String()}
	for _, n := range to {
		info, err := addrInfo(n.ready)
		if err != nil {
			return nil, errors.Join(err, a.close())
		}
		cfg.Join = append(cfg.Join, *info)
	}
	if a.Client, err = client.Connect(ctx, h, d, cfg); err != nil {
		return nil, errors.Join(err, a.close())
	}
	return a, nil
}

func (a *asker) close() error {
	err := errors.Join(a.directory.Close(), a.host.Close())
	if a.home != nil {
		err = errors.Join(err, a.home.Close())
	}
	return err
}

// leave closes the clients.
func (sc *scene) leave() error {
	var errs []error
	for _, a := range sc.clients {
		errs = append(errs, a.close())
	}
	return errors.Join(errs...)
}

// watched is a Stepper whose steps others can meddle with.
type watched struct {
	client.Stepper
	begin   func()                                 // before a Begin; nil: nothing
	before  func(step int, chain []client.HopInfo) // before a step, counted from 0; nil: nothing
	steps   int
	origin  []client.HopInfo // the chain before the first step
	first   time.Duration    // that the first step took
	longest time.Duration    // of the other steps
	took    []time.Duration  // each of them

	swarm       *swarm
	interrupted []interrupted // since the last Begin
}

// interrupted is a step that was under way when a hop was replaced. If the hop lives, it may have computed it nevertheless,
// and its successor has, too.
type interrupted struct {
	node   *process
	layers protocol.Span
	tokens int
}

func (w *watched) Begin(ctx context.Context, r client.Run) error {
	w.steps, w.interrupted = 0, nil
	if w.begin != nil {
		w.begin()
	}
	return w.Stepper.Begin(ctx, r)
}

func (w *watched) Step(ctx context.Context, ids []uint32, want client.Want) ([]sample.Candidate, error) {
	if w.steps == 0 {
		w.origin = w.Chain()
	}
	if w.before != nil {
		w.before(w.steps, w.Chain())
	}
	before, failed := w.swarm.all(), len(w.Failovers())
	start := time.Now()
	found, err := w.Stepper.Step(ctx, ids, want)
	for _, f := range w.Failovers()[failed:] {
		if n := newest(before, f.Peer); n != nil {
			w.interrupted = append(w.interrupted, interrupted{n, f.Layers, len(ids)})
		}
	}
	if took := time.Since(start); w.steps == 0 {
		w.first = took
	} else {
		w.longest = max(w.longest, took)
		w.took = append(w.took, took)
	}
	w.steps++
	return found, err
}

// talk is a conversation of the scene's client i.
type talk struct {
	*client.Conversation
	*watched
	scene *scene
	limit time.Duration // for an answer
}

func (sc *scene) talk(i int, cfg client.SessionConfig) *talk {
	return sc.talkOf(sc.clients[i], cfg)
}

func (sc *scene) talkOf(a *asker, cfg client.SessionConfig) *talk {
	w := &watched{Stepper: a.NewSession(cfg), swarm: sc.swarm}
	return &talk{client.NewConversation(a.Model(), w), w, sc, answerLimit}
}

// private is for sessions that are to find nothing of others.
var private = client.SessionConfig{Private: true}

// leaves has a question answered and goes away after some of the answer: as a step is under way, or between two. It
// compares what there is.
func (t *talk) leaves(ctx context.Context, q question, after int, inStep bool) error {
	want, err := t.scene.stage.alone.answers(ctx, q)
	if err != nil {
		return fmt.Errorf("answer in this process: %w", err)
	}
	asking, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	if inStep {
		t.before = func(step int, _ []client.HopInfo) {
			if step == after {
				cancel()
			}
		}
		defer func() { t.before = nil }()
	}
	got, tokens := "", 0
	for chunk, err := range t.Generate(asking, q.prompt, q.options) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil && !errors.Is(err, context.Canceled) {
			t.scene.finds("no answer: %v", err)
		}
		got += chunk.Text
		if tokens++; tokens > after {
			break
		}
	}
	if !strings.HasPrefix(want.Text, got) {
		t.scene.finds("the swarm's answer begins %q, that of one process is %q", got, want.Text)
	}
	return nil
}

// finds takes down what is not as it should be, while others may do so too.
func (sc *scene) finds(format string, args ...any) {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	sc.result.wrong(format, args...)
}

// answers has a question answered and compares the answer with the right one. An error means that the scene can't go on.
func (t *talk) answers(ctx context.Context, q question) (*client.Outcome, error) {
	want, err := t.scene.stage.alone.answers(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("answer in this process: %w", err)
	}
	asking, cancel := context.WithTimeout(ctx, t.limit)
	defer cancel()
	got, err := generate(asking, t.Conversation, q)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	sc := t.scene
	sc.mu.Lock()
	defer sc.mu.Unlock()
	r := &sc.result
	r.Answers++
	r.Tokens += q.computes()
	r.waited(t.longest)
	r.Failovers = append(r.Failovers, t.Failovers()...)
	sc.interrupted = append(sc.interrupted, t.interrupted...)
	switch {
	case err != nil:
		r.wrong("no answer: %v", err)
	case !slices.Equal(got.IDs, want.IDs) || got.Text != want.Text:
		r.wrong("the answer differs from that of one process %s", differs(got.IDs, want.IDs))
	}
	return got, nil
}

// differs says where an answer goes astray.
func differs(got, want []uint32) string {
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			return fmt.Sprintf("from token %d on: %v instead of %v", i, got[i:min(i+4, len(got))], want[i:min(i+4, len(want))])
		}
	}
	return fmt.Sprintf("in that it has %d tokens instead of %d", len(got), len(want))
}
