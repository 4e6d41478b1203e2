package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/baichuan-node/baichuan-node/kernels"
	"github.com/baichuan-node/baichuan-node/kernels/probe"
	"github.com/baichuan-node/baichuan-node/shard/measure"
)

const benchKernelsHelp = `Times the operations of the device at the shapes of the 7B, with weights that are made up and come from memory, in
turns with bare loops that show what the machine can do at most: reading that memory, multiplying bytes, adding up
float32 products. A share is that of the limit that binds, bytes / reading loop or operations / peak, whichever is more; all
figures are medians over rounds. Activations lie in the processor's cache: the share of what only reads those may
exceed 1. What would take longer than 10 s is left out.`

// benchKernelsFlags are those of bench kernels.
type benchKernelsFlags struct {
	threads int
	only    []string
	weights []string
	rows    []int
	json    bool
}

func newBenchKernelsCommand() *cobra.Command {
	var f benchKernelsFlags
	all := measure.DefaultKernels()
	cmd := &cobra.Command{
		Use:   "kernels",
		Short: "Measure each kernel beside the machine's limits",
		Long:  benchKernelsHelp,
		Args:  wantArgs(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return runBenchKernels(cmd, &f) },
	}
	var formats []string
	for _, format := range all.Formats {
		formats = append(formats, format.String())
	}
	flags := cmd.Flags()
	flags.IntVar(&f.threads, "threads", 0, "CPU threads (default: all)")
	flags.StringSliceVar(&f.only, "only", all.Groups, "groups of kernels")
	flags.StringSliceVar(&f.weights, "weights", formats, "formats of matrices")
	flags.IntSliceVar(&f.rows, "rows", all.Rows, "rows that are multiplied with a matrix at once")
	flags.BoolVar(&f.json, "json", false, "print one JSON object")
	return cmd
}

// config reads the flags.
func (f *benchKernelsFlags) config() (measure.KernelsConfig, error) {
	cfg := measure.DefaultKernels()
	cfg.Formats, cfg.Rows, cfg.Groups = nil, f.rows, f.only
	if err := checkThreads(f.threads); err != nil {
		return cfg, err
	}
	if len(f.only) == 0 {
		return cfg, usagef("--only: want some of %s", strings.Join(measure.DefaultKernels().Groups, ", "))
	}
	for _, n := range f.rows {
		if n < 1 {
			return cfg, usagef("--rows %d: want 1 or more", n)
		}
	}
	for _, group := range f.only {
		if !strings.Contains(" "+strings.Join(measure.DefaultKernels().Groups, " ")+" ", " "+group+" ") {
			return cfg, usagef("--only %q: want some of %s", group, strings.Join(measure.DefaultKernels().Groups, ", "))
		}
	}
	for _, name := range f.weights {
		format, err := kernels.ParseFormat(name)
		if err != nil || format == kernels.F32 {
			return cfg, usagef("--weights %q: want some of nf4, int8, f16, bf16", name)
		}
		cfg.Formats = append(cfg.Formats, format)
	}
	return cfg, nil
}

// kernelsReport is what bench kernels prints.
type kernelsReport struct {
	machine
	Figures []measure.KernelFigure `json:"figures"`
}

func runBenchKernels(cmd *cobra.Command, f *benchKernelsFlags) (err error) {
	cfg, err := f.config()
	if err != nil {
		return err
	}
	device, err := newDevice(f.threads)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, device.Close()) }()
	p := probe.New(device.Name(), device.Threads())
	r := kernelsReport{machine: machineOf(device, p)}
	err = measure.Kernels(cmd.Context(), device, p, cfg, func(k measure.KernelFigure) { r.Figures = append(r.Figures, k) })
	if err != nil {
		return err
	}
	if f.json {
		return printJSON(cmd, r)
	}
	return printKernels(cmd.OutOrStdout(), r)
}

// printKernels prints a table of the products, a line for all of a layer, and one of the other kernels.
func printKernels(out io.Writer, r kernelsReport) error {
	fmt.Fprintln(out, r.machine)
	layers, others := kernelRows(r.Figures)
	if len(layers) > 0 {
		fmt.Fprintln(out, "\nthe products of a layer, and the shares of each")
		names := []string{"weights", "rows", "ms", "GB/s", "GOPS", "of GB/s", "of GOPS", "bound by", "share", "w_pack", "o_proj", "gate+up", "down"}
		if err := figureTable(out, names, layers); err != nil {
			return err
		}
	}
	if len(others) == 0 {
		return nil
	}
	fmt.Fprintln(out, "\nthe other kernels")
	return figureTable(out, []string{"kernel", "shape", "rows", "context", "ms", "GB/s", "GOPS", "of GB/s", "of GOPS", "bound by", "share"}, others)
}

// kernelRows makes the cells. The products of a layer come before the whole of it, which is named so.
func kernelRows(figures []measure.KernelFigure) (layers, others [][]string) {
	var shares []string
	for _, f := range figures {
		peak := f.Limits.Integer
		if f.Work.Float > f.Work.Integer {
			peak = f.Limits.Float
		}
		cells := []string{
			millis(f.Seconds), giga(f.Bytes), giga(f.Ops), giga(f.Limits.Read), giga(peak), f.Bound, percent(f.Share),
		}
		format, what, _ := strings.Cut(f.Kernel, " ")
		switch what {
		case "w_pack", "o_proj", "gate+up", "down":
			shares = append(shares, percent(f.Share))
		case "layer":
			layers = append(layers, append(append([]string{format, fmt.Sprint(f.Rows)}, cells...), shares...))
			shares = nil
		default:
			context := ""
			if f.Context > 0 {
				context = fmt.Sprint(f.Context)
			}
			others = append(others, append([]string{f.Kernel, f.Shape, fmt.Sprint(f.Rows), context}, cells...))
		}
	}
	return layers, others
}
