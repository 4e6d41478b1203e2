package launch

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// childMode says what this test binary does when a test starts it as a process.
const childMode = "BAICHUAN_LAUNCH_TEST_CHILD"

// leftFile is where a serving child leaves a word when it leaves by itself.
const leftFile = "BAICHUAN_LAUNCH_TEST_LEFT"

func TestMain(m *testing.M) {
	if mode := os.Getenv(childMode); mode != "" {
		os.Exit(child(mode, os.Args[1:]))
	}
	os.Exit(m.Run())
}

func child(mode string, args []string) int {
	flags := make(map[string]string)
	for i := 0; i+1 < len(args); i++ {
		flags[args[i]] = args[i+1]
	}
	announce := func() error {
		return WriteReady(flags["--ready-file"], Ready{
			Peer: "12D3KooWTest", Addrs: []string{"/ip4/127.0.0.1/tcp/1/p2p/12D3KooWTest"}, Model: "mini",
			Layers: flags["--layers"], PID: os.Getpid(),
		})
	}
	switch mode {
	case "serve": // leaves when its standard input ends
		ctx, cancel := UntilClosed(context.Background(), os.Stdin)
		defer cancel()
		signal.Ignore(os.Interrupt)
		if err := announce(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		<-ctx.Done()
		if path := os.Getenv(leftFile); path != "" && os.WriteFile(path, nil, 0o600) != nil {
			return 1
		}
		return 0
	case "environment":
		fmt.Fprintf(os.Stderr, "%q %q", os.Getenv("LAUNCH_TEST_SECRET"), os.Getenv("LAUNCH_TEST_OTHER"))
		return 1
	case "fail":
		fmt.Fprint(os.Stderr, "loading\n\nbaichuan-node: no model named mini\n")
		return 3
	case "silent": // never ready
		fmt.Fprintln(os.Stderr, "still loading")
		time.Sleep(time.Minute)
	case "garbage":
		if err := os.WriteFile(flags["--ready-file"], []byte(`{"peer":`), 0o600); err != nil {
			return 1
		}
		time.Sleep(time.Minute)
	case "deaf": // ready, and deaf to all polite means
		ignoreTerminate()
		if err := announce(); err != nil {
			return 1
		}
		time.Sleep(time.Minute)
	case "parent": // starts a child, says where its ready files are, and waits to be killed
		return parent()
	}
	return 0
}

func parent() int {
	g, err := NewGroup(Config{})
	if err != nil {
		return 1
	}
	p, err := g.Start(Command{Name: "grandchild", Binary: os.Args[0], Env: []string{childMode + "=serve"}})
	if err != nil {
		return 1
	}
	if _, err := p.Ready(context.Background()); err != nil {
		return 1
	}
	fmt.Println(g.dir)
	time.Sleep(time.Minute)
	return 0
}

func newGroup(t *testing.T, cfg Config) *Group {
	t.Helper()
	g, err := NewGroup(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.Stop() })
	return g
}

