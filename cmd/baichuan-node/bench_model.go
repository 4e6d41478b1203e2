package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/pbnjay/memory"
	"github.com/spf13/cobra"

	"github.com/baichuan-node/baichuan-node/kernels"
	"github.com/baichuan-node/baichuan-node/kernels/probe"
	"github.com/baichuan-node/baichuan-node/shard"
	"github.com/baichuan-node/baichuan-node/shard/bundled"
	"github.com/baichuan-node/baichuan-node/shard/checkpoint/synthetic"
	"github.com/baichuan-node/baichuan-node/shard/measure"
	"github.com/baichuan-node/baichuan-node/shard/store"
)

const benchModelHelp = `Times passes through the layers of a stored model, or of one of a real shape whose weights are made up: decoding by
context length, sequences that decode together, guesses of one sequence that are verified together, prompts. Each stands
beside what the machine can do at most, found in the same rounds by bare loops, which read the same memory; all figures
are medians. "time/limit" is the time over max(weight bytes / reading loop, operations / (0.75 x peak)). --hog decodes
beside a process that keeps one core busy, too.

With --quality: imports a checkpoint as nf4, int8 and bf16 into a temporary store and holds each against the same
checkpoint computed in float64: over the tokens of the right answers to --questions their perplexity, the KL divergence
from float64 and how often the first choice is the same, and for each skill how many questions are answered word for
word, greedily.

Without --checkpoint the weights are those that MODEL stores (default: ` + bundled.Chat + `), which were rounded when it was
imported: then the comparison shows what the arithmetic and the cache cost, and not what the rounding of an nf4 model
did. A checkpoint as it was trained shows both.`

// benchModelFlags are those of bench model.
type benchModelFlags struct {
	synthetic string
	weights   string
	layers    string
	threads   []int
	steps     measure.StepsConfig
	hog       time.Duration // 0: not
	json      bool

	quality bool
	qualityFlags
}

