// Package sim plays what happens to swarms, on one machine: nodes are real processes of the program, which are killed,
// held up and told to leave while a client in this process has its answers made. It knows which answers are right,
// because one process that holds the whole model gives the same bits, and reads in the nodes' own counters whether a
// healthy one had to compute anything twice.
//
// A scenario is a plain function. Nothing that production relies on has a place here.
package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/baichuan-node/baichuan-node/shard/bundled"
	"github.com/baichuan-node/baichuan-node/shard/checkpoint"
	"github.com/baichuan-node/baichuan-node/shard/checkpoint/synthetic"
	"github.com/baichuan-node/baichuan-node/shard/measure"
	"github.com/baichuan-node/baichuan-node/shard/store"
	"github.com/baichuan-node/baichuan-node/sim/wire"
)

// Config says how scenarios are played.
type Config struct {
	Binary  string        // the program. Required
	Env     []string      // added to the environment of its processes
	Without []string      // variables that they do not get of ours
	Long    bool          // everything; else the essentials
	Busy    bool          // the machine does other things, too: what is held against the clock has longer, see busyTimes
	For     time.Duration // how long a soak is to take; 0: half an hour, or in its short form some seconds
	Seed    uint64        // of what is left to chance
	Stderr  io.Writer     // gets what the processes log; nil: nobody does
	Step    func(Step)    // is told of each step when it is over; nil: nobody is
}

// Scenario is something that happens to a swarm.
type Scenario struct {
	Name string
	Is   string // what happens, in a line
	play func(context.Context, *stage) error
	hops int // of one layer each, of a model that is made up; 0: three, of the bundled model
	real int // in the long form: so many layers of the 7B's size instead, of a model that is made up; 0: no
}

// Scenarios lists all.
func Scenarios() []Scenario {
	return []Scenario{
		{Name: "kill", Is: "each hop is killed: when it is opened, in the prompt, at each of five tokens", play: killEach},
		{Name: "kill-two", Is: "two hops are killed at once", play: killTwo},
		{Name: "kill-replacement", Is: "a hop is killed, and its replacement too: later, or while it catches up", play: killReplacement},
		{Name: "hang", Is: "each hop is held up; its connections stay", play: hangEach},
		{Name: "missing", Is: "the only holder of some layers is killed, another comes two seconds later", play: comeLater},
		{Name: "drain", Is: "nodes are told to leave, or paused and resumed, while four clients have answers made", play: drainUnderLoad},
		{Name: "crowd", Is: "eight clients, while nodes are killed at random and started again", play: crowd},
		{Name: "turns", Is: "the next turn of a conversation, also after all connections were lost", play: turns},
		{Name: "prefix", Is: "two conversations with the same long system prompt", play: prefix},
		{Name: "sweep", Is: "eight hops lose ever more of what they send: answers stay as they are, and nearly as fast", play: sweep, hops: 8},
		{Name: "wan", Is: "nodes and client live in homes 30 to 80 ms from each other, with 20 Mbit/s upwards", play: wan},
		{Name: "partition", Is: "a hop is cut off for ten seconds and comes back; then a swarm falls into two halves, and grows together", play: partition},
		{Name: "empty", Is: "machines that have nothing join one that has the model: they serve it, heal it when one is killed, and take in another", play: empty, hops: emptyLayers},
		{Name: "petals", Is: "of 24 layers A chooses 5, C 14, B is told to serve A's: A goes where nobody is, and C stays", play: petals, hops: 24},
		{Name: "flood", Is: "a hostile peer asks for more than its share in every way that we know; others' tokens take hardly longer", play: flood, hops: floodLayers, real: floodPart},
		{Name: "throttle", Is: "nodes keep to what their owners give: one thread, so much upload", play: throttle, hops: emptyLayers},
		{Name: "soak", Is: "clients chat while nodes come and go; in the end all memory, goroutines, streams and files are given back", play: soak},
	}
}

