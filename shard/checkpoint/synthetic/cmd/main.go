// Command cmd writes a checkpoint of made-up weights in one of the published shapes, so that an import of real size can
// be tried and measured without downloading anything. It is no part of the product.
//
//	go run ./shard/checkpoint/synthetic/cmd -preset baichuan2-7b -out DIR -format bin -shards 2 -dtype bf16
package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/baichuan-node/baichuan-node/shard/checkpoint/synthetic"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	flags := flag.NewFlagSet("synthetic", flag.ExitOnError)
	preset := flags.String("preset", "baichuan2-7b", "shape: baichuan-7b, baichuan-13b, baichuan2-7b, baichuan2-13b, small-7b, small-13b, small-1-7b")
	out := flags.String("out", "", "directory to write (required)")
	format := flags.String("format", "bin", "bin or safetensors")
	shards := flags.Int("shards", 1, "files of weights")
	dtype := flags.String("dtype", "bf16", "f32, f16 or bf16")
	seed := flags.Uint64("seed", 0, "seed of the weights")
	layers := flags.Int("layers", 0, "fewer or more layers than the shape has (0: its own)")
	tokenizer := flags.String("tokenizer", "", "tokenizer.model to copy (default: one of 4096 pieces)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *out == "" || flags.NArg() > 0 {
		return fmt.Errorf("usage: -out DIR is required and no further arguments are taken")
	}
	spec, err := synthetic.Preset(*preset)
	if err != nil {
		return err
	}
	spec.Format, spec.Shards, spec.Seed = synthetic.Format(*format), *shards, *seed
	spec.DType = synthetic.DType(strings.ToUpper(*dtype))
	if *layers > 0 {
		spec.Layers = *layers
	}
	spec.Tokenizer = synthetic.Tokenizer()
	if *tokenizer != "" {
		if spec.Tokenizer, err = os.ReadFile(*tokenizer); err != nil {
			return err
		}
	}
	start := time.Now()
	if err := synthetic.Write(*out, spec); err != nil {
		return err
	}
	fmt.Printf("wrote %s (%s, %s, %d files) in %.1f s\n", *out, *preset, spec.DType, *shards, time.Since(start).Seconds())
	return nil
}
