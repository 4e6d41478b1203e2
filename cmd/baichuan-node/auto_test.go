package main

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/baichuan-node/baichuan-node/shard/checkpoint/synthetic"
)

// deepModel stores a small model of so many layers in the home.
func deepModel(t *testing.T, layers int) {
	t.Helper()
	spec, err := synthetic.Preset("small-7b")
	if err != nil {
		t.Fatal(err)
	}
	spec.Layers, spec.Seed, spec.Tokenizer = layers, 7, synthetic.Tokenizer()
	dir := filepath.Join(t.TempDir(), "deep")
	if err := synthetic.Write(dir, spec); err != nil {
		t.Fatal(err)
	}
	mustCLI(t, "import", dir, "--name", "deep")
}

// serving waits until peers serve exactly these layers, none is on its way elsewhere, and nothing is missing.
func serves(t *testing.T, join string, want map[string]string) {
	t.Helper()
	var last string
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		s := lookAt(t, join)
		at := map[string]string{}
		for _, p := range s.Peers {
			if p.State == "online" && p.Target == "" {
				at[p.Peer] = p.Layers
			}
		}
		if last = fmt.Sprint(at); last == fmt.Sprint(want) && len(s.Missing) == 0 {
			return
		}
	}
	t.Fatalf("peers serve %s\nwant %v", last, want)
}
