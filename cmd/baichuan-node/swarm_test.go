package main

import (
	"bytes"
	"crypto/rand"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"

	"github.com/baichuan-node/baichuan-node/node/launch"
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

func TestJoin_RefusesWhatIsNoAddressOfAPeer(t *testing.T) {
	newHome(t)
	const id = "12D3KooWGC6TvWhfapngX6wvJHMYvKpDMXPb3ZnCZ6dMoaMtimQ5"
	for addr, want := range map[string]string{
		"foo":                                   "must begin with /",
		"/ip4/127.0.0.1/tcp/4001":               "it lacks /p2p/ and the peer's id",
		"/p2p/" + id:                            "not where",
		"/ip4/127.0.0.1/tcp/99999/p2p/" + id:    "value out of range",
		"/ip4/127.0.0.1/tcp/4001/p2p/nobody":    "invalid value",
		"/ip4/300.0.0.1/tcp/4001/p2p/" + id:     "300.0.0.1",
		"/nowhere/127.0.0.1/tcp/4001/p2p/" + id: "unknown protocol",
	} {
		wantFailure(t, exitUsage, []string{"--join", addr, want, "/ip4/192.0.2.1/tcp/4001/p2p/12D3"}, "status", "--join", addr)
	}
}

func TestSwarmKey_ThatOthersMayReadIsTold(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("this machine lacks modes of files")
	}
	home := newHome(t)
	path := filepath.Join(home, "swarm.key")
	mustCLI(t, "swarm-key", "new", path)
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	nobody := "/ip4/127.0.0.1/tcp/9/p2p/12D3KooWGC6TvWhfapngX6wvJHMYvKpDMXPb3ZnCZ6dMoaMtimQ5"
	if _, _, errOut := cli(t, "status", "--join", nobody, "--swarm-key", path); !strings.Contains(errOut, "chmod 600") {
		t.Errorf("it says %q", errOut)
	}
	if err := os.WriteFile(path, []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantFailure(t, exitFailed, []string{path, "64 hex digits", "swarm-key new"}, "status", "--join", nobody, "--swarm-key", path)
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
	other, second := p.serve(homes["second"], chatModel, "3:6", by...)
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
	again, fourth := p.serve(homes["first"], chatModel, "0:3", "--remember")
	if s := statusJSON(t, chatModel, "--join", fourth.Addrs[0], "--remember=false"); len(s.Missing) != 0 {
		t.Errorf("who remembers sees %+v", s)
	}

	if code, got, errOut := cli(t, append(ask, by...)...); code != 0 || got != want || !strings.Contains(errOut, "note: ") {
		t.Errorf("a client that remembers, with --join of nobody: exit code %d, %q, %s", code, got, errOut)
	}
	if code, got, errOut := cli(t, ask...); code != 0 || got != want {
		t.Errorf("a client that remembers: exit code %d, %q, %s", code, got, errOut)
	}
	// All are started anew, one after the other, by the address of one that is gone.
	again.Kill()
	other.Kill()
	p.serve(homes["first"], chatModel, "0:3", append(by, "--listen", listened(fourth))...)
	p.serve(homes["second"], chatModel, "3:6", append(by, "--listen", listened(second))...)
	for late := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		if code, got, _ := cli(t, ask...); code == 0 && got == want {
			break
		}
		if time.Now().After(late) {
			t.Fatal("nodes that were started anew do not find each other")
		}
	}
	wantFailure(t, exitFailed, []string{bootReady.Peer, "no answer"}, append(ask, "--join", bootReady.Addrs[0], "--remember=false")...)
	wantFailure(t, exitUsage, []string{"--join"}, append(ask, "--remember=false")...)
}

// listened is where a process that is ready listens.
func listened(r launch.Ready) string {
	at, _, _ := strings.Cut(r.Addrs[0], "/p2p/")
	return at
}

func TestKeptPorts_FollowFromTheIdentity(t *testing.T) {
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	kept := keptPorts(defaultListen, key)
	_, port, _ := strings.Cut(kept[0], "/tcp/")
	if want := []string{"/ip4/0.0.0.0/tcp/" + port, "/ip4/0.0.0.0/udp/" + port + "/quic-v1", "/ip6/::/tcp/" + port, "/ip6/::/udp/" + port + "/quic-v1"}; !slices.Equal(kept, want) {
		t.Errorf("listens at %v, want %v", kept, want)
	}
	if n, err := strconv.Atoi(port); err != nil || n < firstPort || n >= firstPort+somePorts {
		t.Errorf("port %s", port)
	}
	if again := keptPorts(defaultListen, key); !slices.Equal(again, kept) {
		t.Errorf("started anew it listens at %v, not at %v", again, kept)
	}
	for _, chosen := range []string{"/ip4/127.0.0.1/tcp/0", "/ip4/0.0.0.0/tcp/4001"} {
		if got := keptPorts([]string{chosen}, key); got[0] != chosen {
			t.Errorf("told to listen at %s it does at %v", chosen, got)
		}
	}
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
