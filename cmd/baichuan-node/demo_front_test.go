package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/baichuan-node/baichuan-node/shard/bundled"
)

// demoPage is what a page of a demo does.
type demoPage struct {
	*testing.T
	url string
}

// post sends a request as the page does.
func (p demoPage) post(path string, body any) *http.Response {
	p.Helper()
	data, err := json.Marshal(body)
	if err != nil {
		p.Fatal(err)
	}
	r, err := http.NewRequestWithContext(p.Context(), "POST", p.url+path, bytes.NewReader(data))
	if err != nil {
		p.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Origin", p.url)
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		p.Fatal(err)
	}
	p.Cleanup(func() { a.Body.Close() })
	if a.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(a.Body)
		p.Fatalf("%s %s: %d %s", path, data, a.StatusCode, text)
	}
	return a
}

func (p demoPage) kill(peer string) { p.post("/api/demo/kill", map[string]string{"peer": peer}) }

// seenSwarm is what the tests read of /api/swarm.
type seenSwarm struct {
	Missing  []string
	Coverage []int
	Peers    []struct{ Peer, Layers, State string }
}

func (p demoPage) swarm() (o seenSwarm) {
	p.Helper()
	r, err := http.Get(p.url + "/api/swarm")
	if err != nil {
		p.Fatal(err)
	}
	defer r.Body.Close()
	if err := json.NewDecoder(r.Body).Decode(&o); err != nil {
		p.Fatal(err)
	}
	return o
}

// holders are the peers that serve some layers and can be reached.
func (p demoPage) holders(layers string) (peers []string) {
	p.Helper()
	for _, x := range p.swarm().Peers {
		if x.Layers == layers && x.State == "online" {
			peers = append(peers, x.Peer)
		}
	}
	return peers
}

// stories asks for four of them at once, and gives them with how often a peer was replaced. begun is called with the chain
// of the first when that begins.
func (p demoPage) stories(begun func(chain []string)) (texts [4]string, replaced int) {
	p.Helper()
	a := p.post("/v1/chat/completions", map[string]any{
		"model": bundled.Chat, "messages": []map[string]string{{"role": "user", "content": "讲个故事"}},
		"seed": 7, "temperature": 1, "n": len(texts), "stream": true, "stream_options": map[string]bool{"include_chain": true},
	})
	told := false
	for lines := bufio.NewScanner(a.Body); lines.Scan(); {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok || data == "[DONE]" {
			continue
		}
		var e struct {
			Error   json.RawMessage
			Choices []struct {
				Index int
				Delta struct{ Content string }
			}
			Baichuan struct {
				Chain    []struct{ Peer string }
				Failover json.RawMessage
			}
		}
		if err := json.Unmarshal([]byte(data), &e); err != nil || e.Error != nil {
			p.Fatalf("%s: %v", data, err)
		}
		for _, c := range e.Choices {
			texts[c.Index] += c.Delta.Content
		}
		if e.Baichuan.Failover != nil {
			replaced++
		}
		if begun != nil && !told && len(e.Baichuan.Chain) > 0 {
			told = true
			var chain []string
			for _, hop := range e.Baichuan.Chain {
				chain = append(chain, hop.Peer)
			}
			begun(chain)
		}
	}
	return texts, replaced
}

func TestDemo_GoesOnWhilePeersAreKilledAndStarted(t *testing.T) {
	newHome(t)
	demo, ready := startDemo(t)
	if len(ready.Nodes) != 6 {
		t.Errorf("there are %d nodes", len(ready.Nodes))
	}
	p := demoPage{t, ready.URL}
	want, _ := p.stories(nil)
	killed := ""
	got, replaced := p.stories(func(chain []string) {
		killed = chain[1]
		p.kill(killed)
	})
	if got != want || replaced == 0 || killed == "" {
		t.Errorf("when a peer was killed (%d times replaced) it said %q, else %q", replaced, got, want)
	}
	left := p.holders("2:4")
	if len(left) != 1 || left[0] == killed {
		t.Fatalf("layers 2:4 are at %v, %s was killed", left, killed)
	}
	p.kill(left[0])
	if o := p.swarm(); !slices.Equal(o.Missing, []string{"2:4"}) || !slices.Equal(o.Coverage, []int{2, 2, 0, 0, 2, 2}) {
		t.Errorf("with both of one span killed, the map tells of %+v", o)
	}
	p.post("/api/demo/start", map[string]any{})
	eventually(t, "the gap is filled", func() bool { return len(p.swarm().Missing) == 0 })
	if got, _ := p.stories(nil); got != want {
		t.Errorf("with a new peer it says %q, want %q", got, want)
	}
	for _, peer := range slices.Concat(p.holders("0:2"), p.holders("2:4"), p.holders("4:6")) {
		p.kill(peer)
	}
	for range 3 { // one of them begins a swarm anew, which the gateway finds
		p.post("/api/demo/start", map[string]any{})
	}
	eventually(t, "a new swarm is whole", func() bool { return len(p.swarm().Missing) == 0 })
	if got, _ := p.stories(nil); got != want {
		t.Errorf("with all peers new it says %q, want %q", got, want)
	}
	if err := demo.Process.Kill(); err != nil {
		t.Fatal(err)
	}
}

func TestDemo_TakesAnotherPortUnlessOneIsNamed(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	at := taken.Addr().String()
	open := func(listen string, given, stays bool) (net.Listener, string, error) {
		var f demoFlags
		var errOut bytes.Buffer
		cmd := &cobra.Command{}
		cmd.SetErr(&errOut)
		cmd.Flags().StringVar(&f.listen, "listen", listen, "")
		if given {
			if err := cmd.Flags().Set("listen", listen); err != nil {
				t.Fatal(err)
			}
		}
		l, err := f.open(cmd, stays)
		if err == nil {
			t.Cleanup(func() { l.Close() })
		}
		return l, errOut.String(), err
	}
	if l, note, err := open(at, false, true); err != nil || !strings.Contains(note, at+" is taken") || l.Addr().String() == at {
		t.Errorf("a taken default: %q, %v", note, err)
	}
	if _, note, err := open(at, false, false); err != nil || note != "" {
		t.Errorf("a demo that leaves at once: %q, %v", note, err)
	}
	if _, _, err := open(at, true, true); err == nil || !strings.Contains(err.Error(), at) {
		t.Errorf("a taken port that was asked for: %v", err)
	}
	if _, _, err := open("8080", true, true); err == nil || !strings.Contains(err.Error(), "127.0.0.1:8080") {
		t.Errorf("no address: %v", err)
	}
}
