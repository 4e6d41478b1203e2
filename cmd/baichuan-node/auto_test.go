package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
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

// servedAs waits until peers serve these layers, all is served, and nobody is on the way elsewhere.
func servedAs(t *testing.T, join string, want map[string]string) {
	t.Helper()
	var last string
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		var s swarmStatus
		if err := json.Unmarshal([]byte(mustCLI(t, "status", "deep", "--join", join, "--json")), &s); err != nil {
			t.Fatal(err)
		}
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

// TestServe_AutoEndsInTheGap is Petals' own test of its rebalancing, with processes: of 24 layers A chooses 5 and begins with
// the first, C chooses 14, and B is told to serve those where A is. So A leaves for what nobody serves, C stays, and the
// answers are what they are on one machine. An empty home in the same swarm gets its layers from them.
func TestServe_AutoEndsInTheGap(t *testing.T) {
	if apart(t) {
		return
	}
	home := newHome(t)
	deepModel(t, 24)
	p := newProcesses(t)
	_, a := p.serve(home, "deep", "auto:5")
	join := []string{"--join", a.Addrs[0]}
	_, c := p.serve(home, "deep", "auto:14", join...)
	if a.Layers != "0:5" || c.Layers != "5:19" {
		t.Errorf("they begin with %s and %s", a.Layers, c.Layers)
	}
	_, b := p.serve(home, "deep", "0:5", join...)
	want := map[string]string{a.Peer: "19:24", b.Peer: "0:5", c.Peer: "5:19"}
	servedAs(t, a.Addrs[0], want)

	ask := []string{"deep", "--tokens", idList(20), "--max-tokens", "8", "--temperature", "0", "--ignore-eos"}
	alone, swarm := generate(t, append(ask, "--local")...), generate(t, append(ask, join...)...)
	if len(swarm.IDs) != 8 || !slices.Equal(swarm.IDs, alone.IDs) || len(swarm.Chain) != 3 {
		t.Errorf("the swarm answers %v through %v, want %v through three", swarm.IDs, swarm.Chain, alone.IDs)
	}

	_, d := p.serve(t.TempDir(), a.Model, "auto", join...)
	want[d.Peer] = "0:24"
	servedAs(t, a.Addrs[0], want)
}
