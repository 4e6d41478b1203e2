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
	"time"

	"github.com/baichuan-node/baichuan-node/shard/bundled"
	"github.com/baichuan-node/baichuan-node/shard/store"
)

// Config says how scenarios are played.
type Config struct {
	Binary  string     // the program. Required
	Env     []string   // added to the environment of its processes
	Without []string   // variables that they do not get of ours
	Long    bool       // everything; else the essentials
	Seed    uint64     // of what is left to chance
	Stderr  io.Writer  // gets what the processes log; nil: nobody does
	Step    func(Step) // is told of each step when it is over; nil: nobody is
}

// Scenario is something that happens to a swarm.
type Scenario struct {
	Name string
	Is   string // what happens, in a line
	play func(context.Context, *stage) error
}

// Scenarios lists all.
func Scenarios() []Scenario {
	return []Scenario{
		{"kill", "each hop is killed: when it is opened, in the prompt, at each of five tokens", killEach},
		{"kill-two", "two hops are killed at once", killTwo},
		{"kill-replacement", "a hop is killed, and its replacement too: later, or while it catches up", killReplacement},
		{"hang", "each hop is held up; its connections stay", hangEach},
		{"missing", "the only holder of some layers is killed, another comes two seconds later", comeLater},
		{"drain", "nodes are told to leave while four clients have answers made", drainUnderLoad},
		{"crowd", "eight clients, while nodes are killed at random and started again", crowd},
		{"turns", "the next turn of a conversation, also after all connections were lost", turns},
		{"prefix", "two conversations with the same long system prompt", prefix},
	}
}

// Play plays a scenario. The report comes with an error, too, as far as it got; what went otherwise than it should, the
// report tells and not the error.
func Play(ctx context.Context, s Scenario, cfg Config) (_ *Report, err error) {
	model, err := bundled.Open(bundled.Chat)
	if err != nil {
		return nil, err
	}
	home, err := os.MkdirTemp("", "baichuan-sim-")
	if err != nil {
		return nil, fmt.Errorf("make a temporary home: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(home)) }()
	alone, err := newOracle(ctx, model)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, alone.close()) }()
	st := &stage{cfg: cfg, model: model, home: home, alone: alone, report: &Report{Scenario: s.Name, Is: s.Is, Long: cfg.Long}}
	start := time.Now()
	err = s.play(ctx, st)
	st.report.Seconds = time.Since(start).Seconds()
	if err != nil {
		err = fmt.Errorf("scenario %s: %w", s.Name, err)
	}
	return st.report, err
}

// stage is where a scenario is played.
type stage struct {
	cfg    Config
	model  *store.Model
	home   string // of the nodes
	alone  *oracle
	report *Report
}

// step plays a part of a scenario with a swarm of its own: so many copies of each span, and so many clients.
func (st *stage) step(ctx context.Context, name string, copies, clients int, play func(context.Context, *scene) error) (err error) {
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	w, err := newSwarm(ctx, st, copies)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	sc := &scene{swarm: w, result: Step{Name: name}}
	defer func() { err = errors.Join(err, sc.leave()) }()
	for range clients {
		if err := sc.join(ctx); err != nil {
			return err
		}
	}
	if err := play(ctx, sc); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	sc.result.Nodes = w.counts(ctx)
	st.report.Steps = append(st.report.Steps, sc.result)
	if st.cfg.Step != nil {
		st.cfg.Step(sc.result)
	}
	return nil
}
