package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"

	"github.com/spf13/cobra"

	"github.com/baichuan-node/baichuan-node/node/launch"
)

// newBurnCommand is what `bench model --hog` starts: a process that keeps one core busy until its standard input ends.
func newBurnCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "burn",
		Short:  "Keep one core busy until standard input ends",
		Hidden: true,
		Args:   wantArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := launch.UntilClosed(cmd.Context(), cmd.InOrStdin())
			defer stop()
			if _, err := fmt.Fprintln(cmd.OutOrStdout(), "burning"); err != nil {
				return err
			}
			for ctx.Err() == nil {
			}
			return nil
		},
	}
}

// startBurning starts such a process and returns when it is at work; stop ends it. It ends with this process, too.
func startBurning(ctx context.Context) (stop func() error, err error) {
	binary, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program, to start it again: %w", err)
	}
	child := exec.CommandContext(ctx, binary, "bench", "burn")
	stdin, err := child.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start a busy process: %w", err)
	}
	stdout, err := child.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start a busy process: %w", err)
	}
	if err := child.Start(); err != nil {
		return nil, fmt.Errorf("start a busy process: %w", err)
	}
	stop = func() error { return errors.Join(stdin.Close(), child.Wait()) }
	if _, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
		return nil, errors.Join(fmt.Errorf("wait for a busy process: %w", err), stop())
	}
	return stop, nil
}
