package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/baichuan-node/baichuan-node/kernels"
)

// wantFailure runs a command that must fail with the code and one line that holds all of the words.
func wantFailure(t *testing.T, code int, words []string, args ...string) {
	t.Helper()
	got, out, errOut := cli(t, args...)
	name := strings.Join(args, " ")
	if len(name) > 80 {
		name = name[:80] + "..."
	}
	if got != code {
		t.Errorf("%s: exit code %d, want %d (%s)", name, got, code, errOut)
	}
	if out != "" {
		t.Errorf("%s: printed %q to standard output", name, out)
	}
	if strings.Count(errOut, "\n") != 1 || !strings.HasPrefix(errOut, "baichuan-node: ") {
		t.Errorf("%s: want one line of error, got %q", name, errOut)
	}
	for _, w := range words {
		if !strings.Contains(errOut, w) {
			t.Errorf("%s: the error does not say %q: %s", name, w, errOut)
		}
	}
}

// Before anything is fetched or loaded.
func TestServe_MetricsNeedAFreeAddress(t *testing.T) {
	newHome(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	wantFailure(t, 1, []string{"serve metrics", l.Addr().String(), "--metrics"}, "serve", "baichuan2-mini-chat", "--lan=false",
		"--listen", "/ip4/127.0.0.1/tcp/0", "--metrics", l.Addr().String(), "--log-level", "error")
}

func TestCommands_UnknownKernelsAreRefused(t *testing.T) {
	newHome(t)
	t.Setenv("BAICHUAN_KERNELS", "sse")
	for _, args := range [][]string{{"version"}, {"generate", "baichuan2-mini-chat", "--local", "-p", "x"}, {"serve", "baichuan2-mini-chat"}} {
		wantFailure(t, 2, []string{"BAICHUAN_KERNELS", "sse", "generic"}, args...)
	}
}

func TestVersion_ShowsTheKernelsThatWereChosen(t *testing.T) {
	newHome(t)
	for _, name := range kernels.Sets() {
		t.Setenv("BAICHUAN_KERNELS", name)
		if code, out, _ := cli(t, "version"); code != 0 || !strings.Contains(out, "kernels cpu/"+name+" ") {
			t.Errorf("%s: code %d, %q", name, code, out)
		}
	}
}

func TestCommands_WrongUsageIsOneLineAndCode2(t *testing.T) {
	newHome(t)
	for _, c := range []struct {
		args  string
		words []string
	}{
		{"frobnicate", []string{"frobnicate"}},
		{"generate --nope", []string{"--nope", "generate --help"}},
		{"import", []string{"import --help"}},
		{"import x --weights q5", []string{"--weights", "q5", "nf4"}},
		{"import x --kv q5", []string{"--kv", "q5"}},
		{"import x --name ../x", []string{"../x"}},
		{"import /no/such:dir", []string{"such:dir", "--name"}},
		{"import hf:baichuan-inc/Baichuan2-7B-Chat", []string{"directories"}},
		{"serve", []string{"serve --help"}},
		{"serve m --device cuda:0", []string{"--device", "cuda:0"}},
		{"serve m --kv-tokens -1", []string{"--kv-tokens"}},
		{"serve m --kv-tokens many", []string{"--kv-tokens", "many"}},
		{"bench kernels --threads 100000", []string{"--threads", "1024"}},
		{"serve m --memory lots", []string{"--memory", "lots", "8GiB"}},
		{"serve baichuan2-mini-chat --memory 90MiB", []string{"--memory", "90 MiB", "layers 0:1"}},
		{"serve m --listen nowhere", []string{"--listen", "nowhere"}},
		{"generate m --local -p x --seed=-1", []string{`"-1"`, `"--seed"`, "invalid syntax; see"}},
		{"generate m --local --tokens ,", []string{"--tokens", "1,2,3"}},
		{"generate -p x", []string{"--join", "--local"}},
		{"generate m", []string{"-p", "--tokens"}},
		{"generate m -p x --tokens 1", []string{"-p", "--tokens"}},
		{"generate --local -p x", []string{"--local"}},
		{"generate m --local --join /ip4/127.0.0.1/tcp/1 -p x", []string{"--local", "--join"}},
		{"generate --join nowhere -p x", []string{"--join", "nowhere"}},
		{"generate --block somebody -p x", []string{"--block", "somebody", "12D3"}},
		{"gateway --allow somebody", []string{"--allow", "somebody", "12D3"}},
		{"generate m --local --block x -p x", []string{"--local", "--block"}},
		{"chat", []string{"--join"}},
		{"gateway", []string{"--join"}},
		{"gateway --join nowhere", []string{"--join", "nowhere"}},
		{"gateway --listen 8080", []string{"--listen", "8080", "127.0.0.1:8080"}},
		{"gateway --cors=chat.example", []string{"--cors", "chat.example", "https://"}},
		{"gateway --cors https://chat.example", []string{"--cors=https://chat.example"}},
		{"key api", []string{"key api --help"}},
		{"key api a/b", []string{"a/b"}},
		{"key api ann --rate=-1", []string{"--rate"}},
		{"status", []string{"--join"}},
		{"status --join nowhere", []string{"--join", "nowhere"}},
		{"pause --pid=-1", []string{"--pid", "-1"}},
		{"pause --timeout 0s", []string{"--timeout"}},
		{"resume x", []string{"resume --help"}},
		{"sim nosuch", []string{"nosuch", "sim list"}},
		{"sim soak --for 0s", []string{"--for 0s"}},
		{"sim soak --for=-3s", []string{"--for -3s"}},
		{"sim kill --for 3s", []string{"--for", "soak", "kill"}},
		{"sim list --for 3s", []string{"--for", "soak"}},
		{"demo --nodes 0", []string{"--nodes"}},
		{"demo --nodes 9 x", []string{"--nodes"}},
		{"demo --copies 99 x", []string{"--copies"}},
		{"bench model", []string{"MODEL", "--synthetic", "--quality"}},
		{"bench model m --synthetic 7b", []string{"--synthetic"}},
		{"bench model m --weights int8", []string{"--weights", "--synthetic"}},
		{"bench model --synthetic 8b", []string{"8b", "7b", "13b"}},
		{"bench model --synthetic 7b --weights f32", []string{"--weights", "f32"}},
		{"bench model --synthetic 7b --layers 30:40", []string{"30:40", "0:32"}},
		{"bench model --synthetic 7b --batch 0", []string{"--batch"}},
		{"bench model --synthetic 7b --questions q", []string{"--quality"}},
		{"bench model --quality --hog --questions q", []string{"--quality", "--hog"}},
		{"bench model m --hog=-1s", []string{"--hog -1s"}},
		{"bench kernels --weights f32", []string{"--weights", "f32"}},
		{"bench kernels --only none", []string{"--only", "products"}},
		{"bench kernels --rows 0", []string{"--rows"}},
		{"bench kernels --threads=-1", []string{"--threads"}},
		{"bench kernels --only=", []string{"--only", "products"}},
		{"bench model m --threads 1,100000", []string{"--threads 100000", "1024"}},
		{"serve baichuan2-mini-chat --threads 100000", []string{"--threads 100000", "1024"}},
		{"bench model --quality", []string{"--questions"}},
		{"bench model m --quality --questions q --checkpoint c", []string{"--checkpoint"}},
		{"demo --temperature=-1 x", []string{"temperature"}},
		{"models --log-level loud", []string{"--log-level", "loud"}},
		{"models --log-format xml", []string{"--log-format", "xml"}},
	} {
		wantFailure(t, exitUsage, c.words, strings.Fields(c.args)...)
	}
}

func TestCommands_FailureIsOneLineAndCode1(t *testing.T) {
	home := newHome(t)
	checkpoint := writeCheckpoint(t, "small-7b", 1)
	mustCLI(t, "import", checkpoint, "--name", "mini")
	nobody := "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWK3HkwSSeaLRywcAsUVyYPLTWppbbX7Np7Xt3iHDGgZR4"
	taken := filepath.Join(home, "file")
	if err := os.WriteFile(taken, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args  string
		words []string
	}{
		{"import /nonexistent", []string{"/nonexistent"}},
		{"import " + checkpoint + " --name MINI", []string{"MINI", "--force"}},
		{"models rm other", []string{"other", "mini"}},
		{"models rm baichuan2-mini-chat", []string{"baichuan2-mini-chat", "part of this program"}},
		{"models verify other", []string{"other", "mini"}},
		{"models export mini " + taken, []string{taken}},
		{"tokenize other hi", []string{"other", "mini"}},
		{"serve other", []string{"other", "mini", "baichuan2-mini-chat"}},
		{"demo --model other x", []string{"other", "mini"}},
		{"bench model --quality --questions " + taken, []string{taken, "none"}},
		{"gateway --api-key-file /nonexistent --join " + nobody, []string{"/nonexistent"}},
		{"gateway --listen 192.0.2.1:1 --join " + nobody, []string{"--listen", "192.0.2.1"}},
		{"gateway --listen 127.0.0.1:0 --join " + nobody, []string{"/ip4/127.0.0.1/tcp/1"}},
		{"serve mini --listen /ip4/1.2.3.4/tcp/0", []string{"/ip4/1.2.3.4/tcp/0"}},
		{"serve mini --join " + nobody, []string{"/ip4/127.0.0.1/tcp/1"}},
		{"generate other --local -p x", []string{"other", "mini"}},
		{"generate mini --local --tokens 4096", []string{"4096", "vocabulary"}},
		{"generate mini --local --tokens 1 --logits " + filepath.Join(home, "no", "logits"), []string{"logits"}},
		{"generate --join " + nobody + " -p x", []string{"/ip4/127.0.0.1/tcp/1"}},
		{"generate mini --local --tokens " + idList(4096), []string{"4096", "context"}},
	} {
		wantFailure(t, exitFailed, c.words, strings.Fields(c.args)...)
	}
	// Layers outside the model are known to be wrong only when it has been opened, but they are wrong usage.
	wantFailure(t, exitUsage, []string{"3:9", "0:4"}, "serve", "mini", "--layers", "3:9")
	wantFailure(t, exitUsage, []string{"nick"}, "serve", "mini", "--nick", strings.Repeat("x", 65))
	wantFailure(t, exitUsage, []string{"prompt is empty"}, "demo", " ")
	entries, err := os.ReadDir(filepath.Join(home, "models"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != "mini" && !strings.HasPrefix(e.Name(), ".lock-") {
			t.Errorf("the failures left %s in the store", e.Name())
		}
	}
}

func TestModels_VerifyGoesOnAfterADamagedModel(t *testing.T) {
	home := newHome(t)
	checkpoint := writeCheckpoint(t, "small-7b", 1)
	for _, name := range []string{"a", "b", "c"} {
		mustCLI(t, "import", checkpoint, "--name", name)
	}
	for i, name := range []string{"a", "b"} {
		if err := os.Truncate(filepath.Join(home, "models", name, "head"), 0); err != nil {
			t.Fatal(err)
		}
		code, out, errOut := cli(t, "models", "verify")
		if code != exitFailed || !strings.Contains(out, "c  ok\n") || strings.Contains("\n"+out, "\n"+name+" ") {
			t.Errorf("code %d, printed %q", code, out)
		}
		if strings.Count(errOut, "\n") != 1 || !strings.Contains(errOut, "model a") || i == 1 && !strings.Contains(errOut, "1 more") {
			t.Errorf("%q", errOut)
		}
	}
}

func TestSwarm_MissingLayersAndOtherModelsAreNamed(t *testing.T) {
	if apart(t) {
		return
	}
	home := newHome(t)
	mustCLI(t, "import", writeCheckpoint(t, "small-7b", 1), "--name", "mini")
	mustCLI(t, "import", writeCheckpoint(t, "small-7b", 2), "--name", "other")
	p := newProcesses(t)
	_, first := p.serve(home, "mini", "0:2")
	join := first.Addrs[0]
	p.serve(home, "mini", "3:4", "--join", join)

	wantFailure(t, exitFailed, []string{"2:3"}, "generate", "--join", join, "-p", "x")
	nobody := "12D3KooWGC6TvWhfapngX6wvJHMYvKpDMXPb3ZnCZ6dMoaMtimQ5"
	wantFailure(t, exitFailed, []string{"not on the allow list", "--allow"}, "generate", "--join", join, "--allow", nobody, "-p", "x")
	wantFailure(t, exitFailed, []string{"mini"}, "generate", "other", "--join", join, "-p", "x")
	wantFailure(t, exitFailed, []string{"nosuch", "mini"}, "generate", "nosuch", "--join", join, "-p", "x")

	p.serve(home, "mini", "2:3", "--join", join)
	if a := generate(t, "mini", "--join", join, "-p", "x", "--max-tokens", "2", "--ignore-eos"); len(a.Chain) != 3 {
		t.Errorf("once the missing layer has a host: a chain of %d hops", len(a.Chain))
	}
	wantFailure(t, exitFailed, []string{"4096", "context"}, "generate", "--join", join, "--tokens", idList(4096))
}

// A script that waits for the file must not find that of a process which was killed.
func TestServe_RemovesAStaleReadyFile(t *testing.T) {
	home := newHome(t)
	file := filepath.Join(home, "ready.json")
	if err := os.WriteFile(file, []byte(`{"pid":1}`), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"serve other", "demo --model other x"} {
		wantFailure(t, exitFailed, []string{"other"}, append(strings.Fields(command), "--ready-file", file)...)
		if _, err := os.Stat(file); !os.IsNotExist(err) {
			t.Errorf("%s left the file of another process (%v)", command, err)
		}
		if err := os.WriteFile(file, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	wantFailure(t, exitFailed, []string{"other"}, "serve", "other", "--ready-file", home)
	if _, err := os.Stat(home); err != nil {
		t.Errorf("a folder in its place: %v", err)
	}
}

func TestServe_ListensToAPrivateSwarmOverTCPAlone(t *testing.T) {
	for name, c := range map[string]struct {
		key   string
		given bool
		want  int
	}{"open": {"", false, 2}, "private": {"file", false, 1}, "private as told": {"file", true, 2}} {
		f := serveFlags{listen: []string{"/ip4/0.0.0.0/tcp/0", "/ip4/0.0.0.0/udp/0/quic-v1"}, swarm: swarmFlags{swarmKey: c.key}}
		if err := f.checkListen(c.given); err != nil || len(f.listen) != c.want {
			t.Errorf("%s: it listens on %v (%v), want %d addresses", name, f.listen, err, c.want)
		}
	}
}

func TestSettings_EnvironmentAndConfigFile(t *testing.T) {
	home := newHome(t)
	mustCLI(t, "import", writeCheckpoint(t, "small-7b", 1), "--name", "mini")
	if err := os.WriteFile(filepath.Join(home, "config.yaml"), []byte("max-tokens: 3\ntemperature: 0\nignore-eos: true\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if n := len(generate(t, "mini", "--local", "-p", "x").IDs); n != 3 {
		t.Errorf("max-tokens 3 in config.yaml gave %d tokens", n)
	}
	t.Setenv("BAICHUAN_MAX_TOKENS", "4")
	if n := len(generate(t, "mini", "--local", "-p", "x").IDs); n != 4 {
		t.Errorf("BAICHUAN_MAX_TOKENS=4 over config.yaml gave %d tokens", n)
	}
	if n := len(generate(t, "mini", "--local", "-p", "x", "--max-tokens", "5").IDs); n != 5 {
		t.Errorf("--max-tokens 5 over both gave %d tokens", n)
	}
	t.Setenv("BAICHUAN_MAX_TOKENS", "many")
	wantFailure(t, exitUsage, []string{"BAICHUAN_MAX_TOKENS", "many"}, "generate", "mini", "--local", "-p", "x")
	if err := os.WriteFile(filepath.Join(home, "config.yaml"), []byte("max_tokens: 3\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	wantFailure(t, exitUsage, []string{"config.yaml", "max_tokens"}, "models")
}
