package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/baichuan-node/baichuan-node/client"
	"github.com/baichuan-node/baichuan-node/shard/bundled"
	"github.com/baichuan-node/baichuan-node/shard/store"
)

// demoFlags are those of the demo command.
type demoFlags struct {
	sampling  samplingFlags
	model     string
	system    string
	nodes     int
	copies    int
	listen    string
	readyFile string
}

func newDemoCommand(a *app) *cobra.Command {
	var f demoFlags
	cmd := &cobra.Command{
		Use:   "demo [PROMPT]",
		Short: "Start a swarm of processes on this machine and talk with it",
		Long: "Starts a swarm of serve processes on loopback that hold a span of layers each of the small model that comes with this\n" +
			"program, and answers PROMPT through them. Without PROMPT there are two processes for each span, a web page at --listen\n" +
			"with a chat and a picture of the swarm, where each process can be killed and others started, and a chat in the\n" +
			"terminal; without a terminal it serves until it is interrupted. All processes end with it.",
		Args: wantArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return runDemo(cmd, a, &f, args) },
	}
	f.sampling.add(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.model, "model", bundled.Chat, "another model: a stored or bundled one's name or id")
	flags.StringVar(&f.system, "system", "", "system message")
	flags.IntVar(&f.nodes, "nodes", 3, "spans that the model is cut into, each served by a process")
	flags.IntVar(&f.copies, "copies", 0, "processes for each span (default: 1 with a PROMPT, else 2)")
	flags.StringVar(&f.listen, "listen", "127.0.0.1:8080", "address and port of the web page and the HTTP API; another port if this one is taken and nobody asked for it")
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
	l, err := f.open(cmd, len(args) == 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ignoreClosed(l.Close())) }()
	processes, err := newDemoProcesses(cmd.Context(), model, isBundled, f.nodes, f.nodes*(f.copies+1))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, processes.close()) }()
	w := cmd.ErrOrStderr()
	fmt.Fprintf(w, "%s in %d processes on this machine:\n", model.Name, f.nodes*f.copies)
	nodes, err := processes.begin(f.nodes * f.copies)
	if err != nil {
		return err
	}
	for _, r := range nodes {
		fmt.Fprintf(w, "  layers %-4s process %-7d %s\n", r.Layers, r.PID, r.Peer)
	}
	d, err := f.enter(cmd, a, processes, nodes)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	return d.run(l, options, args)
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
