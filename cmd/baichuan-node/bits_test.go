package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

var full = flag.Bool("full", false, "run the whole matrix of formats, cuts and prompts (some minutes)")

// request is one way to ask.
type request struct {
	name   string
	args   []string
	logits bool
}

// requests are prompts of 1, 17 and 600 tokens, greedy and seeded.
func requests() []request {
	var all []request
	for _, n := range []int{1, 17, 600} {
		prompt := []string{"--tokens", idList(n), "--ignore-eos", "--max-tokens", "8"}
		all = append(all,
			request{fmt.Sprintf("%d-greedy", n), append(slices.Clone(prompt), "--temperature", "0", "--repetition-penalty", "1"), n < 600},
			request{fmt.Sprintf("%d-seeded", n), append(slices.Clone(prompt), "--temperature", "0.9", "--top-k", "40", "--top-p", "0.95", "--repetition-penalty", "1.1", "--seed", "42"), n == 600 && *full},
		)
	}
	return all
}

// ask runs a request and gives the answer and the logits.
func (r request) ask(t *testing.T, where ...string) (answered, []byte) {
	t.Helper()
	args := append(slices.Clone(where), r.args...)
	if !r.logits {
		return generate(t, args...), nil
	}
	file := filepath.Join(t.TempDir(), "logits")
	a := generate(t, append(args, "--logits", file)...)
	logits, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return a, logits
}

// The promise of the project: however many processes share the layers, whatever the kind of positions and the
// format, the answer and its logits are byte for byte those of one process that holds the whole model.
func TestSwarm_GivesTheBitsOfOneProcess(t *testing.T) {
	if apart(t) {
		return
	}
	for _, kind := range []struct {
		preset string
		layers int
	}{{"small-7b", 4}, {"small-13b", 5}} {
		checkpoint := writeCheckpoint(t, kind.preset, 17)
		for i, weights := range []string{"nf4", "int8", "bf16"} {
			t.Run(kind.preset+"/"+weights, func(t *testing.T) {
				home := newHome(t)
				kv := []string{"int8", "int8", "f16"}[i]
				mustCLI(t, "import", checkpoint, "--name", "m", "--weights", weights, "--kv", kv)
				compareSwarms(t, home, kind.layers, weights)
			})
		}
	}
}

// shortCuts are the numbers of processes that the short form tries for each format: each number with each kind of
// positions, and three processes with each format.
var shortCuts = map[string][]int{"nf4": {3, 0}, "int8": {1, 2, 3}, "bf16": {3}} // 0: as many as layers

// compareSwarms asks swarms of 1, 2, 3 and as many processes as layers what one process answers. The short form leaves
// out most, see shortCuts, and the long prompts but for nf4 over all layers.
func compareSwarms(t *testing.T, home string, layers int, weights string) {
	all := requests()
	wanted := map[string]answered{}
	wantedLogits := map[string][]byte{}
	for _, r := range all {
		wanted[r.name], wantedLogits[r.name] = r.ask(t, "m", "--local")
		if n := len(wanted[r.name].IDs); n != 8 {
			t.Fatalf("%s: the answer has %d tokens, want 8", r.name, n)
		}
	}
	cuts := []int{1, 2, 3, 0}
	if !*full {
		cuts = shortCuts[weights]
	}
	for _, n := range cuts {
		if n == 0 {
			n = layers
		}
		p := newProcesses(t)
		join := p.swarm(home, "m", layers, n)
		for _, r := range all {
			if !*full && len(r.args[1]) > 1000 && (weights != "nf4" || n != layers) {
				continue
			}
			got, logits := r.ask(t, "--join", join)
			if !slices.Equal(got.IDs, wanted[r.name].IDs) || got.Text != wanted[r.name].Text || got.Reason != wanted[r.name].Reason {
				t.Errorf("%d processes, %s: %v, want %v", n, r.name, got.IDs, wanted[r.name].IDs)
			}
			if !bytes.Equal(logits, wantedLogits[r.name]) {
				t.Errorf("%d processes, %s: other logits", n, r.name)
			}
			if len(got.Chain) != n {
				t.Errorf("%d processes, %s: a chain of %d hops", n, r.name, len(got.Chain))
			}
		}
		if err := p.group.Stop(); err != nil {
			t.Error(err)
		}
	}
}

// What the checkpoint's generation_config recommends holds for a client that knows nothing but an address, too.
func TestSwarm_DrawsAsTheModelRecommends(t *testing.T) {
	if apart(t) {
		return
	}
	home := newHome(t)
	checkpoint := writeCheckpoint(t, "small-7b", 17)
	config := `{"user_token_id":195,"assistant_token_id":196,"do_sample":true,"temperature":1.7,"top_k":90,"top_p":0.99,` +
		`"repetition_penalty":1.3,"max_new_tokens":11}`
	if err := os.WriteFile(filepath.Join(checkpoint, "generation_config.json"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	mustCLI(t, "import", checkpoint, "--name", "m")
	join := newProcesses(t).swarm(home, "m", 4, 2)
	t.Setenv("BAICHUAN_HOME", t.TempDir())
	got := generate(t, "--join", join, "-p", "你好", "--seed", "5", "--ignore-eos")
	t.Setenv("BAICHUAN_HOME", home)
	want := generate(t, "m", "--local", "-p", "你好", "--seed", "5", "--ignore-eos")
	if len(want.IDs) != 11 || !slices.Equal(got.IDs, want.IDs) {
		t.Errorf("the swarm drew %v, this process %v, want the same 11 tokens", got.IDs, want.IDs)
	}
	other := generate(t, "m", "--local", "-p", "你好", "--seed", "5", "--ignore-eos", "--temperature", "0.1")
	if slices.Equal(other.IDs, want.IDs) {
		t.Error("the recommended temperature makes no difference")
	}
}
