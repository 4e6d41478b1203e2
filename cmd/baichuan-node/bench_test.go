package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/baichuan-node/baichuan-node/kernels/probe"
	"github.com/baichuan-node/baichuan-node/shard/bundled"
	"github.com/baichuan-node/baichuan-node/shard/measure"
	"github.com/baichuan-node/baichuan-node/sim/demand"
)

func TestBench_ModelHasAFigureForEachKindOfPass(t *testing.T) {
	newHome(t)
	args := []string{"bench", "model", bundled.Chat, "--layers", "4:6", "--threads", "1,2", "--context", "0,100", "--batch", "1,2",
		"--prompt", "16", "--json"}
	var r modelReport
	if err := json.Unmarshal([]byte(mustCLI(t, args...)), &r); err != nil {
		t.Fatal(err)
	}
	if r.Model != bundled.Chat || r.Layers != "4:6" || r.WeightBytes == 0 || len(r.Runs) != 2 {
		t.Errorf("%+v", r)
	}
	for i, run := range r.Runs {
		if run.Threads != i+1 || run.CPU == "" || !strings.HasPrefix(run.Device, "cpu/") || run.Loops == "" || len(run.Steps) != 5 {
			t.Errorf("%+v", run)
		}
	}
}

func TestBench_DecodesBesideABusyProcess(t *testing.T) {
	newHome(t)
	t.Setenv(asProgram, "1") // --hog starts this program again
	args := []string{"bench", "model", bundled.Chat, "--context", "0", "--batch", "1", "--prompt", "1", "--hog=50ms"}
	if out := mustCLI(t, args...); !strings.Contains(out, "beside a busy process: ") {
		t.Errorf("%s", out)
	}
}

func TestBench_ModelOfARealShapeIsMadeUp(t *testing.T) {
	newHome(t)
	out := mustCLI(t, "bench", "model", "--synthetic", "7b", "--layers", "1:2", "--context", "0", "--batch", "1", "--prompt", "2")
	for _, want := range []string{"7b in nf4, layers 1:2", "103 MiB", "decode", "prefill", "tokens/s", "time/limit", "reading"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing: %s", want, out)
		}
	}
}

func TestBench_KernelsPrintsWhatIsAskedFor(t *testing.T) {
	newHome(t)
	var r kernelsReport
	if err := json.Unmarshal([]byte(mustCLI(t, "bench", "kernels", "--only", "rows", "--threads", "1", "--json")), &r); err != nil {
		t.Fatal(err)
	}
	if r.Threads != 1 || len(r.Figures) != 6 || r.Figures[0].Limits.Read == 0 {
		t.Errorf("%+v", r)
	}
}

func TestBench_TableOfKernelsHasALineForALayer(t *testing.T) {
	var r kernelsReport
	for _, kernel := range []string{"nf4 w_pack", "nf4 o_proj", "nf4 gate+up", "nf4 down", "nf4 layer", "int8 head"} {
		r.Figures = append(r.Figures, measure.KernelFigure{Kernel: kernel, Rows: 8, Figure: measure.Figure{
			Share: 0.5, Bound: measure.ByMemory, Limits: probe.Limits{Read: 40e9, Integer: 900e9}, Work: measure.Work{Integer: 1},
		}})
	}
	var out strings.Builder
	if err := printKernels(&out, r); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(out.String(), "\n")
	for i, want := range map[int]string{4: "50 %    50 %    50 %     50 %  50 %", 8: "int8 head"} {
		if len(lines) <= i || !strings.Contains(strings.Join(strings.Fields(lines[i]), " "), strings.Join(strings.Fields(want), " ")) {
			t.Errorf("line %d lacks %q:\n%s", i, want, out.String())
		}
	}
}

