package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/baichuan-node/baichuan-node/gateway"
)

func newKeyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "key",
		Short: "Make and show identities, and make keys for a gateway's clients",
		Args:  wantArgs(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newKeyNewCommand(), newKeyShowCommand(), newKeyAPICommand())
	return cmd
}

// keyFlags are those of `key api`.
type keyFlags struct {
	file       string
	rate       float64
	concurrent int
}

func newKeyAPICommand() *cobra.Command {
	var f keyFlags
	cmd := &cobra.Command{
		Use:   "api NAME",
		Short: "Make a key for a client of the gateway, and show it once",
		Long: "Prints a new key, and adds a line with its hash to the file of keys (default: api-keys in the home), which the gateway\n" +
			"reads by --api-key-file: NAME SHA256 [requests/s] [concurrent], 0 for no limit. Whoever loses the key needs a new one.\n" +
			"A key ends when its line is taken out of the file; a running gateway notices within a second.",
		Args: wantArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return f.make(cmd, args[0]) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.file, "api-key-file", "", "file to add to (default: api-keys in the home)")
	flags.Float64Var(&f.rate, "rate", 0, "requests a second at most (default: no limit)")
	flags.IntVar(&f.concurrent, "concurrent", 0, "requests at once at most (default: no limit)")
	return cmd
}

// make adds a key to the file, and prints it.
func (f *keyFlags) make(cmd *cobra.Command, name string) error {
	if f.rate < 0 || f.concurrent < 0 || math.IsNaN(f.rate) {
		return usagef("--rate and --concurrent: want numbers, or 0 for no limit")
	}
	secret, line, err := gateway.NewKey(name)
	if err != nil {
		return usageError{err}
	}
	if f.file == "" {
		home, err := homeDir()
		if err != nil {
			return err
		}
		if err := os.MkdirAll(home, 0o755); err != nil {
			return fmt.Errorf("make the home directory: %w", err)
		}
		f.file = filepath.Join(home, "api-keys")
	}
	if f.rate > 0 || f.concurrent > 0 {
		line += fmt.Sprintf(" %s %d", strconv.FormatFloat(f.rate, 'f', -1, 64), f.concurrent)
	}
	if err := addLine(f.file, name, line); err != nil {
		return fmt.Errorf("add a key to %s: %w", f.file, err)
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "key of %s, added to %s; it is not shown again:\n", name, f.file)
	_, err = fmt.Fprintln(cmd.OutOrStdout(), secret)
	return err
}

// addLine writes the file anew with one more line, by rename: a gateway that reads it sees all of it.
func addLine(path, name, line string) error {
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if len(old) > 0 && old[len(old)-1] != '\n' {
		old = append(old, '\n')
	}
	data := append(old, line+"\n"...)
	names, err := gateway.ParseKeys(bytes.NewReader(old))
	if err != nil {
		return err
	}
	if slices.Contains(names, name) {
		return fmt.Errorf("%s is there already: take its line out first", name)
	}
	if _, err := gateway.ParseKeys(bytes.NewReader(data)); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // for its owner alone
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
