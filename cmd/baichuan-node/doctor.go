package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/pbnjay/memory"
	"github.com/spf13/cobra"

	"github.com/baichuan-node/baichuan-node/kernels"
	"github.com/baichuan-node/baichuan-node/kernels/probe"
)

// finding is what doctor says of one thing.
type finding struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Found  string `json:"found"`
	Remedy string `json:"remedy,omitempty"` // of what is not in order
}

func newDoctorCommand() *cobra.Command {
	var asJSON bool
	var f swarmFlags
	var host serveFlags
	var listen []string
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check this machine: processor, memory, store, network; say what to do about what is wrong",
		Long: "Checks this machine, and with --join how the others of a swarm reach it: directly, by a port that the router has\n" +
			"mapped, or over a relay; it listens for some seconds as serve would (--listen). Of the models\n" +
			"that are stored here, and of those that the swarm serves, it says which layers this machine could host. It changes nothing.",
		Args: wantArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			findings, err := examine(&host)
			if err != nil {
				return err
			}
			findings = append(findings, examineReach(cmd.Context(), &f, &host, privateListen(listen, f.swarmKey, cmd.Flags().Changed("listen")))...)
			return printFindings(cmd.OutOrStdout(), findings, asJSON)
		},
	}
	f.add(cmd)
	cmd.Flags().StringArrayVar(&listen, "listen", defaultListen, "address that serve would listen on (repeatable)")
	cmd.Flags().Var(&host.memory, "memory", "the memory that serve would be given, such as 8GiB (default: half of the machine's)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

// examine looks at everything, some 0.2 s.
func examine(host *serveFlags) ([]finding, error) {
	device, err := newDevice(0)
	if err != nil {
		return nil, err
	}
	defer device.Close()
	limits := probe.New(device.Name(), device.Threads()).Limits()
	return slices.Concat([]finding{examineKernels(device), examineMemory()}, examineSpeed(limits), examineStore(), examineHosting(host, limits)), nil
}

// examineKernels tells which kernels compute here.
func examineKernels(device *kernels.CPU) finding {
	sets := kernels.Sets()
	f := finding{Name: "kernels", OK: device.Name() == "cpu/"+sets[0] && len(sets) > 1,
		Found: fmt.Sprintf("%s on %d threads, %s/%s; this machine has %s", device.Name(), device.Threads(), runtime.GOOS, runtime.GOARCH, strings.Join(sets, ", "))}
	switch {
	case f.OK:
	case len(sets) == 1:
		f.Remedy = "plain Go is some 20 times slower: a processor with AVX2 (x86) or any arm64 has fast kernels"
	default:
		f.Remedy = fmt.Sprintf("%s holds the kernels to a slower set: unset it to use %s", kernelsEnv, sets[0])
	}
	return f
}

// examineMemory tells what a model would find.
func examineMemory() finding {
	total := int64(memory.TotalMemory())
	if total == 0 {
		return finding{Name: "memory", OK: true, Found: "unknown on this system"}
	}
	f := finding{Name: "memory", OK: total >= leastMemory,
		Found: humanBytes(total)}
	if !f.OK {
		f.Remedy = "too little for a layer of the 7B beside the system; the bundled models run"
	}
	return f
}

// examineSpeed measures what bounds decoding and prompts.
func examineSpeed(limits probe.Limits) []finding {
	return []finding{
		{Name: "reading", OK: true, Found: fmt.Sprintf("%.0f GB/s from memory: the 7B in nf4 decodes %.1f tokens/s at most", limits.Read/1e9, limits.Read/bytesOf7B)},
		{Name: "arithmetic", OK: true, Found: fmt.Sprintf("%.0f GOPS on bytes: the 7B reads a prompt at %.0f tokens/s at most", limits.Integer/1e9, limits.Integer/opsOf7B)},
	}
}

// examineStore tries the home directory and opens what is stored.
func examineStore() []finding {
	home, err := homeDir()
	if err != nil {
		return []finding{{Name: "home", Found: err.Error(), Remedy: "set BAICHUAN_HOME to a directory of yours"}}
	}
	found := finding{Name: "home", OK: true, Found: home}
	if err := tryWriting(home); err != nil {
		found = finding{Name: "home", Found: err.Error(), Remedy: "make it writable, or set BAICHUAN_HOME to a directory that is"}
	}
	models := finding{Name: "models", OK: true}
	s, err := openStore()
	if err != nil {
		models = finding{Name: "models", Found: err.Error(), Remedy: "mend what is named, or set BAICHUAN_HOME to another directory"}
	} else if entries, err := s.List(); err != nil {
		models = finding{Name: "models", Found: err.Error(), Remedy: "baichuan-node models verify tells which files are damaged"}
	} else {
		models.Found = fmt.Sprintf("%d stored, beside those in the program", len(entries))
	}
	return []finding{found, models}
}

// tryWriting makes a file in a directory, and removes it.
func tryWriting(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".doctor-")
	if err != nil {
		return err
	}
	name := f.Name()
	if err := f.Close(); err != nil {
		return err
	}
	return os.Remove(filepath.Clean(name))
}

// printFindings prints them. What is not in order makes it fail, but for slow kernels, which work.
func printFindings(out io.Writer, findings []finding, asJSON bool) error {
	bad := 0
	for _, f := range findings {
		if !f.OK && f.Name != "kernels" {
			bad++
		}
	}
	if asJSON {
		if err := json.NewEncoder(out).Encode(map[string]any{"ok": bad == 0, "findings": findings}); err != nil {
			return err
		}
	} else {
		w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
		for _, f := range findings {
			mark := "ok"
			if !f.OK {
				mark = "!!"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\n", mark, f.Name, f.Found)
			if f.Remedy != "" {
				fmt.Fprintf(w, "\t\t-> %s\n", f.Remedy)
			}
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	if bad > 0 {
		return fmt.Errorf("%d of %d checks found something to mend", bad, len(findings))
	}
	return nil
}
