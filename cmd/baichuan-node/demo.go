package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/baichuan-node/baichuan-node/client"
	"github.com/baichuan-node/baichuan-node/node/launch"
	"github.com/baichuan-node/baichuan-node/shard/checkpoint"
	"github.com/baichuan-node/baichuan-node/shard/checkpoint/synthetic"
	"github.com/baichuan-node/baichuan-node/shard/store"
	"github.com/baichuan-node/baichuan-node/shard/tokenizer"
)

// demoFlags are those of the demo command.
type demoFlags struct {
	sampling  samplingFlags
	nodes     int
	copies    int
	readyFile string
}

// The demo's model: small, random, always the same.
const (
	demoModel  = "demo"
	demoPreset = "small-7b"
	demoSeed   = 2026
	demoTokens = 48 // of an answer: noise is no better for being long
)

func newDemoCommand(a *app) *cobra.Command {
	var f demoFlags
	cmd := &cobra.Command{
		Use:   "demo [PROMPT]",
		Short: "Start a swarm of processes on this machine and talk with it",
		Long: "Makes a small random model in a temporary folder, starts a swarm of serve processes on loopback that hold a span of\n" +
			"its layers each, and answers PROMPT through them; without PROMPT it opens a chat, or without a terminal serves until\n" +
			"it is interrupted. All processes end with it. The model's weights are random: it speaks noise.",
		Args: wantArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return runDemo(cmd, a, &f, args) },
	}
	f.sampling.add(cmd)
	flags := cmd.Flags()
	flags.Lookup("max-tokens").Usage = fmt.Sprintf("tokens of an answer at most (default: %d)", demoTokens)
	flags.IntVar(&f.nodes, "nodes", 3, "spans that the model is cut into, each served by a process")
	flags.IntVar(&f.copies, "copies", 0, "processes for each span (default: 1 with a PROMPT, else 2)")
	flags.StringVar(&f.readyFile, "ready-file", "", "write a JSON file when the swarm answers")
	return cmd
}