func start(t *testing.T, g *Group, mode string) *Process {
	t.Helper()
	p, err := g.Start(Command{
		Name: mode, Binary: os.Args[0], Args: []string{"--layers", "0:2"}, Env: []string{childMode + "=" + mode},
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestGroup_StartsAndStops(t *testing.T) {
	g := newGroup(t, Config{})
	first, second := start(t, g, "serve"), start(t, g, "serve")
	for _, p := range []*Process{first, second} {
		ready, err := p.Ready(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if ready.PID != p.PID() || ready.Layers != "0:2" {
			t.Errorf("ready file says %+v, the process is %d", ready, p.PID())
		}
	}
	if err := g.Stop(); err != nil {
		t.Error(err)
	}
	for _, p := range []*Process{first, second} {
		select {
		case <-p.Exited():
		default:
			t.Errorf("process %d runs after Stop", p.PID())
		}
	}
	if _, err := os.Stat(g.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder of ready files is still there: %v", err)
	}
	if _, err := g.Start(Command{Name: "late", Binary: os.Args[0]}); err == nil {
		t.Error("a stopped group started a process")
	}
}

func TestReady_FailsWithTheReason(t *testing.T) {
	for _, tc := range []struct {
		mode, want string
		patienceMS int
	}{
		{"fail", "start fail: it left by itself with exit status 3: loading | baichuan-node: no model named mini", 20_000},
		{"silent", "start silent: not ready after 2s: still loading", 2_000},
		{"garbage", "unexpected end of JSON input", 20_000},
	} {
		t.Run(tc.mode, func(t *testing.T) {
			t.Parallel()
			g := newGroup(t, Config{ReadyTimeout: time.Duration(tc.patienceMS) * time.Millisecond})
			p := start(t, g, tc.mode)
			_, err := p.Ready(context.Background())
			if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %q, want one line with %q", err, tc.want)
			}
			p.Kill()
		})
	}
}

func TestStart_KeepsVariablesBack(t *testing.T) {
	t.Setenv("LAUNCH_TEST_SECRET", "theirs")
	t.Setenv("LAUNCH_TEST_OTHER", "anyone's")
	p, err := newGroup(t, Config{}).Start(Command{
		Name: "node", Binary: os.Args[0], Env: []string{childMode + "=environment"}, Without: []string{"LAUNCH_TEST_SECRET"},
	})
	if err != nil {
		t.Fatal(err)
	}
	<-p.Exited()
	if err := p.Err(); err == nil || !strings.Contains(err.Error(), `"" "anyone's"`) {
		t.Errorf("the process says %v", err)
	}
}

func TestReady_EndsWithItsContext(t *testing.T) {
	g := newGroup(t, Config{})
	p := start(t, g, "silent")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := p.Ready(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
	p.Kill()
}

func TestStart_NamesAMissingBinary(t *testing.T) {
	g := newGroup(t, Config{})
	_, err := g.Start(Command{Name: "node 1", Binary: filepath.Join(t.TempDir(), "absent")})
	if err == nil || !strings.Contains(err.Error(), "start node 1: ") {
		t.Errorf("error %v", err)
	}
}

func TestStop_KillsTheDeaf(t *testing.T) {
	g := newGroup(t, Config{Grace: 200 * time.Millisecond})
	p := start(t, g, "deaf")
	if _, err := p.Ready(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := g.Stop(); err == nil || !strings.Contains(err.Error(), "deaf did not leave within 200ms and was killed") {
		t.Errorf("error %v", err)
	}
	<-p.Exited()
}

func TestChild_DoesNotOutliveAKilledParent(t *testing.T) {
	left := filepath.Join(t.TempDir(), "left")
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childMode+"=parent", leftFile+"="+left)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	dir, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(strings.TrimSpace(dir)) })
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(left); err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the child outlived its killed parent")
		}
	}
}

func TestWriteReady_IsReadAsAWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ready.json")
	want := Ready{Peer: "p", Addrs: []string{"/ip4/127.0.0.1/tcp/1/p2p/p"}, Model: "m", Layers: "0:2", PID: 7, Metrics: "http://127.0.0.1:1/metrics"}
	if err := WriteReady(path, want); err != nil {
		t.Fatal(err)
	}
	got, err := readReady(path)
	if err != nil {
		t.Fatal(err)
	}
	if got.Peer != want.Peer || got.PID != want.PID || got.Metrics != want.Metrics || got.Addrs[0] != want.Addrs[0] {
		t.Errorf("read %+v, wrote %+v", got, want)
	}
	if files, _ := os.ReadDir(filepath.Dir(path)); len(files) != 1 {
		t.Errorf("%d files are left in the folder", len(files))
	}
	if err := WriteReady(filepath.Join(path, "below"), want); err == nil {
		t.Error("a ready file was written below a file")
	}
}

func TestReadReady_RefusesWhatNoNodeWrites(t *testing.T) {
	for name, text := range map[string]string{
		"no peer":  `{"addrs":["a"],"pid":1}`,
		"no pid":   `{"peer":"p","addrs":["a"]}`,
		"too long": `{"peer":"` + strings.Repeat("x", maxReady) + `"}`,
	} {
		path := filepath.Join(t.TempDir(), "ready.json")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if r, err := readReady(path); err == nil {
			t.Errorf("%s: read %+v", name, r)
		}
	}
}

func TestTail_KeepsTheLastLines(t *testing.T) {
	var tl tail
	for i := range 2000 {
		fmt.Fprintf(&tl, "line %d\n", i)
	}
	if got, want := tl.quoted(), ": line 1997 | line 1998 | line 1999"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if len(tl.kept) > maxTail {
		t.Errorf("%d bytes are kept", len(tl.kept))
	}
}
