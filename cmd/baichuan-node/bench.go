package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/baichuan-node/baichuan-node/kernels"
	"github.com/baichuan-node/baichuan-node/shard/bundled"
	"github.com/baichuan-node/baichuan-node/shard/checkpoint"
	"github.com/baichuan-node/baichuan-node/shard/quality"
	"github.com/baichuan-node/baichuan-node/shard/store"
)

const benchModelHelp = `With --quality: imports a checkpoint as nf4, int8 and bf16 into a temporary store and holds each against the same
checkpoint computed in float64: over the tokens of the right answers to --questions their perplexity, the KL divergence
from float64 and how often the first choice is the same, and for each skill how many questions are answered word for
word, greedily.

Without --checkpoint the weights are those that MODEL stores (default: ` + bundled.Chat + `), which were rounded when it was
imported: then the comparison shows what the arithmetic and the cache cost, and not what the rounding of an nf4 model
did. A checkpoint as it was trained shows both.`

// benchModelFlags are those of bench model.
type benchModelFlags struct {
	quality    bool
	checkpoint string
	questions  string
	threads    int
	json       bool
}

func newBenchCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure",
		Args:  wantArgs(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newBenchModelCommand())
	return cmd
}

func newBenchModelCommand() *cobra.Command {
	var f benchModelFlags
	cmd := &cobra.Command{
		Use:   "model [MODEL]",
		Short: "Measure what a model's formats cost in quality",
		Long:  benchModelHelp,
		Args:  wantArgs(cobra.MaximumNArgs(1)),
		RunE:  func(cmd *cobra.Command, args []string) error { return runBenchModel(cmd, &f, args) },
	}
	flags := cmd.Flags()
	flags.BoolVar(&f.quality, "quality", false, "compare the formats with float64 arithmetic")
	flags.StringVar(&f.checkpoint, "checkpoint", "", "directory of the checkpoint to compare the formats of")
	flags.StringVar(&f.questions, "questions", "", "file with a question per line: {\"skill\",\"lang\",\"messages\",\"answer\"}")
	flags.IntVar(&f.threads, "threads", 0, "CPU threads (default: all)")
	flags.BoolVar(&f.json, "json", false, "print one JSON object")
	return cmd
}

func runBenchModel(cmd *cobra.Command, f *benchModelFlags, args []string) (err error) {
	switch {
	case !f.quality:
		return usagef("bench model: this version measures --quality alone")
	case f.questions == "":
		return usagef("--quality needs --questions FILE: in the repository, shard/bundled/testdata/heldout.jsonl")
	case f.checkpoint != "" && len(args) > 0:
		return usagef("give a stored model or a --checkpoint")
	}
	questions, err := readQuestions(f.questions)
	if err != nil {
		return err
	}
	temp, err := os.MkdirTemp("", "baichuan-bench-")
	if err != nil {
		return fmt.Errorf("make a temporary store: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()
	dir := f.checkpoint
	if dir == "" {
		dir = filepath.Join(temp, "checkpoint")
		model, err := storedModel(append(args, bundled.Chat)[0])
		if err != nil {
			return err
		}
		if err := store.Export(cmd.Context(), model, dir); err != nil {
			return err
		}
	}
	report, err := f.compare(cmd.Context(), dir, temp, questions)
	if err != nil {
		return err
	}
	if f.json {
		return json.NewEncoder(cmd.OutOrStdout()).Encode(report)
	}
	return printQuality(cmd.OutOrStdout(), report)
}

func readQuestions(path string) ([]quality.Question, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read questions: %w", err)
	}
	defer file.Close()
	questions, err := quality.ReadQuestions(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return questions, nil
}

// compare imports the checkpoint in dir into a store in home.
func (f *benchModelFlags) compare(ctx context.Context, dir, home string, questions []quality.Question) (*quality.Report, error) {
	from, err := checkpoint.Open(dir)
	if err != nil {
		return nil, err
	}
	defer from.Close()
	models, err := store.Open(home)
	if err != nil {
		return nil, err
	}
	device := kernels.NewCPU(f.threads)
	report, err := quality.Compare(ctx, from, models, device, quality.Formats(), questions)
	return report, errors.Join(err, device.Close())
}

// printQuality prints a column for each format.
func printQuality(out io.Writer, r *quality.Report) error {
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', tabwriter.AlignRight)
	row := func(name string, cell func(quality.Figures) string) {
		fmt.Fprintf(w, "%s\t", name)
		for _, f := range r.Figures {
			fmt.Fprintf(w, "%s\t", cell(f))
		}
		fmt.Fprintln(w)
	}
	percent := func(s quality.Score) string { return fmt.Sprintf("%.1f %%", 100*s.Share()) }
	row("weights", func(f quality.Figures) string { return f.Weights })
	row("kv", func(f quality.Figures) string { return f.KV })
	row("perplexity", func(f quality.Figures) string { return fmt.Sprintf("%.4f", f.Perplexity) })
	row("KL", func(f quality.Figures) string { return fmt.Sprintf("%.2g", f.KL) })
	row("top-1", func(f quality.Figures) string { return fmt.Sprintf("%.2f %%", 100*f.Top1) })
	for _, skill := range r.Figures[0].Scores.Skills() {
		name := fmt.Sprintf("%s (%d)", skill, r.Figures[0].Scores[skill].Of)
		row(name, func(f quality.Figures) string { return percent(f.Scores[skill]) })
	}
	row(fmt.Sprintf("all (%d)", r.Questions), func(f quality.Figures) string { return percent(f.Scores.Total()) })
	fmt.Fprintf(w, "distributions compared at %d tokens\n", r.Tokens)
	return w.Flush()
}
