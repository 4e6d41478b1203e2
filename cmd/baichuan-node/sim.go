package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/baichuan-node/baichuan-node/sim"
)

// simFlags are those of the sim command.
type simFlags struct {
	json bool
	long bool
	seed uint64
	soak time.Duration
}

func newSimCommand(a *app) *cobra.Command {
	var f simFlags
	cmd := &cobra.Command{
		Use:   "sim NAME|all|list",
		Short: "Kill, hold up and send away nodes of a swarm on this machine, and check its answers",
		Long: "Plays a scenario with a swarm of serve processes on loopback: its nodes are killed, held up or told to leave while\n" +
			"answers are made. Each answer must equal that of one process, and the nodes' counters must show that no healthy\n" +
			"one computed anything twice. Fails if something was not as it should be; -v shows what the nodes log. The scenarios,\n" +
			"all of which `sim all` plays:\n\n" +
			scenarioTable() + plannerTable(),
		Args: wantArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("for") {
				if err := f.checkFor(args[0]); err != nil {
					return err
				}
			}
			return runSim(cmd, a, &f, args[0])
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&f.json, "json", false, "print each scenario's report as a JSON object")
	flags.BoolVar(&f.long, "long", false, "each hop, each moment and longer answers instead of the essentials")
	flags.Uint64Var(&f.seed, "seed", 1, "of what is left to chance: which nodes fail, and when")
	flags.DurationVar(&f.soak, "for", 0, "how long the soak takes (default: 30m with --long, else 6s)")
	cmd.AddCommand(newSimPlacementCommand(), newSimPlannerCommand(), newSimIntrudeCommand())
	return cmd
}

// checkFor refuses a time that is none, or that nothing would heed.
func (f *simFlags) checkFor(name string) error {
	switch {
	case f.soak <= 0:
		return usagef("--for %v: want more than 0", f.soak)
	case name != "soak" && name != "all":
		return usagef("--for is how long the soak takes: %s takes as long as it needs", name)
	}
	return nil
}

