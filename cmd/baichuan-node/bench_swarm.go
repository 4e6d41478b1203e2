package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/baichuan-node/baichuan-node/client"
	"github.com/baichuan-node/baichuan-node/kernels/probe"
	"github.com/baichuan-node/baichuan-node/shard/checkpoint/synthetic"
	"github.com/baichuan-node/baichuan-node/shard/measure"
	"github.com/baichuan-node/baichuan-node/shard/store"
	"github.com/baichuan-node/baichuan-node/sim/demand"
)

const benchSwarmHelp = `Has clients decode at the same time, and measures how many tokens a second they get together, and how long one of them
waits for its tokens while another has a long prompt computed. Figures are medians over rounds in which all numbers of
clients take their turns.

Without --join it starts serve processes on loopback, with MODEL or with layers of a real shape whose weights are made up.
Of those it takes --layers, and as large a part of the vocabulary: so the head has its share of a token's time. Then each
figure stands beside what the machine can do at most, found in the same rounds by bare loops: "limit/tokens" is the
time over max(weight bytes / reading loop, operations / (0.75 x peak)), as if all clients' tokens were computed in one
pass. The processes share this machine's cores, as nodes of a real swarm do not: with more than one of them, figures say
less about the program, and least where --threads gives them more threads together than there are cores.

Each client asks the same again in every round. It is an error if its answer ever differs.`

// benchSwarmFlags are those of bench swarm.
type benchSwarmFlags struct {
	swarm     swarmFlags
	synthetic string
	weights   string
	layers    string
	nodes     int
	threads   int
	demand    demand.Config
	json      bool
}

func newBenchSwarmCommand() *cobra.Command {
	f := benchSwarmFlags{demand: demand.DefaultConfig()}
	cmd := &cobra.Command{
		Use:   "swarm [MODEL]",
		Short: "Measure what a swarm gives to several clients at once",
		Long:  benchSwarmHelp,
		Args:  wantArgs(cobra.MaximumNArgs(1)),
		RunE:  func(cmd *cobra.Command, args []string) error { return runBenchSwarm(cmd, &f, args) },
	}
	f.swarm.add(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.synthetic, "synthetic", "7b", "7b or 13b: the shape of a model whose weights are made up")
	flags.StringVar(&f.weights, "weights", "nf4", "format of the weights that are made up: nf4, int8, bf16 or f16")
	flags.StringVar(&f.layers, "layers", "0:8", "layers A:B of the shape")
	flags.IntVar(&f.nodes, "nodes", 1, "processes that share the layers")
	flags.IntVar(&f.threads, "threads", 0, "CPU threads of each (default: the cores, shared among them)")
	flags.IntSliceVar(&f.demand.Clients, "clients", f.demand.Clients, "clients that decode at once, one number after the other")
	flags.IntVar(&f.demand.Long, "prompt", f.demand.Long, "tokens of the prompt beside which another decodes; 0: leave that out")
	flags.IntVar(&f.demand.Rounds, "rounds", f.demand.Rounds, "rounds that medians are taken of")
	flags.DurationVar(&f.demand.Window, "window", f.demand.Window, "how long clients decode in a round")
	flags.BoolVar(&f.json, "json", false, "print one JSON object")
	return cmd
}

// check tells what makes no sense.
func (f *benchSwarmFlags) check(cmd *cobra.Command, args []string) error {
	for _, n := range f.demand.Clients {
		if n < 1 || n > maxClients {
			return usagef("--clients %d: want 1 to %d", n, maxClients)
		}
	}
	given := cmd.Flags().Changed
	switch {
	case len(f.demand.Clients) == 0:
		return usagef("--clients: want at least one number")
	case f.demand.Rounds < 1 || f.demand.Long < 0 || f.demand.Window <= 0:
		return usagef("--rounds and --window must be more than 0, --prompt not less")
	case f.threads < 0 || f.threads > maxThreads:
		return usagef("--threads %d: want 1 to %d, or 0 to share the cores", f.threads, maxThreads)
	case len(f.swarm.join) > 0 && (given("synthetic") || given("layers") || given("weights") || given("nodes") || given("threads")):
		return usagef("--join measures a swarm that is there: --synthetic, --layers, --weights, --nodes and --threads are for one that is started")
	case len(f.swarm.join) == 0 && f.swarm.swarmKey != "":
		return usagef("--swarm-key goes with --join")
	case len(args) > 0 && (given("synthetic") || given("layers") || given("weights")):
		return usagef("give a stored MODEL or --synthetic with --layers and --weights")
	}
	return nil
}

