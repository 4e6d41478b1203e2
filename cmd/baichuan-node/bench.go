package main

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/baichuan-node/baichuan-node/kernels"
	"github.com/baichuan-node/baichuan-node/kernels/probe"
)

func newBenchCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure, beside what the machine can do at most",
		Args:  wantArgs(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newBenchKernelsCommand(), newBenchModelCommand(), newBenchSwarmCommand(), newBurnCommand())
	return cmd
}

// machine is what figures were measured on.
type machine struct {
	CPU     string `json:"cpu"`
	Device  string `json:"device"`
	Threads int    `json:"threads"`
	Loops   string `json:"limits_by"`
}

func machineOf(device *kernels.CPU, p *probe.Probe) machine {
	return machine{CPU: probe.CPU(), Device: device.Name(), Threads: device.Threads(), Loops: p.Loops()}
}

func (m machine) String() string {
	return fmt.Sprintf("%s, %s, %d threads; limits by %s", m.CPU, m.Device, m.Threads, m.Loops)
}

// limitsLine shows the machine's limits.
func limitsLine(l probe.Limits) string {
	return fmt.Sprintf("reading %.1f GB/s, bytes %.0f GOPS, float32 %.0f GOPS", l.Read/1e9, l.Integer/1e9, l.Float/1e9)
}

// figureTable prints rows of cells, right-aligned below their names.
func figureTable(out io.Writer, names []string, rows [][]string) error {
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', tabwriter.AlignRight)
	for _, row := range append([][]string{names}, rows...) {
		for _, cell := range row {
			fmt.Fprintf(w, "%s\t", cell)
		}
		fmt.Fprintln(w)
	}
	return w.Flush()
}

// printJSON prints one object in a line.
func printJSON(cmd *cobra.Command, v any) error { return json.NewEncoder(cmd.OutOrStdout()).Encode(v) }

// Numbers as tables have them.
func giga(v float64) string    { return fmt.Sprintf("%.1f", v/1e9) }
func percent(v float64) string { return fmt.Sprintf("%.0f %%", 100*v) }
func millis(v float64) string  { return fmt.Sprintf("%.3f", 1e3*v) }
