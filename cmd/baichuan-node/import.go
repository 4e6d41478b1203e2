package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/baichuan-node/baichuan-node/shard/checkpoint"
	"github.com/baichuan-node/baichuan-node/shard/store"
)

func newImportCommand() *cobra.Command {
	var options store.ImportOptions
	cmd := &cobra.Command{
		Use:   "import DIR",
		Short: "Turn a Hugging Face checkpoint directory into a stored model",
		Long: "Reads config.json, tokenizer.model and the weights (pytorch_model.bin or safetensors, one file or shards; F32,\n" +
			"F16 or BF16) of a Baichuan 1 or 2 checkpoint and writes a model to the store, under BAICHUAN_HOME/models.",
		Args: wantArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runImport(cmd, args[0], options)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&options.Name, "name", "", "the model's name in the store (default: the directory's name)")
	flags.StringVar(&options.Weights, "weights", "nf4", "nf4, int8, bf16 or f16")
	flags.StringVar(&options.KV, "kv", "int8", "format of the KV cache: int8 or f16")
	flags.BoolVar(&options.Force, "force", false, "replace a model of that name")
	return cmd
}

func runImport(cmd *cobra.Command, src string, options store.ImportOptions) error {
	if strings.HasPrefix(src, "hf:") || strings.HasPrefix(src, "ms:") {
		return usagef("import %s: this version reads directories alone; download the checkpoint and name its directory", src)
	}
	if options.Name == "" {
		options.Name = baseName(src)
		if err := store.CheckName(options.Name); err != nil {
			return usagef("import %s: the directory's name can't be the model's, choose one with --name: %w", src, err)
		}
	}
	if err := checkImport(options); err != nil {
		return usageError{err}
	}
	models, err := openStore()
	if err != nil {
		return err
	}
	from, err := checkpoint.Open(src)
	if err != nil {
		return err
	}
	defer from.Close()

	bar := newByteBar(cmd, "")
	options.Progress = bar.updateStage
	begun := time.Now()
	model, err := store.Import(cmd.Context(), models, from, options)
	bar.end()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s  %s  %d layers, %s, in %.1f s\n", model.Name, model.ID, model.Manifest.Layers,
		model.Manifest.Weights, time.Since(begun).Seconds())
	return err
}

// checkImport finds what is wrong with the flags, so that it is told as such.
func checkImport(o store.ImportOptions) error {
	if !slices.Contains([]string{"nf4", "int8", "bf16", "f16"}, o.Weights) {
		return fmt.Errorf("--weights %q: want nf4, int8, bf16 or f16", o.Weights)
	}
	if o.KV != "int8" && o.KV != "f16" {
		return fmt.Errorf("--kv %q: want int8 or f16", o.KV)
	}
	return store.CheckName(o.Name)
}