func runBenchSwarm(cmd *cobra.Command, f *benchSwarmFlags, args []string) (err error) {
	if err := f.check(cmd, args); err != nil {
		return err
	}
	name := ""
	if len(args) > 0 {
		name = args[0]
	}
	r := swarmReport{}
	if len(f.swarm.join) == 0 {
		stop, err := f.start(cmd, name, &r)
		defer func() { err = errors.Join(err, stop()) }()
		if err != nil {
			return err
		}
		name = f.demand.Swarm.Model.ID.String()
	}
	f.demand.Connect = func(ctx context.Context) (*client.Client, func() error, error) { return f.connect(ctx, name) }
	if r.Report, err = demand.Run(cmd.Context(), f.demand); err != nil {
		return err
	}
	if f.json {
		return printJSON(cmd, r)
	}
	return printSwarm(cmd.OutOrStdout(), r)
}

// connect makes a client with a host of its own.
func (f *benchSwarmFlags) connect(ctx context.Context, model string) (*client.Client, func() error, error) {
	s, err := enterSwarm(ctx, &f.swarm, nil, io.Discard, "")
	if err != nil {
		return nil, nil, err
	}
	c, err := client.Connect(ctx, s.host, s.directory, client.Config{Model: model})
	if err != nil {
		return nil, nil, errors.Join(err, s.close())
	}
	return c, s.close, nil
}

// start starts a swarm on this machine and a probe of it, and fills in what the report tells of them.
func (f *benchSwarmFlags) start(cmd *cobra.Command, name string, r *swarmReport) (stop func() error, err error) {
	var opened closers
	binary, err := os.Executable()
	if err != nil {
		return opened.close, fmt.Errorf("find this program, to start it again: %w", err)
	}
	device, err := newDevice(0)
	if err != nil {
		return opened.close, err
	}
	opened.closes(device.Close)
	if f.threads == 0 {
		f.threads = max(1, device.Threads()/max(f.nodes, 1))
	}
	model, err := f.model(name)
	if err != nil {
		return opened.close, err
	}
	w, err := demand.Start(cmd.Context(), demand.SwarmConfig{
		Binary: binary, Without: serveSettings(), Nodes: f.nodes, Threads: f.threads, Model: model,
		Cache: slices.Max(f.demand.Clients)*answerCache + 2*f.demand.Long,
	})
	if err != nil {
		return opened.close, err
	}
	opened.closes(w.Stop)
	f.swarm = swarmFlags{join: w.Nodes[0].Addrs}
	p := probe.New(device.Name(), device.Threads()).Over(w.Stored()...)
	f.demand.Swarm, f.demand.Probe = w, p
	r.Machine = &machine{CPU: probe.CPU(), Device: device.Name(), Threads: f.threads, Loops: p.Loops()}
	m := w.Model.Manifest
	r.Model, r.Weights, r.Layers, r.Vocab = w.Model.Name, m.Weights, m.Layers, m.Vocab
	r.WeightBytes = measure.WeightBytes(m, store.Span{End: m.Layers})
	for _, n := range w.Nodes {
		r.Nodes = append(r.Nodes, n.Layers)
	}
	return opened.close, nil
}

// model gives a function that puts the model into a temporary home: a stored one, or one that is made up.
func (f *benchSwarmFlags) model(name string) (func(home string) (*store.Model, error), error) {
	if name != "" {
		model, isBundled, err := findModel(name)
		if err != nil {
			return nil, err
		}
		return func(home string) (*store.Model, error) {
			if isBundled {
				return model, nil
			}
			return model, linkModels(home)
		}, f.checkNodes(model.Manifest.Layers)
	}
	shape, err := f.shape()
	if err != nil {
		return nil, err
	}
	return func(home string) (*store.Model, error) {
		return measure.StoreSynthetic(home, f.synthetic, shape, f.weights)
	}, f.checkNodes(shape.Layers)
}

func (f *benchSwarmFlags) checkNodes(layers int) error {
	if f.nodes < 1 || f.nodes > layers {
		return usagef("--nodes %d: there are %d layers to share", f.nodes, layers)
	}
	return nil
}

// shape is that of the model, cut to --layers, with as large a part of the vocabulary.
func (f *benchSwarmFlags) shape() (synthetic.Spec, error) {
	preset, ok := map[string]string{"7b": "baichuan2-7b", "13b": "baichuan2-13b"}[f.synthetic]
	if !ok {
		return synthetic.Spec{}, usagef("--synthetic %q: want 7b or 13b", f.synthetic)
	}
	shape, err := synthetic.Preset(preset)
	if err != nil {
		return shape, err
	}
	span, err := store.ParseSpan(f.layers)
	if err != nil {
		return shape, usagef("--layers: %w", err)
	}
	if span.End > shape.Layers {
		return shape, usagef("--layers %v: %s has layers 0:%d", span, f.synthetic, shape.Layers)
	}
	layers := span.End - span.Start
	shape.Vocab = max(shape.Vocab*layers/shape.Layers/vocabStep*vocabStep, leastVocab)
	shape.Layers = layers
	if !slices.Contains(strings.Fields("nf4 int8 bf16 f16"), f.weights) {
		return shape, usagef("--weights %q: want nf4, int8, bf16 or f16", f.weights)
	}
	return shape, nil
}

