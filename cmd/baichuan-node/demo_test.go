package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

func TestDemo_AnswersThroughThreeProcesses(t *testing.T) {
	if apart(t) {
		return
	}
	newHome(t)
	t.Setenv(asProgram, "1") // for the nodes, which are this binary again
	t.Setenv("TMPDIR", t.TempDir())
	t.Setenv("BAICHUAN_JOIN", "/ip4/192.0.2.1/tcp/1") // of a swarm that is not the demo's
	for prompt, isChinese := range map[string]bool{"你好": true, "Hello, who are you?": false} {
		code, out, errOut := cli(t, "demo", prompt, "--seed", "1")
		if code != 0 || utf8.RuneCountInString(out) < 3 || strings.ContainsFunc(out, func(r rune) bool { return unicode.Is(unicode.Han, r) }) != isChinese {
			t.Fatalf("%s: exit code %d, printed %q: %s", prompt, code, out, errOut)
		}
		if strings.Count(errOut, "process ") != 3 || !strings.Contains(errOut, "layers 0:2") {
			t.Errorf("it does not tell of three processes: %s", errOut)
		}
		if again := mustCLI(t, "demo", prompt, "--seed", "1", "--nodes", "1"); again != out {
			t.Errorf("one process says %q, three said %q", again, out)
		}
	}
	if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) > 0 {
		t.Errorf("it left %v in the temporary folder (%v)", left, err)
	}
}

func TestDemo_TalksWithAStoredModel(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("this machine lacks links: Windows lets few users make them")
	}
	home := newHome(t)
	mustCLI(t, "import", writeCheckpoint(t, "small-13b", 1), "--name", "mine")
	t.Setenv(asProgram, "1")
	out := mustCLI(t, "demo", "你好", "--model", "mine", "--nodes", "2", "--temperature", "0", "--max-tokens", "5", "--ignore-eos")
	want := generate(t, "mine", "--local", "-p", "你好", "--temperature", "0", "--max-tokens", "5", "--ignore-eos")
	if strings.TrimSuffix(out, "\n") != want.Text {
		t.Errorf("the demo says %q, the stored model %q", out, want.Text)
	}
	if left, err := os.ReadDir(home); err != nil || len(left) != 1 {
		t.Errorf("beside the models it left %v in the home (%v)", left, err)
	}
}

// startDemo starts a demo that serves until it is interrupted, as a process of its own, and gives what its ready file tells.
func startDemo(t *testing.T, args ...string) (demo *exec.Cmd, ready gatewayReady) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "ready")
	demo = exec.Command(self, append([]string{"demo", "--listen", "127.0.0.1:0", "--ready-file", file}, args...)...)
	demo.Env = append(os.Environ(), asProgram+"=1", "BAICHUAN_HOME="+dir, "TMPDIR="+dir)
	var errOut bytes.Buffer
	demo.Stderr = &errOut
	if err := demo.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // where it has left already, nothing happens
		if demo.Process.Signal(os.Interrupt) != nil { // as on Windows
			_ = demo.Process.Kill()
		}
		defer time.AfterFunc(30*time.Second, func() { _ = demo.Process.Kill() }).Stop()
		_ = demo.Wait()
	})
	eventually(t, "the demo is ready", func() bool {
		data, err := os.ReadFile(file)
		return err == nil && json.Unmarshal(data, &ready) == nil
	})
	if ready.PID != demo.Process.Pid || ready.URL == "" {
		t.Fatalf("the ready file tells of %+v", ready)
	}
	return demo, ready
}

// eventually waits for what must come true; a minute is for the slowest machine.
func eventually(t *testing.T, what string, come func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !come(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still not so: %s", what)
		}
	}
}

// gone says whether no process runs under that id any more. One that has ended, and whose end nobody took note of, as
// the first process of a container may not, is gone.
func gone(pid int) bool {
	if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil && strings.Contains(string(stat), ") Z ") {
		return true
	}
	p, err := os.FindProcess(pid)
	return err != nil || p.Signal(syscall.Signal(0)) != nil
}

func TestDemo_LeavesNoProcessBehind(t *testing.T) {
	if apart(t) {
		return
	}
	if runtime.GOOS == "windows" {
		t.Skip("this machine lacks signals: Windows can't interrupt another process's program")
	}
	newHome(t)
	for name, signal := range map[string]os.Signal{"interrupted": os.Interrupt, "killed": os.Kill} {
		t.Run(name, func(t *testing.T) {
			demo, ready := startDemo(t, "--copies", "1")
			if len(ready.Nodes) != 3 {
				t.Errorf("the ready file tells of %+v", ready)
			}
			if err := demo.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			err := demo.Wait()
			if signal == os.Interrupt && demo.ProcessState.ExitCode() != exitInterrupted {
				t.Errorf("it left with %v, want code %d", err, exitInterrupted)
			}
			for _, n := range ready.Nodes {
				eventually(t, "a node is gone", func() bool { return gone(n.PID) })
			}
		})
	}
}
