package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/baichuan-node/baichuan-node/sim/planner"
)

// maxFleet bounds the nodes of a planner's swarm: more would take days.
const maxFleet = 20000

// tellEvery is how often trials that take long say how far they are.
const tellEvery = 5 * time.Second

// newSimPlannerCommand is `sim planner`.
func newSimPlannerCommand() *cobra.Command {
	var nodes, out string
	var seed uint64
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "planner",
		Short: "Placement and routing alone, with thousands of nodes that come and go in made-up time",
		Long: "Plays swarms of some sizes on a map of the world, whose nodes come, go and move, and prints for each how long all\n" +
			"layers were served, tokens/s, the time of a token, and moves. No process is started and nothing is sent. All of the\n" +
			"default sizes take some minutes.",
		Args: wantArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			sizes, err := fleetSizes(nodes)
			if err != nil {
				return err
			}
			var fleets []planner.Fleet
			for _, n := range sizes {
				fmt.Fprintf(cmd.ErrOrStderr(), "playing %d nodes\n", n)
				f, err := planner.PlayFleet(cmd.Context(), planner.FleetConfig{Nodes: n, Seed: seed})
				if err != nil {
					return err
				}
				fleets = append(fleets, f)
			}
			if err := printFleets(cmd.OutOrStdout(), asJSON, fleets); err != nil || out == "" {
				return err
			}
			command := fmt.Sprintf("baichuan-node sim planner --nodes %s --seed %d --out DIR", nodes, seed)
			return planner.WriteFleets(out, command, fleets)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&nodes, "nodes", "10,100,1000,10000", "sizes of swarms")
	flags.Uint64Var(&seed, "seed", 1, "of what is left to chance")
	flags.StringVar(&out, "out", "", "a folder for a report with plots")
	flags.BoolVar(&asJSON, "json", false, "print a JSON object for each size")
	return cmd
}

// fleetSizes reads 10,100.
func fleetSizes(text string) (sizes []int, err error) {
	for part := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(part))
		if err != nil || n < 1 || n > maxFleet {
			return nil, usagef("--nodes %s: want numbers from 1 to %d, with commas between them", text, maxFleet)
		}
		sizes = append(sizes, n)
	}
	return sizes, nil
}

func printFleets(w io.Writer, asJSON bool, fleets []planner.Fleet) error {
	if !asJSON {
		_, err := fmt.Fprint(w, planner.FleetTable(fleets))
		return err
	}
	var errs []error
	for _, f := range fleets {
		errs = append(errs, json.NewEncoder(w).Encode(f.Summary()))
	}
	return errors.Join(errs...)
}

// newSimPlacementCommand is `sim placement`.
func newSimPlacementCommand() *cobra.Command {
	var cfg planner.Config
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "placement",
		Short: "The rules of placement beside the best that a long search finds, Petals' rule, and their bars",
		Long: "Tries the rules by which nodes place themselves on drawn swarms, and prints each figure beside its bar and beside what\n" +
			"Petals' rule comes to. Two swarms of each size take half a minute and show little: only with --draws 0, which plays all\n" +
			"25 and takes some ten minutes, a missed bar is a failure.",
		Args: wantArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cfg.Draws < 0 || cfg.Events < 0 {
				return usagef("--draws and --events: want no less than 0")
			}
			cfg.Tell = func(f planner.Figure) { printFigure(cmd.OutOrStdout(), asJSON, f) }
			cfg.Played = progress(cmd.ErrOrStderr())
			figures, err := planner.Placement(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			missed := 0
			for _, f := range figures {
				if f.Missed() {
					missed++
				}
			}
			if missed > 0 && cfg.Draws == 0 { // a few draws miss a bar by chance
				return fmt.Errorf("%d bars are missed", missed)
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&cfg.Draws, "draws", 2, "swarms of each size; 0: all 25")
	flags.IntVar(&cfg.Events, "events", 0, "of churn in each swarm (default: 24)")
	flags.BoolVar(&asJSON, "json", false, "print a JSON object for each figure")
	return cmd
}

// progress prints how far trials are, now and then.
func progress(w io.Writer) func(trial string, done, all int) {
	last := time.Now()
	return func(trial string, done, all int) {
		if time.Since(last) >= tellEvery {
			last = time.Now()
			fmt.Fprintf(w, "%s: %d of %d swarms\n", trial, done, all)
		}
	}
}

func printFigure(w io.Writer, asJSON bool, f planner.Figure) {
	if asJSON {
		_ = json.NewEncoder(w).Encode(f)
		return
	}
	fmt.Fprintln(w, f)
}

// plannerTable tells of the commands that play no processes, in the words of the scenarios' table.
func plannerTable() string {
	var out strings.Builder
	for _, cmd := range []*cobra.Command{newSimPlacementCommand(), newSimPlannerCommand()} {
		fmt.Fprintf(&out, "\n%s: %s (not part of all)", cmd.Name(), cmd.Short)
	}
	return out.String()
}
