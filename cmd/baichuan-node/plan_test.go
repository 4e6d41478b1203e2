package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/client"
	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
	"github.com/baichuan-node/baichuan-node/routing/placement"
)

// planned runs plan --json and gives its exit code, its report and its error.
func planned(t *testing.T, args ...string) (int, planReport, string) {
	t.Helper()
	code, out, errOut := cli(t, append([]string{"plan", "--json"}, args...)...)
	var r planReport
	if err := json.Unmarshal([]byte(out), &r); err != nil || strings.Count(out, "\n") != 1 {
		t.Fatalf("plan --json %s printed %q, and %s: %v", strings.Join(args, " "), out, errOut, err)
	}
	return code, r, errOut
}

// spelledHops writes a chain as "PEER 0:2, PEER 2:4".
func spelledHops(r planReport) string {
	var all []string
	for _, h := range r.Chain {
		all = append(all, h.Peer+" "+h.Layers)
	}
	return strings.Join(all, ", ")
}

// whyNot is what a plan says of a peer that is not in the chain.
func whyNot(t *testing.T, r planReport, id string) string {
	t.Helper()
	i := slices.IndexFunc(r.Unused, func(p planPeer) bool { return p.Peer == id })
	if i < 0 {
		t.Fatalf("nothing is said of %s: %+v", id, r)
	}
	return r.Unused[i].Why
}

func TestPlan_TellsTheChainThatGenerateTakes(t *testing.T) {
	if apart(t) {
		return
	}
	home := newHome(t)
	mustCLI(t, "import", writeCheckpoint(t, "small-7b", 1), "--name", "mini")
	mustCLI(t, "import", writeCheckpoint(t, "small-7b", 2), "--name", "other")
	p := newProcesses(t)
	_, first := p.serve(home, "mini", "0:2", "--nick", "百川")
	join := []string{"mini", "--join", first.Addrs[0]}
	wait := []string{"--join", first.Addrs[0]}

	code, r, errOut := planned(t, join...)
	if code != exitFailed || !slices.Equal(r.Missing, []string{"2:4"}) || len(r.Chain) != 0 || r.Predicted != 0 || !strings.Contains(errOut, "serve mini --layers 2:4") {
		t.Fatalf("with a gap: code %d, %s, %+v", code, errOut, r)
	}
	if why := whyNot(t, r, first.Peer); !strings.Contains(why, "no peer serves layers 2:4") {
		t.Errorf("of who can do nothing about the gap: %s", why)
	}
	if h := r.Host; h.Layers != "0:4" || h.Of != 4 || h.Weights == 0 || h.Cache == 0 || !strings.Contains(h.Why, "nobody else serves layers 2:4") ||
		!slices.Equal(h.Before.Missing, []string{"2:4"}) || len(h.After.Missing) != 0 {
		t.Errorf("what this machine would host: %+v", h)
	}

	_, second := p.serve(home, "mini", "2:4", wait...)
	_, spare := p.serve(home, "mini", "3:4", wait...)
	_, other := p.serve(home, "other", "0:4", wait...)
	code, r, errOut = planned(t, join...)
	if want := first.Peer + " 0:2, " + second.Peer + " 2:4"; code != 0 || errOut != "" || spelledHops(r) != want || len(r.Missing) != 0 {
		t.Fatalf("code %d, %s: the chain is %s, want %s", code, errOut, spelledHops(r), want)
	}
	sum := 0.0
	for _, h := range r.Chain {
		sum += h.Compute + h.Network + h.Waiting
	}
	if r.Predicted <= 0 || sum < 0.99*r.Predicted || sum > 1.01*r.Predicted || r.PerSecond*r.Predicted < 990 || r.PerSecond*r.Predicted > 1010 || r.Chain[0].Nick != "百川" {
		t.Errorf("the hops' times make %v: %+v", sum, r)
	}
	if why := whyNot(t, r, spare.Peer); !strings.Contains(why, "layers 3:4: through it a token would take ") || !strings.Contains(why, second.Peer) {
		t.Errorf("of one too many: %s", why)
	}
	if why := whyNot(t, r, other.Peer); why != "it serves another model (other)" {
		t.Errorf("of another model's: %s", why)
	}
	a := generate(t, "mini", "--join", first.Addrs[0], "--tokens", "5,6,7", "--max-tokens", "2", "--temperature", "0", "--ignore-eos")
	if len(a.Chain) != 2 || a.Chain[0].Peer != first.Peer || a.Chain[1].Peer != second.Peer {
		t.Errorf("generate took %+v", a.Chain)
	}

	for _, list := range [][]string{{"--block", second.Peer}, {"--allow", first.Peer, "--allow", spare.Peer}} {
		code, r, _ := planned(t, append(list, join...)...)
		if why := whyNot(t, r, second.Peer); code != exitFailed || !slices.Equal(r.Missing, []string{"2:3"}) || !strings.Contains(why, " your "+list[0][2:]+" list") {
			t.Errorf("%v: code %d, missing %v, of who is left out: %s", list, code, r.Missing, why)
		}
	}
	wantFailure(t, exitUsage, []string{"--block", "nobody"}, append([]string{"plan", "--block", "nobody"}, join...)...)

	out := mustCLI(t, append([]string{"plan", "--measure", "--layers", "1:3"}, join...)...)
	for _, want := range []string{"chain of 2 hops, ", "百川", "measured: ", "the median of 32", "not in it", "it serves another model (other)",
		"this machine would host layers 1:3 (2 of 4, ", "because --layers says so: "} {
		if !strings.Contains(out, want) {
			t.Errorf("plan does not say %q:\n%s", want, out)
		}
	}
	if strings.Contains(out, second.Peer) {
		t.Errorf("the table has a whole id:\n%s", out)
	}
	if _, r, _ := planned(t, append(join, "--memory", "1MiB")...); r.Host.Layers != "" || !strings.Contains(r.Host.Why, "--memory 1 MiB") || len(r.Chain) != 2 {
		t.Errorf("with too little memory: %+v", r.Host)
	}
}

