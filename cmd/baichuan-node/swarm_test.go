package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const chatModel = "baichuan2-mini-chat"

func TestPrivateSwarm_TakesWhoHasItsKeyAlone(t *testing.T) {
	if apart(t) {
		return
	}
	home := newHome(t)
	right, wrong := filepath.Join(home, "right.key"), filepath.Join(home, "wrong.key")
	for _, path := range []string{right, wrong} {
		if out := mustCLI(t, "swarm-key", "new", path); out != path+"\n" {
			t.Errorf("swarm-key new printed %q", out)
		}
	}
	wantFailure(t, exitFailed, []string{right, "there already"}, "swarm-key", "new", right)
	_, ready := newProcesses(t).serve(home, chatModel, "0:6", "--swarm-key", right)
	ask := []string{"-p", "你好", "--max-tokens", "3", "--temperature", "0", "--join", ready.Addrs[0]}
	if got := mustCLI(t, append([]string{"generate", "--swarm-key", right}, ask...)...); strings.TrimSpace(got) == "" {
		t.Error("an empty answer")
	}
	if s := statusJSON(t, chatModel, "--swarm-key", right, "--join", ready.Addrs[0]); len(s.Peers) != 1 || s.Peers[0].Reached != "direct tcp" {
		t.Errorf("status: %+v", s)
	}
	for name, key := range map[string][]string{"wrong": {"--swarm-key", wrong}, "missing": nil} {
		for _, command := range [][]string{append([]string{"generate"}, ask...), append([]string{"chat"}, "--join", ready.Addrs[0]),
			{"status", "--join", ready.Addrs[0]}, {"serve", chatModel, "--listen", "/ip4/127.0.0.1/tcp/0", "--join", ready.Addrs[0]},
			{"gateway", "--listen", "127.0.0.1:0", "--join", ready.Addrs[0]}, {"bench", "swarm", "--join", ready.Addrs[0]}} {
			t.Run(name+" "+command[0], func(t *testing.T) {
				t.Parallel()
				code, _, errOut := cli(t, append(command, key...)...)
				lines := strings.Split(strings.TrimSpace(errOut), "\n")
				if last := lines[len(lines)-1]; code != exitFailed || !strings.Contains(last, "wrong or missing swarm key?") || !strings.Contains(last, ready.Peer) {
					t.Errorf("exit code %d: %q", code, errOut)
				}
			})
		}
	}
}

func TestKey_NewAndShow(t *testing.T) {
	home := newHome(t)
	wantFailure(t, exitFailed, []string{"identity.key", "key new"}, "key", "show")
	id := mustCLI(t, "key", "new")
	if shown := mustCLI(t, "key", "show"); shown != id {
		t.Errorf("made %q, shows %q", id, shown)
	}
	wantFailure(t, exitFailed, []string{"identity.key", "there already"}, "key", "new")
	_, ready := newProcesses(t).serve(home, chatModel, "0:6")
	if ready.Peer+"\n" != id {
		t.Errorf("serve is %s, not %s", ready.Peer, id)
	}
	if shown := mustCLI(t, "key", "show"); shown != id {
		t.Errorf("beside serve it shows %q", shown)
	}
	elsewhere := filepath.Join(home, "x", "y.key")
	if other := mustCLI(t, "key", "new", elsewhere); other == id || mustCLI(t, "key", "show", elsewhere) != other {
		t.Errorf("%s: %q", elsewhere, other)
	}
	if err := os.WriteFile(elsewhere, []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantFailure(t, exitFailed, []string{elsewhere, "not a private key"}, "key", "show", elsewhere)
}

// The peers that everybody joins by leave one after the other. Who knows anyone else, or remembers, gets in.
func TestSwarm_OutlivesThePeersThatItBeganWith(t *testing.T) {
	if apart(t) {
		return
	}
	p := newProcesses(t)
	homes := map[string]string{"boot": t.TempDir(), "first": t.TempDir(), "second": t.TempDir()}
	boot, bootReady := p.serve(homes["boot"], chatModel, "0:6")
	by := []string{"--join", bootReady.Addrs[0], "--remember"}
	first, _ := p.serve(homes["first"], chatModel, "0:3", by...)
	_, second := p.serve(homes["second"], chatModel, "3:6", by...)
	newHome(t) // the client's
	ask := []string{"generate", "-p", "你好", "--max-tokens", "3", "--temperature", "0"}
	want := mustCLI(t, append(ask, by...)...)
	for _, name := range []string{"first", "second"} {
		remembers(t, homes[name], 2)
	}
	boot.Kill()

	newcomer, third := p.serve(t.TempDir(), chatModel, "0:3", "--join", second.Addrs[0])
	if s := statusJSON(t, chatModel, "--join", third.Addrs[0], "--remember=false"); len(s.Missing) != 0 {
		t.Errorf("a newcomer that knows another peer sees %+v", s)
	}
	newcomer.Kill()

	first.Kill()
	_, again := p.serve(homes["first"], chatModel, "0:3", "--remember")
	if s := statusJSON(t, chatModel, "--join", again.Addrs[0], "--remember=false"); len(s.Missing) != 0 {
		t.Errorf("who remembers sees %+v", s)
	}

	if code, got, errOut := cli(t, append(ask, by...)...); code != 0 || got != want || !strings.Contains(errOut, "note: ") {
		t.Errorf("a client that remembers, with --join of nobody: exit code %d, %q, %s", code, got, errOut)
	}
	if code, got, errOut := cli(t, ask...); code != 0 || got != want {
		t.Errorf("a client that remembers: exit code %d, %q, %s", code, got, errOut)
	}
	wantFailure(t, exitFailed, []string{bootReady.Peer, "no answer"}, append(ask, "--join", bootReady.Addrs[0], "--remember=false")...)
	wantFailure(t, exitUsage, []string{"--join"}, append(ask, "--remember=false")...)
}

// remembers waits until a home's file names so many peers.
func remembers(t *testing.T, home string, n int) {
	t.Helper()
	for late := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		data, _ := os.ReadFile(filepath.Join(home, "peers.json"))
		if bytes.Count(data, []byte(`"peer"`)) >= n {
			return
		}
		if time.Now().After(late) {
			t.Fatalf("it remembers %s", data)
		}
	}
}
