package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/baichuan-node/baichuan-node/client"
	"github.com/baichuan-node/baichuan-node/shard/tokenizer"
)

// generateFlags are those of the generate command.
type generateFlags struct {
	swarm    swarmFlags
	lists    listFlags
	sampling samplingFlags
	prompt   string
	tokens   string
	raw      bool
	json     bool
	logits   string
	local    bool
	threads  int
	noShare  bool
	log      *slog.Logger // the app's, when the command runs
}

func newGenerateCommand(a *app) *cobra.Command {
	var f generateFlags
	cmd := &cobra.Command{
		Use:   "generate [MODEL]",
		Short: "Answer one prompt on standard output",
		Long: "Answers a prompt with a model of a swarm (--join), or of this machine's store (--local). Of a swarm, MODEL is a\n" +
			"name, an id or the beginning of one; it can be left out where the swarm serves one model.",
		Args: wantArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			f.log = a.log
			return runGenerate(cmd, &f, args)
		},
	}
	f.swarm.add(cmd)
	f.lists.add(cmd)
	f.sampling.add(cmd)
	flags := cmd.Flags()
	flags.StringVarP(&f.prompt, "prompt", "p", "", "the prompt: a user's message; - reads standard input")
	flags.StringVar(&f.tokens, "tokens", "", "the prompt as token ids: 1,2,3")
	flags.BoolVar(&f.raw, "raw", false, "continue the prompt as it is, without the chat template (Base models)")
	flags.BoolVar(&f.json, "json", false, "print one JSON object: text, ids, finish reason, timings, chain, and the timeline: where the time of each token went, hop by hop")
	flags.StringVar(&f.logits, "logits", "", "write the raw logits after each token to this file (float32, little endian)")
	flags.BoolVar(&f.local, "local", false, "compute the whole stored model in this process, without a network")
	flags.BoolVar(&f.noShare, "no-share", false, "share no cached prefix with other sessions")
	flags.IntVar(&f.threads, "threads", 0, "with --local: CPU threads (default: all)")
	return cmd
}

func runGenerate(cmd *cobra.Command, f *generateFlags, args []string) (err error) {
	if err := f.check(cmd, args); err != nil {
		return err
	}
	a, err := f.open(cmd, args)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.close()) }()
	options, err := f.sampling.options(cmd, a.model.Drawing)
	if err != nil {
		return err
	}
	prompt, err := f.promptIDs(cmd.InOrStdin(), a.model)
	if err != nil {
		return err
	}
	if f.logits == "" {
		return f.answer(cmd, options.Seed, a.conversation.Generate(cmd.Context(), prompt, options))
	}
	return writeFile(f.logits, func(w io.Writer) error {
		options.Logits = w
		return f.answer(cmd, options.Seed, a.conversation.Generate(cmd.Context(), prompt, options))
	})
}

// check finds what is wrong with the flags alone.
func (f *generateFlags) check(cmd *cobra.Command, args []string) error {
	given := cmd.Flags().Changed
	switch {
	case given("prompt") == given("tokens"):
		return usagef("give the prompt either by -p or by --tokens")
	case given("tokens") && strings.Trim(f.tokens, ", ") == "":
		return usagef("--tokens %q: want ids, such as 1,2,3", f.tokens)
	case given("tokens") && f.raw:
		return usagef("--raw has no meaning with --tokens: ids are continued as they are")
	case f.local && len(args) == 0:
		return usagef("--local needs the name of a stored model")
	case f.local && len(f.swarm.join) > 0:
		return usagef("--local computes here and --join elsewhere: give one of them")
	case f.local && len(f.lists.allow)+len(f.lists.block) > 0:
		return usagef("--local computes here: --allow and --block are for the peers of a swarm")
	}
	return nil
}

func (f *generateFlags) open(cmd *cobra.Command, args []string) (*answerer, error) {
	name := ""
	if len(args) > 0 {
		name = args[0]
	}
	if !f.local {
		return answerFromSwarm(cmd.Context(), name, &f.swarm, &f.lists, cmd.ErrOrStderr(), sessionConfig(cmd.ErrOrStderr(), f.noShare))
	}
	bar := newByteBar(cmd, "loading")
	defer bar.end()
	return answerLocally(cmd.Context(), name, f.threads, bar.update)
}