func TestPlan_AsksThePeersAndNeedsNoStore(t *testing.T) {
	if apart(t) {
		return
	}
	if runtime.GOOS == "windows" {
		t.Skip("this machine lacks signals: Windows can't hold a process up")
	}
	home := newHome(t)
	mustCLI(t, "import", writeCheckpoint(t, "small-7b", 1), "--name", "mini")
	p := newProcesses(t)
	_, first := p.serve(home, "mini", "0:2")
	held, second := p.serve(home, "mini", "1:4", "--join", first.Addrs[0])
	_, third := p.serve(home, "mini", "2:3", "--join", first.Addrs[0])
	if err := held.Pause(); err != nil {
		t.Fatal(err)
	}
	defer held.Kill()
	empty := newHome(t)
	code, r, errOut := planned(t, "--join", first.Addrs[0], "--layers", "auto:2")
	if code != exitFailed || !slices.Equal(r.Missing, []string{"3:4"}) || !strings.Contains(errOut, "1 banned") || r.Model != "mini" {
		t.Errorf("code %d, %s: %+v", code, errOut, r)
	}
	if why := whyNot(t, r, second.Peer); why != "it did not answer" {
		t.Errorf("of who is held up: %s", why)
	}
	if why := whyNot(t, r, third.Peer); !strings.Contains(why, "it serves layers 2:3, but there is no chain") {
		t.Errorf("of who is of no use now: %s", why)
	}
	if h := r.Host; h.Layers != "2:4" || h.Count != 2 || !strings.Contains(h.Why, "nobody else serves layers 3:4") {
		t.Errorf("an empty machine would host %+v", h)
	}
	if _, err := os.Stat(filepath.Join(empty, "models", "mini")); err == nil {
		t.Error("the store has the model now")
	}
	if code, _, errOut := cli(t, "plan", "nosuch", "--join", first.Addrs[0]); code != exitFailed || !strings.Contains(errOut, "nosuch") {
		t.Errorf("of an unknown model: code %d, %s", code, errOut)
	}
	if code, _, _ := cli(t, "plan", "--layers", "x", "--join", first.Addrs[0]); code != exitUsage {
		t.Errorf("--layers x: code %d", code)
	}
}