func newBenchModelCommand() *cobra.Command {
	f := benchModelFlags{steps: measure.DefaultSteps()}
	cmd := &cobra.Command{
		Use:   "model [MODEL]",
		Short: "Measure how fast a model is, or what its formats cost in quality",
		Long:  benchModelHelp,
		Args:  wantArgs(cobra.MaximumNArgs(1)),
		RunE:  func(cmd *cobra.Command, args []string) error { return runBenchModel(cmd, &f, args) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.synthetic, "synthetic", "", "7b or 13b: weights are made up, in memory")
	flags.StringVar(&f.weights, "weights", "nf4", "format of the weights that are made up: nf4, int8, bf16 or f16")
	flags.StringVar(&f.layers, "layers", "", "layers A:B alone (default: all)")
	flags.IntSliceVar(&f.threads, "threads", []int{0}, "CPU threads, one after another; 0: all")
	flags.IntSliceVar(&f.steps.Contexts, "context", f.steps.Contexts, "tokens before the one that is decoded")
	flags.IntSliceVar(&f.steps.Batch, "batch", f.steps.Batch, "sequences that decode together, and guesses that are verified together")
	flags.IntSliceVar(&f.steps.Prompts, "prompt", f.steps.Prompts, "tokens of a prompt")
	flags.DurationVar(&f.hog, "hog", 0, "decode beside a process that keeps one core busy, too, in turns of so long")
	flags.Lookup("hog").NoOptDefVal = measure.HogTurn.String()
	flags.BoolVar(&f.json, "json", false, "print one JSON object")
	flags.BoolVar(&f.quality, "quality", false, "compare the formats with float64 arithmetic")
	flags.StringVar(&f.checkpoint, "checkpoint", "", "directory of the checkpoint to compare the formats of")
	flags.StringVar(&f.questions, "questions", "", "file with a question per line: {\"skill\",\"lang\",\"messages\",\"answer\"}")
	return cmd
}

func runBenchModel(cmd *cobra.Command, f *benchModelFlags, args []string) error {
	if err := f.check(); err != nil {
		return err
	}
	if f.quality {
		return runQuality(cmd, f, args)
	}
	model, err := f.model(cmd, args)
	if err != nil {
		return err
	}
	span, err := f.span(model)
	if err != nil {
		return err
	}
	if f.synthetic != "" {
		if err := fitsMachine(model.Manifest, span, f.steps.CacheTokens(model.Manifest), int64(memory.TotalMemory())); err != nil {
			return fmt.Errorf("make up layers %v of %s in %s: %w", span, model.Name, f.weights, err)
		}
	}
	r := modelReport{
		Model: model.Name, Position: model.Manifest.Position, Weights: model.Manifest.Weights, Layers: span.String(),
		WeightBytes: measure.WeightBytes(model.Manifest, span),
	}
	for _, threads := range f.threads {
		run, err := f.measure(cmd, model, span, threads)
		if err != nil {
			return err
		}
		r.Runs = append(r.Runs, run)
	}
	if f.json {
		return printJSON(cmd, r)
	}
	return printModel(cmd.OutOrStdout(), r)
}

// check tells which number makes no sense.
func (f *benchModelFlags) check() error {
	for _, list := range []struct {
		name   string
		values []int
		least  int
	}{{"context", f.steps.Contexts, 0}, {"batch", f.steps.Batch, 1}, {"prompt", f.steps.Prompts, 1}} {
		for _, v := range list.values {
			if v < list.least {
				return usagef("--%s %d: want %d or more", list.name, v, list.least)
			}
		}
	}
	for _, n := range f.threads {
		if err := checkThreads(n); err != nil {
			return err
		}
	}
	if f.hog < 0 {
		return usagef("--hog %v: want more than 0", f.hog)
	}
	if len(f.threads) == 0 {
		return usagef("--threads: want at least one number")
	}
	if !f.quality && (f.checkpoint != "" || f.questions != "") {
		return usagef("--checkpoint and --questions go with --quality")
	}
	return nil
}

// model opens what is stored or makes one up.
func (f *benchModelFlags) model(cmd *cobra.Command, args []string) (*store.Model, error) {
	switch {
	case len(args) == 0 && f.synthetic == "":
		return nil, usagef("bench model: give a stored MODEL, --synthetic 7b or 13b, or --quality")
	case len(args) > 0 && f.synthetic != "":
		return nil, usagef("give a stored MODEL or --synthetic")
	case len(args) > 0 && cmd.Flags().Changed("weights"):
		return nil, usagef("--weights goes with --synthetic: a stored MODEL has its own")
	case len(args) > 0:
		return storedModel(args[0])
	}
	preset, ok := map[string]string{"7b": "baichuan2-7b", "13b": "baichuan2-13b"}[f.synthetic]
	if !ok {
		return nil, usagef("--synthetic %q: want 7b or 13b", f.synthetic)
	}
	if format, err := kernels.ParseFormat(f.weights); err != nil || format == kernels.F32 {
		return nil, usagef("--weights %q: want nf4, int8, bf16 or f16", f.weights)
	}
	shape, err := synthetic.Preset(preset)
	if err != nil {
		return nil, err
	}
	return measure.Synthetic(f.synthetic, shape, f.weights)
}

// span reads --layers and holds it against the model.
func (f *benchModelFlags) span(m *store.Model) (store.Span, error) {
	whole := store.Span{Start: 0, End: m.Manifest.Layers}
	if f.layers == "" {
		return whole, nil
	}
	span, err := store.ParseSpan(f.layers)
	if err != nil {
		return span, usagef("--layers: %w", err)
	}
	if span.End > whole.End {
		return span, usagef("--layers %v: %s has layers %v", span, m.Name, whole)
	}
	return span, nil
}

// modelReport is what bench model prints.
type modelReport struct {
	Model       string     `json:"model"`
	Position    string     `json:"position"`
	Weights     string     `json:"weights"`
	Layers      string     `json:"layers"`
	WeightBytes int64      `json:"weight_bytes"` // that a token reads
	Runs        []modelRun `json:"runs"`
}

// modelRun is the figures with one number of threads.
type modelRun struct {
	machine
	LoadSeconds float64              `json:"load_s"`
	Steps       []measure.StepFigure `json:"steps"`
	Hog         *measure.HogFigure   `json:"hog,omitempty"`
}

// measure loads the layers anew and measures them.
func (f *benchModelFlags) measure(cmd *cobra.Command, model *store.Model, span store.Span, threads int) (run modelRun, err error) {
	ctx := cmd.Context()
	device, err := newDevice(threads)
	if err != nil {
		return run, err
	}
	var opened closers
	defer func() { err = errors.Join(err, opened.close()) }()
	opened.closes(device.Close)
	begun := time.Now()
	s, err := load(ctx, cmd, model, budget{span: span, tokens: f.steps.CacheTokens(model.Manifest)}, device)
	if err != nil {
		return run, err
	}
	opened.closes(s.Close)
	p := probe.New(device.Name(), device.Threads())
	run = modelRun{machine: machineOf(device, p), LoadSeconds: time.Since(begun).Seconds()}
	if run.Steps, err = measure.Steps(ctx, s, p, f.steps); err != nil || f.hog == 0 {
		return run, err
	}
	run.Hog, err = besideHog(ctx, s, f.hog)
	return run, err
}

func besideHog(ctx context.Context, s *shard.Shard, turn time.Duration) (*measure.HogFigure, error) {
	figure, err := measure.Hog(ctx, s, turn, func() (func() error, error) { return startBurning(ctx) })
	return &figure, err
}

// printModel prints a table for each number of threads.
func printModel(out io.Writer, r modelReport) error {
	fmt.Fprintf(out, "%s in %s, layers %s: a token reads %s of weights\n", r.Model, r.Weights, r.Layers, humanBytes(r.WeightBytes))
	for _, run := range r.Runs {
		fmt.Fprintf(out, "\n%s\n", run.machine)
		if len(run.Steps) > 0 {
			fmt.Fprintf(out, "beside decoding: %s\n", limitsLine(run.Steps[0].Limits))
		}
		var rows [][]string
		for _, s := range run.Steps {
			rows = append(rows, []string{
				s.Kind, fmt.Sprint(s.Sequences), fmt.Sprint(s.Rows), fmt.Sprint(s.Context), fmt.Sprintf("%.1f", 1e3*s.Seconds),
				fmt.Sprintf("%.2f", s.Tokens), giga(s.Bytes), percent(s.Read), giga(s.Ops), percent(s.Arithmetic),
				fmt.Sprintf("%.2f", s.Ratio), fmt.Sprintf("%.2f", s.Beside), fmt.Sprint(s.Allocations),
			})
		}
		names := []string{
			"pass", "sequences", "tokens", "context", "ms", "tokens/s", "GB/s", "of reading", "GOPS", "of peak",
			"time/limit", "time/first", "allocations",
		}
		if err := figureTable(out, names, rows); err != nil {
			return err
		}
		if h := run.Hog; h != nil {
			fmt.Fprintf(out, "beside a busy process: %.2f tokens/s, %.2f without: %.2f\n", h.Busy, h.Quiet, h.Ratio)
		}
	}
	return nil
}
