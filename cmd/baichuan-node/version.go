package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/baichuan-node/baichuan-node/kernels"
)

func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Show version, commit, Go and the kernels in use",
		Args:  wantArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			version, commit := buildVersion()
			device, err := newDevice(1)
			if err != nil {
				return err
			}
			defer device.Close()
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "baichuan-node %s\ncommit %s\n%s %s/%s\nkernels %s (this machine has %s)\n",
				version, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH, device.Name(), strings.Join(kernels.Sets(), ", "))
			return err
		},
	}
}

// buildVersion is what the Go tool wrote into the binary: the module's version and the commit.
func buildVersion() (version, commit string) {
	version, commit = "devel", "unknown"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return version, commit
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		version = v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			commit = s.Value
		}
	}
	return version, commit
}