func TestBench_SwarmHasAFigureForEachNumberOfClients(t *testing.T) {
	if apart(t) {
		return
	}
	newHome(t)
	t.Setenv(asProgram, "1") // for the nodes, which are this binary again
	t.Setenv("TMPDIR", t.TempDir())
	args := []string{"bench", "swarm", bundled.Chat, "--nodes", "2", "--threads", "1", "--clients", "1,3", "--prompt", "300", "--rounds", "1", "--window", "200ms", "--json"}
	var r swarmReport
	if err := json.Unmarshal([]byte(mustCLI(t, args...)), &r); err != nil {
		t.Fatal(err)
	}
	if r.Model != bundled.Chat || r.Layers != 6 || r.WeightBytes == 0 || r.Machine.Threads != 1 || strings.Join(r.Nodes, " ") != "0:3 3:6" {
		t.Errorf("%+v", r)
	}
	if len(r.Clients) != 2 || r.Limits == nil || r.Beside == nil {
		t.Fatalf("%+v", r.Report)
	}
	for i, f := range r.Clients {
		if f.Clients != 1+2*i || f.Tokens <= 0 || f.First <= 0 || f.Gap <= 0 || f.Limit <= 0 || f.Below <= 0 || f.Passes.Passes == 0 || len(f.Passes.Sizes) == 0 {
			t.Errorf("%+v", f)
		}
	}
	if b := r.Beside; b.Prompt != 300 || b.Alone.N == 0 || b.Beside.N == 0 || b.Beside.P95 < b.Beside.P50 || b.Ratio <= 0 || b.PromptAlone <= 0 || b.PromptBeside <= 0 {
		t.Errorf("%+v", b)
	}
	if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) > 0 {
		t.Errorf("it left %v in the temporary folder (%v)", left, err)
	}
}

func TestBench_SwarmThatIsThereHasNoLimits(t *testing.T) {
	_, ready := newProcesses(t).serve(newHome(t), bundled.Chat, "0:6")
	out := mustCLI(t, "bench", "swarm", "--join", ready.Addrs[0], "--clients", "1,2", "--prompt", "0", "--rounds", "1", "--window", "50ms")
	if !strings.Contains(out, "tokens/s") || strings.Contains(out, "limit") || strings.Contains(out, "prompt") {
		t.Errorf("%s", out)
	}
}

func TestBench_SwarmSaysHowFiguresStandToWhatIsAsked(t *testing.T) {
	r := swarmReport{Model: "7b", Machine: &machine{Threads: 2}, Report: &demand.Report{
		Limits: &probe.Limits{Read: 30e9},
		Clients: []demand.Figure{
			{Clients: 1, Tokens: 10, Times: 1, Limit: 11, By: measure.ByMemory},
			{Clients: 8, Tokens: 25, Times: 2.5, Limit: 30, By: measure.ByArithmetic, Below: 1.2, Passes: demand.Passes{
				Passes: 4, Tokens: 30, Sizes: []demand.Size{{UpTo: "4", Passes: 1}, {UpTo: "8", Passes: 3}},
			}},
		},
		Beside: &demand.Beside{Prompt: 2000, Ratio: 2.6},
	}}
	var out strings.Builder
	if err := printSwarm(&out, r); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"2.50 times the tokens/s of one (at least 3 is asked, or a limit by arithmetic at most 1.25 times as high: 1.20): met",
		"4: 25 %, 8: 75 %", "2.60 times the median alone (at most 2.5 is asked): missed"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing:\n%s", want, out.String())
		}
	}
}

func TestBench_SwarmRefusesWhatMakesNoSense(t *testing.T) {
	newHome(t)
	join := "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWGRUYnhKjjLnhmqQJ5TCnvw6qhT1GuA8jyXVVNVoHbJr6"
	for _, tc := range [][]string{
		{"--clients", "0"}, {"--clients", ""}, {"--rounds", "0"}, {"--synthetic", "70b"}, {"--layers", "3"}, {"--layers", "0:33"}, {"--weights", "q4"},
		{"--nodes", "9"}, {"--threads", "-1"}, {"--join", join, "--nodes", "2"}, {"--swarm-key", "file"}, {bundled.Chat, "--layers", "0:2"},
	} {
		if code, _, errOut := cli(t, append([]string{"bench", "swarm"}, tc...)...); code != 2 || strings.Count(errOut, "\n") != 1 {
			t.Errorf("%v: exit code %d: %s", tc, code, errOut)
		}
	}
}
