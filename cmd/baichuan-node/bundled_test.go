package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/baichuan-node/baichuan-node/shard/bundled"
	"github.com/baichuan-node/baichuan-node/shard/quality"
)

func TestModels_BundledOnesAreFoundLikeStoredOnes(t *testing.T) {
	newHome(t)
	model, err := bundled.Open(bundled.Chat)
	if err != nil {
		t.Fatal(err)
	}
	id := model.ID.String()
	if list := mustCLI(t, "models"); !strings.Contains(list, id) || strings.Count(list, "  bundled\n") != 2 {
		t.Errorf("models prints %s", list)
	}
	if verified := mustCLI(t, "models", "verify", id[:8]); verified != bundled.Chat+"  ok\n" {
		t.Errorf("models verify prints %s", verified)
	}
	if verified := mustCLI(t, "models", "verify"); strings.Count(verified, "ok\n") != 2 {
		t.Errorf("models verify prints %s", verified)
	}
	if ids := mustCLI(t, "tokenize", bundled.Chat, "--chat", "你好"); !strings.HasPrefix(ids, fmt.Sprintf("[%d,", model.Manifest.User)) {
		t.Errorf("tokenize --chat prints %s", ids)
	}
}

// What is exported and imported again is a model of the store, which comes first by its name.
func TestModels_StoredOnesComeBeforeBundledOnes(t *testing.T) {
	newHome(t)
	dir := filepath.Join(t.TempDir(), "exported")
	mustCLI(t, "models", "export", bundled.Chat, dir)
	mustCLI(t, "import", dir, "--name", bundled.Chat, "--weights", "int8")
	list := mustCLI(t, "models")
	if strings.Count(list, bundled.Chat) != 1 || strings.Count(list, "  store\n") != 1 || strings.Count(list, "  bundled\n") != 1 {
		t.Errorf("models prints %s", list)
	}
	if verified := mustCLI(t, "models", "verify"); strings.Count(verified, "ok\n") != 2 {
		t.Errorf("models verify prints %s", verified)
	}
	stored, isBundled, err := findModel(strings.ToUpper(bundled.Chat))
	if err != nil || isBundled || stored.Manifest.Weights != "int8" {
		t.Errorf("by its name the model is the bundled one (%v)", err)
	}
	mustCLI(t, "models", "rm", bundled.Chat)
	if _, isBundled, err = findModel(bundled.Chat); err != nil || !isBundled {
		t.Errorf("once the stored one is gone, the bundled one is not found (%v)", err)
	}
}

func TestSwarm_GivesTheBundledModelsWordsOfOneProcess(t *testing.T) {
	if apart(t) {
		return
	}
	home := newHome(t)
	for _, name := range bundled.Names() {
		model, err := bundled.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		join := newProcesses(t).swarm(home, name, model.Manifest.Layers, 3)
		for _, prompt := range []string{"你好", "Hello, who are you?", "What is a KV cache?", "法国的首都是哪里？", "Tell me a story."} {
			ask := []string{"-p", prompt, "--temperature", "0", "--max-tokens", "60"}
			want := generate(t, append([]string{name, "--local"}, ask...)...)
			got := generate(t, append([]string{"--join", join}, ask...)...)
			if len(want.IDs) == 0 || !slices.Equal(got.IDs, want.IDs) || got.Text != want.Text || len(got.Chain) != 3 {
				t.Errorf("%s, %q: %d processes say %q, one says %q", name, prompt, len(got.Chain), got.Text, want.Text)
			}
		}
		if said, _ := talk(t, join, "你好\nHello!\n", "--max-tokens", "60", "--ignore-eos=false"); len(said) != 2 || said[0] == said[1] {
			t.Errorf("%s: two greetings are answered by %q", name, said)
		}
	}
}

// A conversation of several turns, and what a system message does to it.
func TestChat_SystemMessageChangesTheTone(t *testing.T) {
	if apart(t) {
		return
	}
	home := newHome(t)
	join := newProcesses(t).swarm(home, bundled.Chat, 6, 1)
	args := []string{"--max-tokens", "60", "--ignore-eos=false"}
	plain, _ := talk(t, join, "Hello!\nWhat is the capital of France?\n你好\n", args...)
	pirate, _ := talk(t, join, "/system Answer like a pirate.\nHello!\n", args...)
	if len(plain) != 3 || !strings.Contains(plain[1], "Paris") {
		t.Errorf("three turns gave %q", plain)
	}
	if len(pirate) != 1 || pirate[0] == plain[0] {
		t.Errorf("a pirate says %q, as everyone does", pirate)
	}
	t.Setenv(asProgram, "1")
	demo := mustCLI(t, "demo", "Hello!", "--system", "Answer like a pirate.", "--temperature", "0", "--nodes", "1")
	if strings.TrimSuffix(demo, "\n") != pirate[0] {
		t.Errorf("the demo's pirate says %q, the chat's %q", demo, pirate[0])
	}
}

func TestBench_PrintsWhatEachFormatCosts(t *testing.T) {
	if apart(t) {
		return
	}
	newHome(t)
	file := filepath.Join(t.TempDir(), "questions.jsonl")
	questions := `{"skill":"opposites","lang":"en","messages":[{"role":"user","content":"What is the opposite of big?"}],"answer":"small"}` + "\n" +
		`{"skill":"stories","lang":"en","messages":[{"role":"user","content":"Tell me a story."}],"answer":""}`
	if err := os.WriteFile(file, []byte(questions), 0o644); err != nil {
		t.Fatal(err)
	}
	out := mustCLI(t, "bench", "model", "--quality", "--questions", file)
	for _, want := range []string{"float64", "nf4", "int8", "bf16", "perplexity", "KL", "top-1", "opposites (1)", "all (1)"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing: %s", want, out)
		}
	}
	dir := filepath.Join(t.TempDir(), "exported")
	mustCLI(t, "models", "export", bundled.Chat, dir)
	var r quality.Report
	if err := json.Unmarshal([]byte(mustCLI(t, "bench", "model", "--quality", "--json", "--questions", file, "--checkpoint", dir)), &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Figures) != 4 || r.Questions != 1 || r.Figures[0].KL != 0 || r.Figures[3].KL > 1e-3 {
		t.Errorf("%+v", r)
	}
}