func runSim(cmd *cobra.Command, a *app, f *simFlags, name string) error {
	all := sim.Scenarios()
	if name == "list" {
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s\n\n%s\n", scenarioTable()+plannerTable(), virtualSwarms)
		return err
	}
	if name != "all" {
		i := slices.IndexFunc(all, func(s sim.Scenario) bool { return s.Name == name })
		if i < 0 {
			return usagef("no scenario is named %q: `%s list` shows them", name, cmd.CommandPath())
		}
		all = all[i : i+1]
	}
	binary, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program's own file: %w", err)
	}
	cfg := sim.Config{Binary: binary, Without: serveSettings(), Long: f.long, Seed: f.seed, For: f.soak}
	if level := a.logs.nodes(); level != "" {
		cfg.Stderr, cfg.Env = cmd.ErrOrStderr(), []string{"BAICHUAN_LOG_LEVEL=" + level}
	}
	var errs []error
	for _, s := range all {
		err := f.play(cmd.Context(), cmd.OutOrStdout(), s, cfg)
		if cmd.Context().Err() != nil {
			return err
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// play plays a scenario and prints what happens.
func (f *simFlags) play(ctx context.Context, w io.Writer, s sim.Scenario, cfg sim.Config) error {
	if f.json {
		report, err := sim.Play(ctx, s, cfg)
		if report == nil {
			return err
		}
		return errors.Join(err, json.NewEncoder(w).Encode(report), report.Wrong())
	}
	fmt.Fprintf(w, "%s: %s\n", s.Name, s.Is)
	cfg.Step = func(step sim.Step) { printStep(w, step) }
	report, err := sim.Play(ctx, s, cfg)
	if report == nil {
		return err
	}
	return errors.Join(err, report.Wrong())
}

// printStep prints a step in a line, and its failovers and faults below it.
func printStep(w io.Writer, s sim.Step) {
	verdict := "ok"
	if len(s.Wrong) > 0 {
		verdict = "WRONG"
	}
	again, handed := 0, 0
	for _, f := range s.Failovers {
		again += f.Replayed
		handed += f.HandedOver
	}
	if len(s.Speeds) > 0 {
		printSpeeds(w, verdict, s)
		return
	}
	fmt.Fprintf(w, "  %-5s %s: %d answers, %d tokens, %d failovers (%d tokens computed again, %d handed over), longest wait %d ms\n",
		verdict, s.Name, s.Answers, s.Tokens, len(s.Failovers), again, handed, s.StallMS)
	if len(s.Events) > 0 {
		fmt.Fprintf(w, "        what happened: %s\n", strings.TrimSuffix(strings.TrimPrefix(fmt.Sprint(s.Events), "map["), "]"))
	}
	if p := s.Pace; p != nil {
		fmt.Fprintf(w, "        a token took %.1f ms (median; 95 of 100 within %.1f), the distances alone %.1f; a plan predicts %.1f\n", p.TokenMS, p.P95MS, p.PredictedMS, p.PlannedMS)
	}
	for _, note := range s.Notes {
		fmt.Fprintf(w, "        %s\n", note)
	}
	printFloods(w, s.Floods)
	printUses(w, s.Uses)
	printWrong(w, s)
}

// printFloods prints what an honest client notices of attacks.
func printFloods(out io.Writer, floods []sim.Flood) {
	if len(floods) == 0 {
		return
	}
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "        a hostile peer\ttimes\tin vain\ta token of others takes, ms\ttimes\t95 of 100 within, ms\ttimes\tthe node's memory, MiB\tcores")
	for _, f := range floods {
		fmt.Fprintf(w, "        %s\t%d\t%d\t%.1f, alone %.1f\t%.2f\t%.1f, alone %.1f\t%.2f\t%.0f\t%.2f\n", f.Attack, f.Did, f.Refused, f.BesideMS, f.AloneMS,
			f.BesideMS/f.AloneMS, f.BesideP95MS, f.AloneP95MS, f.BesideP95MS/f.AloneP95MS, float64(f.Resident)/(1<<20), f.Cores)
	}
	_ = w.Flush()
}

// printUses prints what idle processes held before a soak and after it.
func printUses(out io.Writer, uses []sim.Use) {
	if len(uses) == 0 {
		return
	}
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "        idle before, and after\tgoroutines\theap MiB\tresident MiB\tfiles\tstreams\tsessions\tcache MiB")
	for _, u := range uses {
		a, b := u.Before, u.After
		mib := func(a, b int) string { return fmt.Sprintf("%.1f %.1f", float64(a)/(1<<20), float64(b)/(1<<20)) }
		fmt.Fprintf(w, "        %s\t%d %d\t%s\t%s\t%d %d\t%d %d\t%d %d\t%s\n", u.Process, a.Goroutines, b.Goroutines,
			mib(a.Heap, b.Heap), mib(a.Resident, b.Resident), a.Files, b.Files, a.Streams, b.Streams, a.Sessions, b.Sessions, mib(a.Cache, b.Cache))
	}
	_ = w.Flush()
}

func printWrong(w io.Writer, s sim.Step) {
	for _, wrong := range s.Wrong {
		fmt.Fprintf(w, "        %s\n", oneLine(wrong))
	}
}

// printSpeeds prints how fast answers are made while sends are lost, beside what others do.
func printSpeeds(out io.Writer, verdict string, s sim.Step) {
	fmt.Fprintf(out, "  %-5s %s; restarting is computed, Petals is as published (steps/s, elsewhere)\n", verdict, s.Name)
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\tloss\tbroken\ttokens/s\tpart\tof loss\tat least\trestarting\tPetals\tPetals restarting\t")
	for _, v := range s.Speeds {
		published, restarting := "-", "-"
		if v.Petals > 0 {
			published, restarting = fmt.Sprint(v.Petals), "never ends"
		}
		if v.PetalsRestarting > 0 {
			restarting = fmt.Sprint(v.PetalsRestarting)
		}
		fmt.Fprintf(w, "\t%v\t%d\t%.1f\t%.2f\t%v\t%v\t%.2g\t%s\t%s\t\n",
			v.Loss, v.Repairs, v.PerSecond, v.Part, v.Of, v.Least, v.Restarting, published, restarting)
	}
	_ = w.Flush()
	printWrong(out, s)
}

// virtualSwarms says where the swarms are that need no processes.
const virtualSwarms = "Virtual swarms, with the real node, client and routing code in simulated time, run in the source tree by\n" +
	"go test ./sim -run Virtual -seed N -seeds M [-parallel 2] [-nodes 12] [-kad] [-notes] [-v]"

// scenarioTable tells of each scenario in a line.
func scenarioTable() string {
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 4, 2, ' ', 0)
	for _, s := range sim.Scenarios() {
		fmt.Fprintf(w, "%s\t%s\n", s.Name, s.Is)
	}
	_ = w.Flush() // to a string
	return strings.TrimSuffix(out.String(), "\n")
}
