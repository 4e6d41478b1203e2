package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/baichuan-node/baichuan-node/node"
	"github.com/baichuan-node/baichuan-node/node/launch"
)

// fakeNode is a node whose sessions go one at a time, down to stay.
type fakeNode struct {
	sessions, stay atomic.Int64
	paused         atomic.Bool
	fails          error // of Resume
}

func (f *fakeNode) Pause(ctx context.Context) error {
	f.paused.Store(true)
	for f.sessions.Load() > f.stay.Load() {
		f.sessions.Add(-1)
	}
	if f.stay.Load() == 0 {
		return nil
	}
	<-ctx.Done()
	return fmt.Errorf("%d sessions are left: %w", f.sessions.Load(), ctx.Err())
}

func (f *fakeNode) Resume(context.Context) error {
	f.paused.Store(f.fails != nil)
	return f.fails
}

func (f *fakeNode) Stats() node.Stats { return node.Stats{Sessions: int(f.sessions.Load())} }

// hold lets pause and resume find a fake node as if it were a serve process of the test's home.
func hold(t *testing.T, f *fakeNode) *control {
	t.Helper()
	c, err := newControl(f, serving{Peer: "12D3KooWtest", Model: "mini", Layers: "0:2"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func TestPause_TellsTheServesOfThisHome(t *testing.T) {
	home := newHome(t)
	wantFailure(t, exitFailed, []string{"no serve", home, "pause"}, "pause")
	wantFailure(t, exitFailed, []string{"no serve", home, "resume"}, "resume")
	f := &fakeNode{}
	f.sessions.Store(2)
	c := hold(t, f)
	if info, err := os.Stat(c.self.file); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v (%v): nobody else may read it", info.Mode(), err)
	}
	if out := mustCLI(t, "pause"); !f.paused.Load() || !strings.Contains(out, fmt.Sprint(os.Getpid())) || !strings.Contains(out, "0:2 of mini") ||
		!strings.Contains(out, "2 sessions went elsewhere") ||
		strings.Count(out, "\n") != 1 {
		t.Errorf("paused: %v, printed %q", f.paused.Load(), out)
	}
	if out := mustCLI(t, "resume", "--pid", fmt.Sprint(os.Getpid())); f.paused.Load() || strings.Count(out, "\n") != 1 {
		t.Errorf("paused: %v, printed %q", f.paused.Load(), out)
	}
	wantFailure(t, exitFailed, []string{"999999", fmt.Sprint(os.Getpid())}, "pause", "--pid", "999999")
	f.fails = errors.New("it is leaving")
	wantFailure(t, exitFailed, []string{fmt.Sprint(os.Getpid()), "it is leaving"}, "resume")
	f.stay.Store(1)
	f.sessions.Store(3)
	wantFailure(t, exitFailed, []string{"50ms", "1 session,"}, "pause", "--timeout", "50ms")
	if !f.paused.Load() {
		t.Error("after the timeout it takes sessions again")
	}
}

func TestPause_OfWhoDoesNotKnowTheSecretIsRefused(t *testing.T) {
	newHome(t)
	f := &fakeNode{}
	c := hold(t, f)
	for _, r := range []struct {
		method, path, secret string
		want                 int
	}{
		{"POST", "/pause?timeout=1s", "", http.StatusUnauthorized},
		{"POST", "/pause?timeout=1s", c.self.Secret + "x", http.StatusUnauthorized},
		{"POST", "/resume", strings.ToLower(c.self.Secret), http.StatusUnauthorized},
		{"GET", "/pause?timeout=1s", c.self.Secret, http.StatusMethodNotAllowed},
		{"POST", "/pause", c.self.Secret, http.StatusBadRequest},
		{"POST", "/pause?timeout=-1s", c.self.Secret, http.StatusBadRequest},
		{"POST", "/else", c.self.Secret, http.StatusNotFound},
	} {
		req, err := http.NewRequestWithContext(t.Context(), r.method, c.self.URL+r.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+r.secret)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != r.want {
			t.Errorf("%s %s with secret %q: status %d, want %d", r.method, r.path, r.secret, resp.StatusCode, r.want)
		}
	}
	if f.paused.Load() {
		t.Error("a stranger has paused the node")
	}
}

func TestPause_FilesOfTheDeadAreRemoved(t *testing.T) {
	home := newHome(t)
	stranger := httptest.NewServer(http.NotFoundHandler()) // has the port of one that has crashed
	defer stranger.Close()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	dir := filepath.Join(home, runDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for pid, text := range map[int]string{
		1: "garbage", 2: "", 3: `{"pid":3}`, 4: `{"pid":4,"url":"` + gone.URL + `"}`, 5: `{"pid":5,"url":"` + stranger.URL + `","peer":"x"}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("serve-%d.json", pid)), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	wantFailure(t, exitFailed, []string{"no serve", "pause"}, "pause")
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%v is left (%v)", left, err)
	}
	c := hold(t, &fakeNode{})
	mustCLI(t, "pause")
	if err := c.close(); err != nil {
		t.Fatal(err)
	}
	c.served <- http.ErrServerClosed // for the test's own end
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("a process that has left has left %v (%v)", left, err)
	}
}

func TestServe_RemovesWhatKilledProcessesHaveLeft(t *testing.T) {
	home := newHome(t)
	alive, gone := httptest.NewServer(http.NotFoundHandler()), httptest.NewServer(http.NotFoundHandler())
	defer alive.Close()
	gone.Close()
	dir := filepath.Join(home, runDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for pid, url := range map[int]string{1: gone.URL, 2: alive.URL} {
		if err := (serving{PID: pid, URL: url, file: filepath.Join(dir, fmt.Sprintf("serve-%d.json", pid))}).write(); err != nil {
			t.Fatal(err)
		}
	}
	c := hold(t, &fakeNode{})
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	want := []string{filepath.Join(dir, "serve-2.json"), c.self.file}
	slices.Sort(want)
	if err != nil || !slices.Equal(left, want) {
		t.Errorf("%v are there (%v), want %v", left, err, want)
	}
}

// lastLayers gives the peers that offer the last two of four layers.
func lastLayers(t *testing.T, join string) (all []peerStatus) {
	t.Helper()
	for _, p := range statusJSON(t, "--join", join).Peers {
		if p.Layers == "2:4" && p.State == "online" {
			all = append(all, p)
		}
	}
	return all
}

func TestPause_AnAnswerGoesOnElsewhereAndReplaysNothing(t *testing.T) {
	if apart(t) {
		return
	}
	home := newHome(t)
	mustCLI(t, "import", writeCheckpoint(t, "small-7b", 1), "--name", "mini")
	const tokens, prompt = 1200, 200
	args := []string{"--tokens", idList(prompt), "--max-tokens", fmt.Sprint(tokens), "--temperature", "0", "--ignore-eos"}
	want := generate(t, append([]string{"mini", "--local"}, args...)...)
	p := newProcesses(t)
	_, first := p.serve(home, "mini", "0:2")
	join := first.Addrs[0]
	hosts := map[string]*launch.Process{}
	for range 2 {
		c, r := p.serve(home, "mini", "2:4", "--join", join)
		hosts[r.Peer] = c
	}

	answer := make(chan []string, 1)
	go func() {
		_, out, errOut := cli(t, append([]string{"generate", "--json", "--join", join}, args...)...)
		answer <- []string{out, errOut}
	}()
	busy := peerStatus{}
	eventually(t, "a peer of the last layers computes tokens", func() bool {
		for _, p := range lastLayers(t, join) {
			if *p.Sessions > 0 && p.Counters.Tokens > prompt {
				busy = p
			}
		}
		return busy.Peer != ""
	})
	pid := fmt.Sprint(hosts[busy.Peer].PID())
	if out := mustCLI(t, "pause", "--pid", pid); !strings.Contains(out, pid) || !strings.Contains(out, "1 session went elsewhere") {
		t.Errorf("pause printed %q", out)
	}
	if now := lastLayers(t, join); len(now) != 1 || now[0].Peer == busy.Peer {
		t.Errorf("a node is paused, and the swarm shows %+v", now)
	}
	printed := <-answer
	var got answered
	if err := json.Unmarshal([]byte(printed[0]), &got); err != nil {
		t.Fatalf("generate printed %q: %s", printed[0], printed[1])
	}
	if !slices.Equal(got.IDs, want.IDs) || got.Text != want.Text {
		t.Errorf("another answer than one that nobody disturbed: %d ids, want %d", len(got.IDs), len(want.IDs))
	}
	if len(got.Failovers) != 1 || !strings.Contains(string(got.Failovers[0]), `"replayed_tokens":0`) {
		t.Errorf("what happened: %s", got.Failovers)
	}

	if out := mustCLI(t, "resume", "--pid", pid); strings.Count(out, "\n") != 1 {
		t.Errorf("resume printed %q", out)
	}
	sum := statusCounters{}
	for _, p := range lastLayers(t, join) {
		sum.Tokens += p.Counters.Tokens
		sum.Replayed += p.Counters.Replayed
		sum.PagesHanded += p.Counters.PagesHanded
	}
	if sum.Tokens != prompt+tokens-1 || sum.Replayed != 0 || sum.PagesHanded == 0 {
		t.Errorf("the two nodes of the last layers have counted %+v together", sum)
	}
	for id, c := range hosts {
		if id != busy.Peer {
			c.Kill()
		}
	}
	again := generate(t, "--join", join, "--tokens", idList(prompt), "--max-tokens", "10", "--temperature", "0", "--ignore-eos")
	if !slices.Equal(again.IDs, want.IDs[:10]) || again.Chain[1].Peer != busy.Peer {
		t.Errorf("after resume, as the only host, the chain is %v", again.Chain)
	}
}
