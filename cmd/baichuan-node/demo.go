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
	"github.com/baichuan-node/baichuan-node/shard/bundled"
	"github.com/baichuan-node/baichuan-node/shard/store"
	"github.com/baichuan-node/baichuan-node/shard/tokenizer"
)

// demoFlags are those of the demo command.
type demoFlags struct {
	sampling  samplingFlags
	model     string
	system    string
	nodes     int
	copies    int
	readyFile string
}

func newDemoCommand(a *app) *cobra.Command {
	var f demoFlags
	cmd := &cobra.Command{
		Use:   "demo [PROMPT]",
		Short: "Start a swarm of processes on this machine and talk with it",
		Long: "Starts a swarm of serve processes on loopback that hold a span of layers each of the small model that comes with this\n" +
			"program, and answers PROMPT through them; without PROMPT it opens a chat, or without a terminal serves until it is\n" +
			"interrupted. All processes end with it.",
		Args: wantArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return runDemo(cmd, a, &f, args) },
	}
	f.sampling.add(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.model, "model", bundled.Chat, "another model: a stored or bundled one's name or id")
	flags.StringVar(&f.system, "system", "", "system message")
	flags.IntVar(&f.nodes, "nodes", 3, "spans that the model is cut into, each served by a process")
	flags.IntVar(&f.copies, "copies", 0, "processes for each span (default: 1 with a PROMPT, else 2)")
	flags.StringVar(&f.readyFile, "ready-file", "", "write a JSON file when the swarm answers")
	return cmd
}

func runDemo(cmd *cobra.Command, a *app, f *demoFlags, args []string) (err error) {
	if err := removeStale(f.readyFile); err != nil {
		return err
	}
	model, isBundled, err := findModel(f.model)
	if err != nil {
		return err
	}
	options, err := f.check(cmd, model, args)
	if err != nil {
		return err
	}
	home, err := os.MkdirTemp("", "baichuan-demo-")
	if err != nil {
		return fmt.Errorf("make a temporary home: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(home)) }()
	if !isBundled {
		if err := linkModels(home); err != nil {
			return err
		}
	}
	group, err := launch.NewGroup(launch.Config{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, group.Stop()) }()
	fmt.Fprintf(cmd.ErrOrStderr(), "%s in %d processes on this machine:\n", model.Name, f.nodes*f.copies)
	nodes, err := f.start(cmd.Context(), cmd.ErrOrStderr(), group, home, model)
	if err != nil {
		return err
	}
	return f.talk(cmd, a, options, nodes, args)
}

// check finds what is wrong with the flags before any process is started, and says how answers are drawn.
func (f *demoFlags) check(cmd *cobra.Command, model *store.Model, args []string) (client.Options, error) {
	if f.nodes < 1 || f.nodes > model.Manifest.Layers {
		return client.Options{}, usagef("--nodes %d: the model has %d layers to cut", f.nodes, model.Manifest.Layers)
	}
	if f.copies == 0 {
		f.copies = 2 - min(len(args), 1)
	}
	if f.copies < 1 || f.copies > maxCopies {
		return client.Options{}, usagef("--copies %d: want 1 to %d", f.copies, maxCopies)
	}
	if len(args) > 0 && strings.TrimSpace(args[0]) == "" {
		return client.Options{}, usagef("the prompt is empty")
	}
	known, err := client.ModelOf(model)
	if err != nil {
		return client.Options{}, err
	}
	return f.sampling.options(cmd, known.Drawing)
}

// linkModels lets a temporary home, where the demo's processes keep their identities and no config.yaml sets their
// flags, have the models of the user's.
func linkModels(home string) error {
	from, err := homeDir()
	if err != nil {
		return err
	}
	if from, err = filepath.Abs(from); err != nil {
		return fmt.Errorf("find the home directory: %w", err)
	}
	if err := os.Symlink(filepath.Join(from, "models"), filepath.Join(home, "models")); err != nil {
		return fmt.Errorf("lend the models to the demo's processes: %w", err)
	}
	return nil
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
	answers, err := answerFromSwarm(cmd.Context(), nodes[0].Model, &swarm, &listFlags{}, cmd.ErrOrStderr(), sessionConfig(cmd.ErrOrStderr(), false))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, answers.close()) }()
	if len(args) == 0 {
		c := newChat(cmd, a, answers, options)
		c.setSystem(f.system)
		return c.run(cmd.Context())
	}
	return f.answer(cmd, answers, options, args[0])
}

// answer answers one prompt and tells who computed it.
func (f *demoFlags) answer(cmd *cobra.Command, answers *answerer, options client.Options, prompt string) error {
	messages := []tokenizer.Message{{Role: "user", Content: prompt}}
	if f.system != "" {
		messages = append([]tokenizer.Message{{Role: "system", Content: f.system}}, messages...)
	}
	chunks, _, err := answers.conversation.Chat(cmd.Context(), messages, options)
	if err != nil {
		return err
	}
	outcome, err := printAnswer(cmd.Context(), textWriter(cmd.OutOrStdout()), chunks)
	if err != nil {
		return err
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "%d tokens, %.1f tokens/s, through\n", len(outcome.IDs), outcome.Timings.TokensPerSecond())
	printChain(cmd.ErrOrStderr(), outcome.Chain, outcome.Failovers)
	return nil
}

// demoReady is the ready file of demo.
type demoReady struct {
	URL   string         `json:"url"` // of the web page; empty while there is none
	PID   int            `json:"pid"`
	Nodes []launch.Ready `json:"nodes"`
}