// promptIDs makes the prompt's token ids.
func (f *generateFlags) promptIDs(in io.Reader, m *client.Model) ([]uint32, error) {
	if f.tokens != "" {
		ids, err := parseIDs([]byte(f.tokens))
		if err != nil {
			return nil, usagef("--tokens: %w", err)
		}
		return ids, nil
	}
	text := f.prompt
	if text == "-" {
		data, err := io.ReadAll(io.LimitReader(in, maxPromptBytes+1))
		if err != nil {
			return nil, fmt.Errorf("read the prompt: %w", err)
		}
		if len(data) > maxPromptBytes {
			return nil, fmt.Errorf("the prompt on standard input has more than %d bytes: shorten it", maxPromptBytes)
		}
		text = string(data)
	}
	if !f.raw {
		return m.Tokenizer.Chat([]tokenizer.Message{{Role: "user", Content: text}}, m.Roles())
	}
	ids := m.Tokenizer.Encode(text)
	if m.Manifest.AddBOS {
		ids = append([]uint32{uint32(m.Manifest.BOS)}, ids...)
	}
	return ids, nil
}

// answer prints an answer as it comes, or its outcome as JSON.
func (f *generateFlags) answer(cmd *cobra.Command, seed uint64, chunks iter.Seq2[client.Chunk, error]) error {
	if !f.json {
		outcome, err := printAnswer(cmd.Context(), textWriter(cmd.OutOrStdout()), chunks)
		if outcome != nil {
			logFailovers(f.log, outcome)
		}
		return err
	}
	var timeline client.Timeline
	for chunk, err := range chunks {
		if err != nil {
			return err
		}
		timeline.Add(chunk.News.Steps...)
		if chunk.Outcome != nil {
			logFailovers(f.log, chunk.Outcome)
			e := json.NewEncoder(cmd.OutOrStdout())
			e.SetEscapeHTML(false)
			return e.Encode(struct {
				*client.Outcome
				Seed     uint64          `json:"seed"`
				Timeline client.Timeline `json:"timeline"`
			}{chunk.Outcome, seed, timeline})
		}
	}
	return errors.New("the answer ended without an outcome")
}

// printAnswer prints an answer as it comes, and a newline after it.
func printAnswer(ctx context.Context, w io.Writer, chunks iter.Seq2[client.Chunk, error]) (*client.Outcome, error) {
	var outcome *client.Outcome
	printed := false
	for chunk, err := range chunks {
		if err != nil {
			if printed {
				fmt.Fprintln(w)
			}
			return nil, err
		}
		if _, err := io.WriteString(w, chunk.Text); err != nil {
			return nil, fmt.Errorf("print the answer: %w", err)
		}
		printed = printed || chunk.Text != ""
		outcome = chunk.Outcome
	}
	if _, err := fmt.Fprintln(w); err != nil {
		return nil, fmt.Errorf("print the answer: %w", err)
	}
	return outcome, ctx.Err()
}

// writeFile has fill write a file that takes its name when it is complete, and not at all if fill fails. What is no
// regular file, such as a pipe, is written directly.
func writeFile(path string, fill func(w io.Writer) error) (err error) {
	if info, statErr := os.Stat(path); statErr == nil && !info.Mode().IsRegular() {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return fmt.Errorf("write %s: %w", path, err)
		}
		return errors.Join(fillBuffered(f, path, fill), f.Close())
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name()) // the first error tells what happened
		}
	}()
	if err := errors.Join(fillBuffered(f, path, fill), f.Close()); err != nil {
		return err
	}
	if err := os.Chmod(f.Name(), 0o644); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

func fillBuffered(f *os.File, path string, fill func(w io.Writer) error) error {
	w := bufio.NewWriterSize(f, 1<<20)
	if err := fill(w); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
