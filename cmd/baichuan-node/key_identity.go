package main

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/baichuan-node/baichuan-node/routing"
)

func newKeyNewCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "new [FILE]",
		Short: "Make an identity for serve, and print its peer id",
		Long: "Writes a new Ed25519 key (default: identity.key in the home, which serve takes), for its owner alone, and prints the id\n" +
			"that other peers know it by. A file that is there stays as it is: who has lost it can't be that peer any more.",
		Args: wantArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := identityFile(args)
			if err != nil {
				return err
			}
			id, err := routing.NewIdentity(path)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "an identity was written to %s\n", path)
			return printLine(cmd, id.String())
		},
	}
}

func newKeyShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show [FILE]",
		Short: "Print the peer id of an identity",
		Args:  wantArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := identityFile(args)
			if err != nil {
				return err
			}
			id, err := routing.ShowIdentity(path)
			if errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("%w; baichuan-node key new makes one", err)
			}
			if err != nil {
				return err
			}
			return printLine(cmd, id.String())
		},
	}
}

// identityFile is the file that was named, or the first that serve takes.
func identityFile(args []string) (string, error) {
	if len(args) > 0 {
		return args[0], nil
	}
	home, err := homeDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(home, "identity.key"), nil
}

func printLine(cmd *cobra.Command, line string) error {
	if _, err := fmt.Fprintln(cmd.OutOrStdout(), line); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}