func runDemo(cmd *cobra.Command, a *app, f *demoFlags, args []string) (err error) {
	spec, err := synthetic.Preset(demoPreset)
	if err != nil {
		return err
	}
	if f.nodes < 1 || f.nodes > spec.Layers {
		return usagef("--nodes %d: the model has %d layers to cut", f.nodes, spec.Layers)
	}
	if f.copies == 0 {
		f.copies = 2 - min(len(args), 1)
	}
	if f.copies < 1 || f.copies > maxCopies {
		return usagef("--copies %d: want 1 to %d", f.copies, maxCopies)
	}
	if len(args) > 0 && strings.TrimSpace(args[0]) == "" {
		return usagef("the prompt is empty")
	}
	home, err := os.MkdirTemp("", "baichuan-demo-")
	if err != nil {
		return fmt.Errorf("make a temporary store: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(home)) }()

	model, err := makeDemoModel(cmd.Context(), home, spec)
	if err != nil {
		return err
	}
	known, err := client.ModelOf(model)
	if err != nil {
		return err
	}
	options, err := f.sampling.options(cmd, known.Drawing)
	if err != nil {
		return err
	}
	if !cmd.Flags().Changed("max-tokens") {
		options.MaxTokens = demoTokens
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "The demo's model has random weights: what it says is noise.\n")
	group, err := launch.NewGroup(launch.Config{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, group.Stop()) }()
	nodes, err := f.start(cmd.Context(), cmd.ErrOrStderr(), group, home, model)
	if err != nil {
		return err
	}
	return f.talk(cmd, a, options, nodes, args)
}

// makeDemoModel writes a random checkpoint and imports it into a store in home.
func makeDemoModel(ctx context.Context, home string, spec synthetic.Spec) (*store.Model, error) {
	spec.Seed, spec.DType, spec.Tokenizer = demoSeed, synthetic.F16, synthetic.Tokenizer()
	dir := filepath.Join(home, "checkpoint")
	if err := synthetic.Write(dir, spec); err != nil {
		return nil, err
	}
	from, err := checkpoint.Open(dir)
	if err != nil {
		return nil, err
	}
	defer from.Close()
	models, err := store.Open(home)
	if err != nil {
		return nil, err
	}
	return store.Import(ctx, models, from, store.ImportOptions{Name: demoModel, Weights: "nf4"})
}

// start starts the swarm: the first process begins it, the others join.
func (f *demoFlags) start(ctx context.Context, w io.Writer, group *launch.Group, home string, model *store.Model) ([]launch.Ready, error) {
	binary, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program's own file: %w", err)
	}
	var running []*launch.Process
	var ready []launch.Ready
	for i := range f.nodes * f.copies {
		span := cut(model.Manifest.Layers, f.nodes, i%f.nodes)
		args := []string{"serve", model.Name, "--layers", span.String(), "--listen", "/ip4/127.0.0.1/tcp/0", "--threads", "1"}
		if i > 0 {
			args = append(args, "--join", ready[0].Addrs[0])
		}
		p, err := group.Start(launch.Command{
			Name: fmt.Sprintf("node %d (layers %v)", i+1, span), Binary: binary, Args: args,
			Env:     []string{"BAICHUAN_HOME=" + home, "BAICHUAN_LOG_LEVEL=error"},
			Without: serveSettings(),
		})
		if err != nil {
			return nil, err
		}
		running = append(running, p)
		if i == 0 { // the others need its address
			r, err := p.Ready(ctx)
			if err != nil {
				return nil, err
			}
			ready = append(ready, r)
		}
	}
	for _, p := range running[1:] {
		r, err := p.Ready(ctx)
		if err != nil {
			return nil, err
		}
		ready = append(ready, r)
	}
	for _, r := range ready {
		fmt.Fprintf(w, "  layers %-4s process %-7d %s\n", r.Layers, r.PID, r.Peer)
	}
	return ready, nil
}

// serveSettings names the environment's flags for serve: what a user has set for a swarm of their own is not for the
// demo's.
func serveSettings() []string {
	var names []string
	newServeCommand(&app{}).Flags().VisitAll(func(f *pflag.Flag) { names = append(names, envName(f.Name)) })
	return names
}

// cut gives span i of n that share the layers as evenly as can be.
func cut(layers, n, i int) store.Span {
	return store.Span{Start: layers * i / n, End: layers * (i + 1) / n}
}

// talk answers the prompt, chats, or serves until the context ends.
func (f *demoFlags) talk(cmd *cobra.Command, a *app, options client.Options, nodes []launch.Ready, args []string) (err error) {
	if f.readyFile != "" {
		if err := launch.WriteReady(f.readyFile, demoReady{PID: os.Getpid(), Nodes: nodes}); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, removeIfThere(f.readyFile)) }()
	}
	if len(args) == 0 && !isTerminal(cmd.InOrStdin()) {
		fmt.Fprintf(cmd.OutOrStdout(), "the swarm answers: baichuan-node chat --join %s\n", nodes[0].Addrs[0])
		<-cmd.Context().Done()
		return nil
	}
	swarm := swarmFlags{join: nodes[0].Addrs}
	answers, err := answerFromSwarm(cmd.Context(), nodes[0].Model, &swarm)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, answers.close()) }()
	if len(args) == 0 {
		return newChat(cmd, a, answers, options).run(cmd.Context(), cmd.InOrStdin())
	}
	return f.answer(cmd, answers, options, args[0])
}

// answer answers one prompt and tells who computed it.
func (f *demoFlags) answer(cmd *cobra.Command, answers *answerer, options client.Options, prompt string) error {
	messages := []tokenizer.Message{{Role: "user", Content: prompt}}
	chunks, _, err := answers.conversation.Chat(cmd.Context(), messages, options)
	if err != nil {
		return err
	}
	outcome, err := printAnswer(cmd.Context(), textWriter(cmd.OutOrStdout()), chunks)
	if err != nil {
		return err
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "%d tokens, %.1f tokens/s, through\n", len(outcome.IDs), outcome.Timings.TokensPerSecond())
	printChain(cmd.ErrOrStderr(), outcome)
	return nil
}

// demoReady is the ready file of demo.
type demoReady struct {
	URL   string         `json:"url"` // of the web page; empty while there is none
	PID   int            `json:"pid"`
	Nodes []launch.Ready `json:"nodes"`
}
