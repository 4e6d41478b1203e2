package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/baichuan-node/baichuan-node/routing"
	"github.com/baichuan-node/baichuan-node/shard/store"
	"github.com/baichuan-node/baichuan-node/terminal"
)

// logFlags say what is logged to standard error, and how.
type logFlags struct {
	verbose bool
	level   string
	format  string
}

// nodes is the level at which the nodes of a simulation are to log; empty: nobody wants to see it.
func (l *logFlags) nodes() string {
	if l.level == "" && l.verbose {
		return "info"
	}
	return l.level
}

// app is what all commands share.
type app struct {
	interrupts interrupts
	notices    *notices // standard error
	logs       logFlags
	log        *slog.Logger // made of logs before a command runs
}

func newRootCommand(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "baichuan-node",
		Short: "Run Baichuan models on a swarm of ordinary computers",
		Long: "baichuan-node hosts layers of a Baichuan model for a swarm of peers, and chats with models whose layers\n" +
			"such peers hold. Try: baichuan-node demo \"你好\"",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          wantArgs(cobra.NoArgs),
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if err := applySettings(cmd); err != nil {
				return err
			}
			return a.setLogger(cmd)
		},
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usagef("%w; see %s --help", flagError(err), cmd.CommandPath())
	})
	flags := root.PersistentFlags()
	flags.BoolVarP(&a.logs.verbose, "verbose", "v", false, "log what happens (same as --log-level info)")
	flags.StringVar(&a.logs.level, "log-level", "", "debug, info, warn or error (default: info for serve, else warn)")
	flags.StringVar(&a.logs.format, "log-format", "text", "text or json")

	root.AddCommand(
		newDemoCommand(a),
		newImportCommand(),
		newModelsCommand(),
		newTokenizeCommand(loadTokenizer),
		newServeCommand(a),
		newPauseCommand(),
		newResumeCommand(),
		newGenerateCommand(a),
		newChatCommand(a),
		newGatewayCommand(a),
		newStatusCommand(),
		newPlanCommand(),
		newBenchCommand(),
		newSimCommand(a),
		newDoctorCommand(),
		newKeyCommand(), newSwarmKeyCommand(),
		newVersionCommand(),
	)
	return root
}

// setLogger makes the logger that the flags ask for. It belongs to the app: the default logger stays as it is.
func (a *app) setLogger(cmd *cobra.Command) error {
	level := slog.LevelWarn
	if a.logs.verbose || cmd.Name() == "serve" {
		level = slog.LevelInfo
	}
	if a.logs.level != "" {
		if err := level.UnmarshalText([]byte(a.logs.level)); err != nil {
			return usagef("--log-level %q: want debug, info, warn or error", a.logs.level)
		}
	}
	handler, err := newLogHandler(cmd.ErrOrStderr(), a.logs.format, level)
	if err != nil {
		return err
	}
	a.log = slog.New(handler)
	cmd.SetContext(context.WithValue(cmd.Context(), logKey{}, a.log))
	if os.Getenv("GOLOG_LOG_LEVEL") == "" { // else who looks into libp2p has it as libp2p writes it
		routing.LogTo(handler)
	}
	return nil
}

// openStore opens the store in the home directory, which is made if need be.
func openStore() (*store.Store, error) {
	home, err := homeDir()
	if err != nil {
		return nil, err
	}
	return store.Open(home)
}

// isTerminal says whether a stream of the command is a terminal.
func isTerminal(stream any) bool {
	if n, ok := stream.(*notices); ok {
		stream = n.to
	}
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// notices is standard error. While a chat has the terminal, what is written to both goes through the chat, which knows
// where on the screen there is room for it.
type notices struct {
	to io.Writer

	mu      sync.Mutex
	instead func(text string) // guarded by mu; nil: to
}

func (n *notices) Write(text []byte) (int, error) {
	n.mu.Lock()
	instead := n.instead
	n.mu.Unlock()
	if instead == nil {
		return n.to.Write(text)
	}
	instead(strings.TrimSuffix(string(text), "\n"))
	return len(text), nil
}

// divert has f show what is written, if standard error is a terminal, until restore is called.
func (n *notices) divert(f func(text string)) (restore func()) {
	if !isTerminal(n.to) {
		return func() {}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.instead = f
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.instead = nil
	}
}

// progressWriter is where progress bars go: nowhere unless it is a terminal.
func progressWriter(w io.Writer) io.Writer {
	if isTerminal(w) {
		return w
	}
	return io.Discard
}

// textWriter is where a model's words go. A terminal gets no control characters among them: whoever computes an answer
// could draw it so that it commands the terminal.
func textWriter(w io.Writer) io.Writer {
	if isTerminal(w) {
		return plainText{w}
	}
	return w
}

// plainText makes text harmless. Each Write must bring whole characters.
type plainText struct{ w io.Writer }

func (p plainText) Write(text []byte) (int, error) {
	if _, err := p.w.Write(bytes.Map(terminal.Plain, text)); err != nil {
		return 0, err
	}
	return len(text), nil
}

// baseName is the last element of a path as a user wrote it, also for "." and "dir/".
func baseName(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	return filepath.Base(path)
}
