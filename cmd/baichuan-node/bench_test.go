package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/baichuan-node/baichuan-node/kernels/probe"
	"github.com/baichuan-node/baichuan-node/shard/bundled"
	"github.com/baichuan-node/baichuan-node/shard/measure"
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
	args := []string{"bench", "model", bundled.Chat, "--context", "0", "--batch", "1", "--prompt", "1", "--hog"}
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
