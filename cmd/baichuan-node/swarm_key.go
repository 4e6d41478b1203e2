package main

import (
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/baichuan-node/baichuan-node/routing"
)

func newSwarmKeyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "swarm-key",
		Short: "Make keys of private swarms",
		Args:  wantArgs(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newSwarmKeyNewCommand())
	return cmd
}

func newSwarmKeyNewCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "new [FILE]",
		Short: "Make the key of a private swarm",
		Long: "Writes a new key in the standard form (default: swarm.key in the home), for its owner alone. Whoever has a copy can join:\n" +
			"serve and every command that talks to the swarm take it by --swarm-key FILE. Who has another one can't even connect.",
		Args: wantArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			path := ""
			if len(args) > 0 {
				path = args[0]
			} else {
				home, err := homeDir()
				if err != nil {
					return err
				}
				path = filepath.Join(home, "swarm.key")
			}
			if err := routing.NewSwarmKey(path); err != nil {
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "give a copy, by a safe way, to whoever may join, and say --swarm-key %s everywhere\n", path)
			return printLine(cmd, path)
		},
	}
}