// swarmReport is what bench swarm prints. All but the figures is known of a swarm that was started alone.
type swarmReport struct {
	Machine     *machine `json:"machine,omitempty"`
	Model       string   `json:"model,omitempty"`
	Weights     string   `json:"weights,omitempty"`
	Layers      int      `json:"layers,omitempty"`
	Vocab       int      `json:"vocab,omitempty"`
	WeightBytes int64    `json:"weight_bytes,omitempty"` // that a token reads
	Nodes       []string `json:"nodes,omitempty"`        // the layers of each
	*demand.Report
}

// printSwarm prints tables, and how the figures stand to what is asked of them.
func printSwarm(out io.Writer, r swarmReport) error {
	if r.Machine != nil {
		fmt.Fprintf(out, "%s in %s, %d layers, vocabulary %d: a token reads %s of weights\n", r.Model, r.Weights, r.Layers, r.Vocab, humanBytes(r.WeightBytes))
		fmt.Fprintf(out, "layers %s, each in a process; in each %s\n", strings.Join(r.Nodes, ", "), r.Machine)
		fmt.Fprintf(out, "meanwhile: %s\n", limitsLine(*r.Limits))
	}
	var rows [][]string
	for _, c := range r.Clients {
		rows = append(rows, append([]string{
			fmt.Sprint(c.Clients), fmt.Sprintf("%.2f", c.Tokens), fmt.Sprintf("%.2f", c.Times), fmt.Sprintf("%.1f", 1e3*c.First), fmt.Sprintf("%.1f", 1e3*c.Gap),
		}, limitCells(c)...))
	}
	names := []string{"clients", "tokens/s", "times first", "first token ms", "gap ms"}
	if r.Machine != nil {
		names = append(names, "by memory", "by arithmetic", "limit/tokens", "tokens/pass", "passes up to")
	}
	if err := figureTable(out, names, rows); err != nil {
		return err
	}
	printTogether(out, r.Clients)
	return printBeside(out, r.Beside)
}

// limitCells are a figure's limits, in tokens/s, and the sizes of its passes; of a swarm elsewhere nothing is known.
func limitCells(c demand.Figure) []string {
	if c.Limit == 0 {
		return nil
	}
	return []string{
		fmt.Sprintf("%.1f", c.Memory), fmt.Sprintf("%.1f", c.Compute), fmt.Sprintf("%.2f", c.Below), fmt.Sprintf("%.1f", c.Passes.Mean()), sizes(c.Passes),
	}
}

// sizes tells how often passes had how many tokens.
func sizes(p demand.Passes) string {
	var cells []string
	for _, s := range p.Sizes {
		if s.Passes > 0 {
			cells = append(cells, fmt.Sprintf("%s: %.0f %%", s.UpTo, 100*float64(s.Passes)/float64(p.Passes)))
		}
	}
	return strings.Join(cells, ", ")
}

// printTogether holds the most clients against one.
func printTogether(out io.Writer, all []demand.Figure) {
	last := all[len(all)-1]
	if all[0].Clients != 1 || last.Clients != barClients {
		return
	}
	fmt.Fprintf(out, "%d clients get %.2f times the tokens/s of one (at least %.0f is asked", last.Clients, last.Times, barTimes)
	isMet := last.Times >= barTimes
	if last.By == measure.ByArithmetic {
		fmt.Fprintf(out, ", or a limit by arithmetic at most %.2f times as high: %.2f", barLimit, last.Below)
		isMet = isMet || last.Below <= barLimit
	}
	fmt.Fprintf(out, "): %s\n", verdict(isMet))
}

func printBeside(out io.Writer, b *demand.Beside) error {
	if b == nil {
		return nil
	}
	fmt.Fprintln(out)
	var rows [][]string
	for _, s := range []struct {
		name string
		demand.Spread
		prompt float64
	}{{"alone", b.Alone, b.PromptAlone}, {"beside each other", b.Beside, b.PromptBeside}} {
		rows = append(rows, []string{
			s.name, fmt.Sprint(s.N), fmt.Sprintf("%.1f", 1e3*s.P50), fmt.Sprintf("%.1f", 1e3*s.P95), fmt.Sprintf("%.1f", 1e3*s.Max), fmt.Sprintf("%.2f", s.prompt),
		})
	}
	names := []string{"a client's tokens", "gaps", "p50 ms", "p95 ms", "max ms", fmt.Sprintf("first token after %d, s", b.Prompt)}
	if err := figureTable(out, names, rows); err != nil {
		return err
	}
	if b.Passes.Passes > 0 {
		fmt.Fprintf(out, "passes meanwhile: %.1f tokens; up to %s\n", b.Passes.Mean(), sizes(b.Passes))
	}
	_, err := fmt.Fprintf(out, "p95 beside the prompt is %.2f times the median alone (at most %.1f is asked): %s\n", b.Ratio, barGap, verdict(b.Ratio <= barGap))
	return err
}

func verdict(isMet bool) string {
	if isMet {
		return "met"
	}
	return "missed"
}
