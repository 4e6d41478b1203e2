package sim

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/shard/store"
)

// folder is where the tests' program is.
var folder string

// builtAlready in the environment of a test's process names the program's file.
const builtAlready = "BAICHUAN_SIM_TEST_PROGRAM"

// sideBySide is how many tests run at once where nobody says how many: they wait for processes more than they compute.
const sideBySide = 4

func TestMain(m *testing.M) {
	flag.Parse()
	asked := false
	flag.Visit(func(f *flag.Flag) { asked = asked || f.Name == "test.parallel" })
	if !asked {
		_ = flag.Set("test.parallel", fmt.Sprint(max(sideBySide, runtime.GOMAXPROCS(0)))) // a number that is one
	}
	debug.SetGCPercent(400) // worlds are small and short-lived
	dir, err := os.MkdirTemp("", "baichuan-sim-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	folder = dir
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// built is the file of the program that is tested. It is built for all tests when the first one needs it.
var built = sync.OnceValues(func() (string, error) {
	if file := os.Getenv(builtAlready); file != "" {
		return file, nil
	}
	file := filepath.Join(folder, "baichuan-node")
	if runtime.GOOS == "windows" {
		file += ".exe"
	}
	out, err := exec.Command("go", "build", "-ldflags=-w", "-o", file, "../cmd/baichuan-node").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("build the program: %w\n%s", err, out)
	}
	return file, err
})

func program(t *testing.T) string {
	t.Helper()
	file, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// plays plays a scenario's short form, beside others.
func plays(t *testing.T, name string) {
	t.Helper()
	t.Parallel()
	i := slices.IndexFunc(Scenarios(), func(s Scenario) bool { return s.Name == name })
	report, err := Play(t.Context(), Scenarios()[i], Config{Binary: program(t), Seed: 1, Busy: true, Step: func(step Step) {
		t.Logf("%s: longest wait %d ms, failovers %+v", step.Name, step.StallMS, step.Failovers)
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := report.Wrong(); err != nil {
		t.Error(err)
	}
}

// apart is plays in a process of its own, for those that look at what this process holds.
func apart(t *testing.T, name string) {
	t.Helper()
	if os.Getenv(builtAlready) != "" {
		plays(t, name)
		return
	}
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), builtAlready+"="+program(t))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func TestKill_ChangesNoAnswer(t *testing.T)            { plays(t, "kill") }
func TestKillTwo_ChangesNoAnswer(t *testing.T)         { plays(t, "kill-two") }
func TestKillReplacement_ChangesNoAnswer(t *testing.T) { plays(t, "kill-replacement") }
func TestMissing_WaitsForAnother(t *testing.T)         { plays(t, "missing") }
func TestTurns_ComputeWhatIsNew(t *testing.T)          { plays(t, "turns") }
func TestPrefix_IsComputedOnce(t *testing.T)           { plays(t, "prefix") }
func TestSweep_LosesNothing(t *testing.T)              { plays(t, "sweep") }

func TestWAN_ChangesNoAnswer(t *testing.T)       { plays(t, "wan") }
func TestPartition_ChangesNoAnswer(t *testing.T) { plays(t, "partition") }

func TestEmpty_MachinesServeWhatOthersHave(t *testing.T) { plays(t, "empty") }
func TestPetals_EndsInTheGap(t *testing.T)               { plays(t, "petals") }

func TestDrain_ComputesNothingAgain(t *testing.T) { plays(t, "drain") }
func TestThrottle_IsKept(t *testing.T)            { plays(t, "throttle") }
func TestCrowd_GetsItsAnswers(t *testing.T)       { plays(t, "crowd") }

func TestFlood_GetsNoMoreThanItsShare(t *testing.T) { apart(t, "flood") }
func TestSoak_LeavesNothingBehind(t *testing.T)     { apart(t, "soak") }

func TestHang_GoesOnElsewhere(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("this machine lacks a signal that holds up a process")
	}
	plays(t, "hang")
}

func TestPlay_EndsItsProcessesWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	var pids []int
	s := Scenario{Name: "test", play: func(ctx context.Context, st *stage) error {
		return st.step(ctx, "a hung node", 1, 1, func(ctx context.Context, sc *scene) error {
			for _, n := range sc.living() {
				pids = append(pids, n.PID())
			}
			if runtime.GOOS != "windows" {
				if err := sc.living()[0].hang(); err != nil {
					return err
				}
			}
			cancel()
			_, err := sc.talk(0, private).answers(ctx, ask(someIDs(5, 1), 1))
			return err
		})
	}}
	if _, err := Play(ctx, s, Config{Binary: program(t)}); err == nil {
		t.Error("the end of the context is no error")
	}
	for _, pid := range pids {
		if p, err := os.FindProcess(pid); err == nil && isAlive(p) {
			t.Errorf("process %d lives on", pid)
		}
	}
}

func TestParseMetrics_ReadsWhatNodesCount(t *testing.T) {
	text := `# HELP baichuan_node_tokens_total x
baichuan_node_tokens_total 1.5e+06
baichuan_node_replayed_tokens_total 2
baichuan_node_prefix_hit_tokens_total 3
baichuan_node_pages_handed_total 4
baichuan_node_ledger_answers_total 5
baichuan_node_push_repairs_total 6
baichuan_node_pass_seconds_bucket{le="0.1"} 6
`
	read := func(text string) (c Counters, err error) {
		all, err := parseMetrics(strings.NewReader(text))
		return c, errors.Join(err, all.read(c.names()))
	}
	got, err := read(text)
	if want := (Counters{1500000, 2, 3, 4, 5, 6}); err != nil || got != want {
		t.Errorf("counters %+v, %v; want %+v", got, err, want)
	}
	for _, bad := range []string{"", text[:200], strings.Replace(text, " 2\n", " two\n", 1)} {
		if _, err := read(bad); err == nil {
			t.Errorf("counters were read in %q", bad)
		}
	}
}

// A step that was under way when a hop was replaced has been computed twice if the hop lives. One that was killed is not
// asked what it has computed, and one that was held up is not believed.
func TestUnderWay_CountsWhatTwoNodesHaveComputed(t *testing.T) {
	span := store.Span{Start: 2, End: 4}
	alive, dead, slow := &process{}, &process{}, &process{held: true}
	dead.meets(killed)
	all := []interrupted{
		{alive, protocol.Span(span), 1}, {alive, protocol.Span(span), 300}, {alive, protocol.Span{Start: 4, End: 6}, 20},
		{dead, protocol.Span(span), 400}, {slow, protocol.Span(span), 500},
	}
	if got := underWay(all, span); got != 301 {
		t.Errorf("%d tokens were under way, want 301", got)
	}
}