func TestPlan_OfAModelThatIsStoredAndServedByNobody(t *testing.T) {
	home := newHome(t)
	mustCLI(t, "import", writeCheckpoint(t, "small-7b", 1), "--name", "mini")
	_, other := newProcesses(t).serve(home, "baichuan2-mini-chat", "0:6")
	code, r, errOut := planned(t, "mini", "--join", other.Addrs[0])
	if code != exitFailed || !slices.Equal(r.Missing, []string{"0:4"}) || r.Host.Layers != "0:4" || !strings.Contains(errOut, "serve mini --layers 0:4") {
		t.Errorf("code %d, %s: %+v", code, errOut, r)
	}
	if why := whyNot(t, r, other.Peer); why != "it serves another model (baichuan2-mini-chat)" {
		t.Errorf("of another model's: %s", why)
	}
}

func TestPlan_SaysWhatTheSwarmGains(t *testing.T) {
	rtt := func(_, _ string) time.Duration { return 10 * time.Millisecond }
	at := func(start, end int, rate int64) placement.Peer {
		s := protocol.Span{Start: start, End: end}
		return placement.Peer{ID: fmt.Sprint(start, end, rate), Held: s, Target: s, Rate: rate}
	}
	for _, c := range []struct {
		name  string
		peers []placement.Peer
		me    placement.Peer
		want  []string
	}{
		{"a gap", []placement.Peer{at(0, 2, 100)}, at(2, 4, 100), []string{"nobody else serves layers 2:4, and with them the model is complete"}},
		{"a part of one", []placement.Peer{at(0, 1, 100)}, at(2, 4, 100), []string{"layers 1:2 would still be missing"}},
		{"none", []placement.Peer{at(0, 2, 100)}, at(0, 1, 100), []string{"it closes no gap: layers 2:4 are still missing", "1 layer would have a second peer"}},
		{"speed", []placement.Peer{at(0, 4, 10)}, at(0, 4, 100), []string{"a token would take ", "the weakest layer would let ", "4 layers would have a second peer"}},
		{"nothing", []placement.Peer{at(0, 4, 1000), at(0, 4, 1001)}, at(0, 1, 1), []string{"they help hardly less than any others"}},
	} {
		before := placement.View{Layers: 4, Peers: c.peers, RTT: rtt}
		after := before
		after.Peers = append(slices.Clone(c.peers), c.me)
		got := scoreOf(before).gains(scoreOf(after), c.me.Target, after)
		for _, want := range c.want {
			if !strings.Contains(got, want) {
				t.Errorf("%s: %s\nwant: %s", c.name, got, want)
			}
		}
	}
}

// What a script reads keeps its names.
func TestPlan_ItsJSONHasStableNames(t *testing.T) {
	o := madeOffer("peer-a", 0, 8, protocol.Online)
	m := hostModel{Name: "mini", ID: protocol.ModelID{1}, Manifest: nil}
	e := routing.Explain([]protocol.Offer{o, madeOffer("peer-b", 0, 8, protocol.Draining)}, routing.Measures{RTT: map[peer.ID]time.Duration{"peer-a": 0}}, m.ID, 8)
	p := &planning{name: "mini", model: m, explained: &client.Explanation{Explanation: e}}
	r := p.report(8)
	r.Host = &planHost{}
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"model", "model_id", "layers", "chain", "peer", "nick", "compute_ms", "network_ms", "waiting_ms", "full", "predicted_ms_per_token",
		"tokens_per_s", "missing", "unused", "why", "host", "weights_bytes", "cache_tokens"} {
		if !strings.Contains(string(data), `"`+name+`":`) {
			t.Errorf("there is no %q in %s", name, data)
		}
	}
}