// Play plays a scenario. The report comes with an error, too, as far as it got; what went otherwise than it should, the
// report tells and not the error.
func Play(ctx context.Context, s Scenario, cfg Config) (_ *Report, err error) {
	home, err := os.MkdirTemp("", "baichuan-sim-")
	if err != nil {
		return nil, fmt.Errorf("make a temporary home: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(home)) }()
	model, layers, err := s.model(ctx, home, cfg.Long)
	if err != nil {
		return nil, err
	}
	alone, err := newOracle(ctx, model)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, alone.close()) }()
	st := &stage{
		cfg: cfg, model: model, layers: layers, home: home, alone: alone, logs: &logs{to: cfg.Stderr},
		report: &Report{Scenario: s.Name, Is: s.Is, Long: cfg.Long},
	}
	start := time.Now()
	err = s.play(ctx, st)
	st.report.Seconds = time.Since(start).Seconds()
	if err != nil {
		err = fmt.Errorf("scenario %s: %w", s.Name, err)
	}
	return st.report, err
}

// model gives the model of the scenario, which the nodes find in their home if it does not come with the program, and how
// many of its layers a node holds.
func (s Scenario) model(ctx context.Context, home string, long bool) (m *store.Model, layers int, err error) {
	switch {
	case s.hops == 0:
		m, err = bundled.Open(bundled.Chat)
		return m, spanLayers, err
	case long && s.real > 0:
		m, err = likeReal(home, s.real)
	default:
		m, err = makeUp(ctx, home, s.hops)
	}
	return m, 1, err
}

// likeReal stores some layers of the 7B's shape, with as large a part of its vocabulary, in a home.
func likeReal(home string, layers int) (*store.Model, error) {
	shape, err := synthetic.Preset("baichuan2-7b")
	if err != nil {
		return nil, err
	}
	shape.Vocab = shape.Vocab * layers / shape.Layers
	shape.Layers = layers
	return measure.StoreSynthetic(home, "7b-made-up", shape, "nf4")
}

// makeUp stores a small model of random weights in a home.
func makeUp(ctx context.Context, home string, layers int) (*store.Model, error) {
	shape, err := synthetic.Preset("small-7b")
	if err != nil {
		return nil, err
	}
	shape.Layers, shape.Tokenizer = layers, synthetic.Tokenizer()
	dir := filepath.Join(home, "made-up")
	if err := synthetic.Write(dir, shape); err != nil {
		return nil, err
	}
	from, err := checkpoint.Open(dir)
	if err != nil {
		return nil, err
	}
	defer from.Close()
	to, err := store.Open(home)
	if err != nil {
		return nil, err
	}
	return store.Import(ctx, to, from, store.ImportOptions{})
}

// within is how long something may take.
func (cfg Config) within(limit time.Duration) time.Duration {
	if cfg.Busy {
		return busyTimes * limit
	}
	return limit
}

// stage is where a scenario is played.
type stage struct {
	cfg    Config
	model  *store.Model
	layers int    // of a node
	home   string // of the nodes
	alone  *oracle
	logs   *logs
	report *Report
}

// cast is who plays in a step.
type cast struct {
	copies, clients int                   // of each span, and in all
	limit           time.Duration         // ends a step that does not end; 0: stepLimit
	args            func(n int) []string  // more for the n-th node that is started; nil: none
	link            func(n int) wire.Link // of the n-th node's home, 0: of the clients'; nil: all are one machine
}

// step plays a part of a scenario with a swarm of its own: so many copies of each span, and so many clients.
func (st *stage) step(ctx context.Context, name string, copies, clients int, play func(context.Context, *scene) error) error {
	return st.stepWith(ctx, name, cast{copies: copies, clients: clients}, play)
}

func (st *stage) stepWith(ctx context.Context, name string, c cast, play func(context.Context, *scene) error) (err error) {
	if c.limit == 0 {
		c.limit = st.cfg.within(stepLimit)
	}
	ctx, cancel := context.WithTimeout(ctx, c.limit)
	defer cancel()
	w, err := newSwarm(ctx, st, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	sc := &scene{swarm: w, result: Step{Name: name}}
	defer func() { err = errors.Join(err, sc.leave()) }()
	for range c.clients {
		if err := sc.join(ctx); err != nil {
			return err
		}
	}
	if err := play(ctx, sc); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	sc.result.Nodes = w.counts(ctx)
	st.over(sc.result)
	return nil
}

// over takes down a step.
func (st *stage) over(s Step) {
	st.report.Steps = append(st.report.Steps, s)
	if st.cfg.Step != nil {
		st.cfg.Step(s)
	}
}
