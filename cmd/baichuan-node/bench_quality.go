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

	"github.com/baichuan-node/baichuan-node/shard/bundled"
	"github.com/baichuan-node/baichuan-node/shard/checkpoint"
	"github.com/baichuan-node/baichuan-node/shard/quality"
	"github.com/baichuan-node/baichuan-node/shard/store"
)

// qualityFlags are those of bench model --quality.
type qualityFlags struct {
	checkpoint string
	questions  string
}

// runQuality holds the formats of a model, or of a checkpoint, against float64.
func runQuality(cmd *cobra.Command, f *benchModelFlags, args []string) (err error) {
	switch {
	case f.synthetic != "" || f.hog != 0:
		return usagef("--quality goes neither with --synthetic nor with --hog")
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
	report, err := compareFormats(cmd.Context(), dir, temp, f.threads[0], questions)
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

// compareFormats imports the checkpoint in dir into a store in home.
func compareFormats(ctx context.Context, dir, home string, threads int, questions []quality.Question) (*quality.Report, error) {
	from, err := checkpoint.Open(dir)
	if err != nil {
		return nil, err
	}
	defer from.Close()
	models, err := store.Open(home)
	if err != nil {
		return nil, err
	}
	device, err := newDevice(threads)
	if err != nil {
		return nil, err
	}
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
