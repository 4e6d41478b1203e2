package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/baichuan-node/baichuan-node/node/launch"
	"github.com/baichuan-node/baichuan-node/sim"
)

// newSimIntrudeCommand is what `sim flood` starts: a hostile peer that is told what to do in JSON, says when it is connected,
// goes on until its standard input ends, and tells then what it has done.
func newSimIntrudeCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "intrude JSON",
		Short:  "Be hostile to a node until standard input ends",
		Hidden: true,
		Args:   wantArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			var in sim.Intruder
			if err := json.Unmarshal([]byte(args[0]), &in); err != nil {
				return usagef("what to do: %w", err)
			}
			ctx, stop := launch.UntilClosed(cmd.Context(), cmd.InOrStdin())
			defer stop()
			did, err := sim.Intrude(ctx, in, func() { fmt.Fprintln(cmd.OutOrStdout(), "connected") })
			if err != nil {
				return err
			}
			return json.NewEncoder(cmd.OutOrStdout()).Encode(did)
		},
	}
}
