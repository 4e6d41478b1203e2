package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// homeDir is where models, identities and config.yaml are: BAICHUAN_HOME, or .baichuan-node in the user's home.
func homeDir() (string, error) {
	if dir := os.Getenv("BAICHUAN_HOME"); dir != "" {
		return dir, nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find the home directory: %w; set BAICHUAN_HOME", err)
	}
	return filepath.Join(home, ".baichuan-node"), nil
}

// envName is the environment variable of a flag: --kv-tokens is BAICHUAN_KV_TOKENS.
func envName(flag string) string {
	return "BAICHUAN_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// applySettings gives each flag that the command line leaves alone its value from the environment, else from
// config.yaml in the home, which has the flags' names as keys.
func applySettings(cmd *cobra.Command) error {
	file, config, err := readConfig()
	if err != nil {
		return err
	}
	if err := checkKeys(cmd.Root(), file, config); err != nil {
		return err
	}
	var failed error
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Changed || failed != nil || f.Name == "help" {
			return
		}
		source, values := "", []string(nil)
		if v, ok := os.LookupEnv(envName(f.Name)); ok {
			source, values = envName(f.Name), []string{v}
		} else if v, ok := config[f.Name]; ok {
			source, values = file+": "+f.Name, v
		}
		for _, v := range values {
			if err := cmd.Flags().Set(f.Name, v); err != nil {
				failed = usagef("%s: %w", source, flagError(err))
			}
		}
	})
	return failed
}

// checkKeys refuses keys that are no command's flag: a misspelt setting must not be one that does nothing.
func checkKeys(root *cobra.Command, file string, config map[string][]string) error {
	known := make(map[string]bool)
	var collect func(*cobra.Command)
	collect = func(c *cobra.Command) {
		c.Flags().VisitAll(func(f *pflag.Flag) { known[f.Name] = true })
		c.PersistentFlags().VisitAll(func(f *pflag.Flag) { known[f.Name] = true })
		for _, sub := range c.Commands() {
			collect(sub)
		}
	}
	collect(root)
	for _, key := range slices.Sorted(maps.Keys(config)) {
		if !known[key] {
			return usagef("%s: no command has a setting %q", file, key)
		}
	}
	return nil
}

// readConfig reads config.yaml: a map of flag names to values or lists of values. A missing file is an empty one.
func readConfig() (file string, values map[string][]string, err error) {
	home, err := homeDir()
	if err != nil {
		return "", nil, err
	}
	file = filepath.Join(home, "config.yaml")
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return file, nil, nil
	}
	if err != nil {
		return file, nil, fmt.Errorf("read the configuration: %w", err)
	}
	var raw map[string]any
	if err := yaml.Unmarshal(data, &raw); err != nil {
		return file, nil, usagef("read %s: %w", file, err)
	}
	values = make(map[string][]string, len(raw))
	for key, v := range raw {
		list, ok := v.([]any)
		if !ok {
			list = []any{v}
		}
		for _, item := range list {
			switch item.(type) {
			case string, bool, int, int64, uint64, float64:
				values[key] = append(values[key], fmt.Sprint(item))
			default:
				return file, nil, usagef("read %s: key %q is neither a value nor a list of values", file, key)
			}
		}
	}
	return file, values, nil
}
