package store

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/baichuan-node/baichuan-node/shard/checkpoint/synthetic"
)

func TestExport_ImportsAsTheSameModel(t *testing.T) {
	for _, position := range []string{"rope", "alibi"} {
		for _, weights := range []string{"bf16", "f16"} {
			t.Run(position+" "+weights, func(t *testing.T) {
				s, spec := emptyStore(t), tiny(t)
				spec.Position = position
				spec.Generation = []byte(`{"eos_token_id":[2,7],"user_token_id":9,"assistant_token_id":4,"temperature":0.5}`)
				source := filepath.Join(t.TempDir(), "tiny")
				if err := synthetic.Write(source, spec); err != nil {
					t.Fatal(err)
				}
				text := []byte(`{"add_bos_token":true}`)
				if err := os.WriteFile(filepath.Join(source, "tokenizer_config.json"), text, 0o644); err != nil {
					t.Fatal(err)
				}
				m := imported(t, s, opened(t, source), ImportOptions{Weights: weights})
				if !m.Manifest.AddBOS {
					t.Error("add_bos_token was not taken over")
				}
				dir := filepath.Join(t.TempDir(), "again")
				if err := Export(context.Background(), m, dir); err != nil {
					t.Fatal(err)
				}
				again := imported(t, s, opened(t, dir), ImportOptions{Weights: weights})
				if again.ID != m.ID {
					t.Errorf("id %s, want %s", again.ID, m.ID)
				}
				if again.Local.Generation.Temperature == nil || *again.Local.Generation.Temperature != 0.5 {
					t.Errorf("generation %+v", again.Local.Generation)
				}
			})
		}
	}
}

func TestExport_WritesWhatTheWeightsMean(t *testing.T) {
	for _, weights := range []string{"nf4", "int8"} {
		t.Run(weights, func(t *testing.T) {
			m := imported(t, emptyStore(t), written(t, tiny(t)), ImportOptions{Weights: weights})
			dir := t.TempDir()
			if err := Export(context.Background(), m, dir); err != nil {
				t.Fatal(err)
			}
			c := opened(t, dir)
			wantSameValues(t, m, c, 0)
			if c.Config.NormHead {
				t.Error("the exported head would be normalised again")
			}
			// Of other 16-bit weights than its own the values are near.
			wantSameValues(t, imported(t, emptyStore(t), c, ImportOptions{Name: "f16", Weights: "f16"}), c, 1e-3)
		})
	}
}

func TestExport_ReplacesNothing(t *testing.T) {
	m := imported(t, emptyStore(t), written(t, tiny(t)), ImportOptions{})
	for _, name := range []string{"config.json", "tokenizer.model", "generation_config.json", "model.safetensors"} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, name), []byte("mine"), 0o644); err != nil {
			t.Fatal(err)
		}
		wantOneLine(t, Export(context.Background(), m, dir))
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != "mine" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		if names := dirNames(t, dir); !slices.Equal(names, []string{name}) {
			t.Errorf("left %q", names)
		}
	}
}

func TestExport_LeavesNothingWhenItFails(t *testing.T) {
	s := emptyStore(t)
	m := imported(t, s, written(t, tiny(t)), ImportOptions{})
	parent := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := Export(ctx, m, filepath.Join(parent, "new")); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if err := os.Truncate(filepath.Join(s.path("tiny"), "head"), 10); err != nil {
		t.Fatal(err)
	}
	wantOneLine(t, Export(context.Background(), m, filepath.Join(parent, "new")))
	wantOneLine(t, Export(context.Background(), m, filepath.Join(parent, "new", "and", "deep")))
	if names := dirNames(t, parent); len(names) != 0 {
		t.Errorf("left %q", names)
	}
}

func dirNames(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
