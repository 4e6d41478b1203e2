package main

import (
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/baichuan-node/baichuan-node/shard/bundled"
	"github.com/baichuan-node/baichuan-node/shard/store"
)

func newModelsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "models",
		Short: "List, check, export and remove stored models",
		Args:  wantArgs(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return listModels(cmd) },
	}
	cmd.AddCommand(
		&cobra.Command{
			Use: "rm NAME", Short: "Remove a model", Args: wantArgs(cobra.ExactArgs(1)),
			RunE: func(_ *cobra.Command, args []string) error { return removeModel(args[0]) },
		},
		&cobra.Command{
			Use: "verify [NAME]", Short: "Check every stored byte of a model, or of all models, against its hashes",
			Args: wantArgs(cobra.MaximumNArgs(1)),
			RunE: verifyModels,
		},
		&cobra.Command{
			Use: "prune", Short: "Remove what interrupted imports left", Args: wantArgs(cobra.NoArgs),
			RunE: func(cmd *cobra.Command, _ []string) error {
				models, err := openStore()
				if err != nil {
					return err
				}
				freed, err := models.Prune()
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "freed %s\n", humanBytes(freed))
				return err
			},
		},
		&cobra.Command{
			Use:   "export NAME DIR",
			Short: "Write a model as a checkpoint: config.json, tokenizer.model and model.safetensors in F32",
			Args:  wantArgs(cobra.ExactArgs(2)),
			RunE: func(cmd *cobra.Command, args []string) error {
				model, err := storedModel(args[0])
				if err != nil {
					return err
				}
				return store.Export(cmd.Context(), model, args[1])
			},
		},
	)
	return cmd
}

// storedModel opens a model by name or id: one of the store, else one that came with the program.
func storedModel(name string) (*store.Model, error) {
	model, _, err := findModel(name)
	return model, err
}

// findModel is storedModel, and says whether the model came with the program.
func findModel(name string) (model *store.Model, isBundled bool, err error) {
	models, err := openStore()
	if err != nil {
		return nil, false, err
	}
	model, err = models.Model(name)
	var missing, alsoMissing *store.NotFoundError
	if !errors.As(err, &missing) {
		return model, false, err
	}
	model, err = bundled.Open(name)
	if errors.As(err, &alsoMissing) {
		alsoMissing.Have = append(missing.Have, alsoMissing.Have...)
	}
	return model, true, err
}

func removeModel(name string) error {
	models, err := openStore()
	if err != nil {
		return err
	}
	err = models.Remove(name)
	if missing := (*store.NotFoundError)(nil); errors.As(err, &missing) {
		if carried, bundledErr := bundled.Open(name); bundledErr == nil {
			return fmt.Errorf("model %s is a part of this program: it can't be removed", carried.Name)
		}
	}
	return err
}

// listedModel is a line of `models`.
type listedModel struct {
	store.Entry
	origin string
}

// allModels lists the models of the store, and those of the program whose names the store does not use.
func allModels() ([]listedModel, error) {
	models, err := openStore()
	if err != nil {
		return nil, err
	}
	stored, err := models.List()
	if err != nil {
		return nil, err
	}
	carried, err := bundled.List()
	if err != nil {
		return nil, err
	}
	var all []listedModel
	taken := make(map[string]bool)
	for _, m := range stored {
		all = append(all, listedModel{m, "store"})
		taken[strings.ToLower(m.Name)] = true
	}
	for _, m := range carried {
		if !taken[strings.ToLower(m.Name)] {
			all = append(all, listedModel{m, "bundled"})
		}
	}
	return all, nil
}

func listModels(cmd *cobra.Command) error {
	list, err := allModels()
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tID\tARCHITECTURE\tWEIGHTS\tLAYERS\tSIZE\tFROM")
	for _, m := range list {
		if m.Err != nil {
			fmt.Fprintf(w, "%s\t%s\n", m.Name, oneLine("damaged: "+m.Err.Error()))
			continue
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", m.Name, m.ID, m.Architecture, m.Weights, presentLayers(m.Entry), humanBytes(m.Size), m.origin)
	}
	return w.Flush()
}

// presentLayers writes which layers are here, of how many: 0:2,5:8 of 32.
func presentLayers(m store.Entry) string {
	var spans []string
	for _, s := range m.Present {
		spans = append(spans, s.String())
	}
	if len(spans) == 0 {
		spans = []string{"none"}
	}
	return fmt.Sprintf("%s of %d", strings.Join(spans, ","), m.Layers)
}

func verifyModels(cmd *cobra.Command, args []string) error {
	names := args
	if len(names) == 0 {
		list, err := allModels()
		if err != nil {
			return err
		}
		for _, m := range list {
			names = append(names, m.Name)
		}
	}
	var bad []error
	for _, name := range names {
		err := verifyModel(cmd, name)
		if cmd.Context().Err() != nil {
			return err
		}
		if err != nil {
			bad = append(bad, err)
		}
	}
	if len(bad) > 1 {
		return fmt.Errorf("%w (and %d more models are damaged: models verify NAME tells of each)", bad[0], len(bad)-1)
	}
	return errors.Join(bad...)
}

func verifyModel(cmd *cobra.Command, name string) error {
	model, err := storedModel(name)
	if err != nil {
		return err
	}
	if err := store.Verify(cmd.Context(), model); err != nil {
		return err
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s  ok\n", model.Name)
	return err
}

// humanBytes writes a size with three digits: 512 B, 1.23 GiB.
func humanBytes(n int64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v, unit := float64(n)/1024, 0
	for v >= 1000 && unit < len(units)-1 {
		v, unit = v/1024, unit+1
	}
	return fmt.Sprintf("%.3g %ciB", v, units[unit])
}
