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
)

func TestDemo_AnswersThroughThreeProcesses(t *testing.T) {
	newHome(t)
	t.Setenv(asProgram, "1") // for the nodes, which are this binary again
	t.Setenv("TMPDIR", t.TempDir())
	t.Setenv("BAICHUAN_JOIN", "/ip4/192.0.2.1/tcp/1") // of a swarm that is not the demo's
	code, out, errOut := cli(t, "demo", "你好", "--seed", "1", "--max-tokens", "6", "--ignore-eos")
	if code != 0 || strings.TrimSpace(out) == "" {
		t.Fatalf("exit code %d, printed %q: %s", code, out, errOut)
	}
	for _, want := range []string{"noise", "layers 0:1", "layers 1:2", "layers 2:4"} {
		if !strings.Contains(errOut, want) {
			t.Errorf("it does not tell %q: %s", want, errOut)
		}
	}
	again := mustCLI(t, "demo", "你好", "--seed", "1", "--max-tokens", "6", "--ignore-eos", "--nodes", "1")
	if again != out {
		t.Errorf("one process says %q, three said %q", again, out)
	}
	if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) > 0 {
		t.Errorf("it left %v in the temporary folder (%v)", left, err)
	}
}

// startDemo starts a demo that serves until it is interrupted, as a process of its own, and gives its nodes' ids.
func startDemo(t *testing.T) (demo *exec.Cmd, nodes []int) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "ready")
	demo = exec.Command(self, "demo", "--copies", "1", "--ready-file", file)
	demo.Env = append(os.Environ(), asProgram+"=1", "BAICHUAN_HOME="+dir, "TMPDIR="+dir)
	var errOut bytes.Buffer
	demo.Stderr = &errOut
	if err := demo.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = demo.Process.Kill() // where it has left already, nothing happens
		_ = demo.Wait()
	})
	var ready demoReady
	eventually(t, "the demo is ready", func() bool {
		data, err := os.ReadFile(file)
		return err == nil && json.Unmarshal(data, &ready) == nil
	})
	for _, n := range ready.Nodes {
		nodes = append(nodes, n.PID)
	}
	if len(nodes) != 3 || ready.PID != demo.Process.Pid {
		t.Fatalf("the ready file tells of %+v", ready)
	}
	return demo, nodes
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
	if runtime.GOOS == "windows" {
		t.Skip("this machine lacks signals: Windows can't interrupt another process's program")
	}
	newHome(t)
	for name, signal := range map[string]os.Signal{"interrupted": os.Interrupt, "killed": os.Kill} {
		t.Run(name, func(t *testing.T) {
			demo, nodes := startDemo(t)
			if err := demo.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			err := demo.Wait()
			if signal == os.Interrupt && demo.ProcessState.ExitCode() != exitInterrupted {
				t.Errorf("it left with %v, want code %d", err, exitInterrupted)
			}
			for _, pid := range nodes {
				eventually(t, "a node is gone", func() bool { return gone(pid) })
			}
		})
	}
}
