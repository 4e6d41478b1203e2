package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/baichuan-node/baichuan-node/node/launch"
	"github.com/baichuan-node/baichuan-node/shard/checkpoint/synthetic"
)

// asProgram in the environment makes the test's own binary the program: so real processes run what is being tested.
const asProgram = "BAICHUAN_NODE_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	os.Setenv("BAICHUAN_LAN", "false") // other tests' peers may be in the same network
	flag.Parse()
	if n := flag.Lookup("test.parallel"); n.Value.String() == n.DefValue {
		_ = n.Value.Set(fmt.Sprint(max(sideBySide, runtime.GOMAXPROCS(0)))) // a number that is one
	}
	os.Exit(m.Run())
}

const (
	// sideBySide is how many tests run at once where nobody says how many: they wait for processes more than they compute.
	sideBySide = 4
	// ownProcess in the environment says that a test runs in a process of its own.
	ownProcess = "BAICHUAN_NODE_TEST_OWN_PROCESS"
)

// apart runs a test beside others, in a process of its own: a command's home is the process'. It is for tests that wait.
//
//	if apart(t) {
//		return
//	}
func apart(t *testing.T) bool {
	t.Helper()
	if os.Getenv(ownProcess) != "" {
		return false
	}
	t.Parallel()
	args := []string{"-test.run=^" + t.Name() + "$", "-test.v", "-test.parallel=16", fmt.Sprint("-full=", *full)}
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), ownProcess+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v:\n%s", err, out)
	} else if bytes.Contains(out, []byte("--- SKIP: "+t.Name()+" ")) {
		t.Skipf("this machine lacks something, as the test's own process says:\n%s", out)
	}
	return true
}

// newHome gives the test a home of its own and makes it the one that commands use.
func newHome(t *testing.T) string {
	t.Helper()
	home := t.TempDir()
	t.Setenv("BAICHUAN_HOME", home)
	return home
}

// cli runs a command in this process and gives its exit code and what it printed.
func cli(t *testing.T, args ...string) (code int, out, errOut string) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(t.Context(), args, strings.NewReader(""), &o, &e)
	return code, o.String(), e.String()
}

// mustCLI runs a command that must succeed and gives its output.
func mustCLI(t *testing.T, args ...string) string {
	t.Helper()
	code, out, errOut := cli(t, args...)
	if code != 0 {
		t.Fatalf("%s: exit code %d: %s", strings.Join(args, " "), code, errOut)
	}
	return out
}

// writeCheckpoint writes a random checkpoint of a preset's shape.
func writeCheckpoint(t *testing.T, preset string, seed uint64) string {
	t.Helper()
	spec, err := synthetic.Preset(preset)
	if err != nil {
		t.Fatal(err)
	}
	spec.Seed, spec.Tokenizer = seed, synthetic.Tokenizer()
	dir := filepath.Join(t.TempDir(), preset)
	if err := synthetic.Write(dir, spec); err != nil {
		t.Fatal(err)
	}
	return dir
}

// processes starts serve processes and stops them at the test's end.
type processes struct {
	t     *testing.T
	group *launch.Group
}

func newProcesses(t *testing.T) *processes {
	t.Helper()
	g, err := launch.NewGroup(launch.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Stop(); err != nil {
			t.Error(err)
		}
	})
	return &processes{t: t, group: g}
}

// serve starts a process and waits until it accepts requests.
func (p *processes) serve(home, model, layers string, args ...string) (*launch.Process, launch.Ready) {
	p.t.Helper()
	c := p.begin(home, model, layers, args...)
	r, err := c.Ready(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	return c, r
}

// begin starts a process.
func (p *processes) begin(home, model, layers string, args ...string) *launch.Process {
	p.t.Helper()
	self, err := os.Executable()
	if err != nil {
		p.t.Fatal(err)
	}
	c, err := p.group.Start(launch.Command{
		Name: "node of layers " + layers, Binary: self,
		Args: append([]string{"serve", model, "--layers", layers, "--listen", "/ip4/127.0.0.1/tcp/0", "--threads", "1"}, args...),
		Env:  []string{asProgram + "=1", "BAICHUAN_HOME=" + home},
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return c
}

// swarm starts n processes that share the model's layers and gives the address of the first.
func (p *processes) swarm(home, model string, layers, n int) string {
	p.t.Helper()
	join := ""
	for i := range n {
		var args []string
		if i > 0 {
			args = []string{"--join", join}
		}
		_, r := p.serve(home, model, cut(layers, n, i).String(), args...)
		if i == 0 {
			join = r.Addrs[0]
		}
	}
	return join
}

// answered is what the tests read of generate's --json.
type answered struct {
	Text   string   `json:"text"`
	IDs    []uint32 `json:"ids"`
	Reason string   `json:"finish_reason"`
	Chain  []struct {
		Peer, Layers, Device string
	} `json:"chain"`
	Failovers []json.RawMessage `json:"failovers"`
}

// generate runs generate with --json and gives its answer.
func generate(t *testing.T, args ...string) answered {
	t.Helper()
	out := mustCLI(t, append([]string{"generate", "--json"}, args...)...)
	var a answered
	if err := json.Unmarshal([]byte(out), &a); err != nil {
		t.Fatalf("generate --json printed %q: %v", out, err)
	}
	return a
}

// idList makes n ids that look unlike each other, as --tokens takes them.
func idList(n int) string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprint((i*i*31 + 7*i + 5) % 4096)
	}
	return strings.Join(ids, ",")
}
