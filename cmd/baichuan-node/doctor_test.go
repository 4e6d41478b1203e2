package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDoctor_FindsThisMachineInOrder(t *testing.T) {
	newHome(t)
	code, out, errOut := cli(t, "doctor", "--listen", "/ip4/127.0.0.1/tcp/0")
	if code != 0 || errOut != "" {
		t.Fatalf("code %d, %s", code, errOut)
	}
	for _, want := range []string{"kernels", "cpu/", "memory", "reading", "GB/s", "arithmetic", "home", "0 stored", "hosting", "baichuan2-mini-chat: 6 of 6 layers fit into half of this machine's memory (", "ports", "IPv6", "unknown: only other peers can tell", "--join"} {
		if !strings.Contains(out, want) {
			t.Errorf("it does not tell of %q:\n%s", want, out)
		}
	}
	code, out, _ = cli(t, "doctor", "--json", "--listen", "/ip4/127.0.0.1/tcp/0")
	var got struct {
		OK       bool
		Findings []finding
	}
	if err := json.Unmarshal([]byte(out), &got); code != 0 || err != nil || !got.OK || len(got.Findings) < 6 {
		t.Errorf("code %d, %v: %s", code, err, out)
	}
}

func TestDoctor_SaysHowToMend(t *testing.T) {
	home := newHome(t)
	t.Setenv("BAICHUAN_KERNELS", "generic")
	if err := os.WriteFile(filepath.Join(home, "models"), []byte("not a directory"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, errOut := cli(t, "doctor", "--listen", "/ip4/127.0.0.1/tcp/0")
	if code != 1 || strings.Count(errOut, "\n") != 1 {
		t.Errorf("code %d, %q", code, errOut)
	}
	for _, want := range []string{"!!  models", "-> mend what is named", "cpu/generic", "!!  kernels"} {
		if !strings.Contains(out, want) {
			t.Errorf("it does not tell of %q:\n%s", want, out)
		}
	}
}

func TestDoctor_SaysWhatThisMachineCouldHost(t *testing.T) {
	home := newHome(t)
	mustCLI(t, "import", writeCheckpoint(t, "small-7b", 1), "--name", "mini")
	_, r := newProcesses(t).serve(home, "mini", "0:2")
	newHome(t)
	code, out, errOut := cli(t, "doctor", "--listen", "/ip4/127.0.0.1/tcp/0", "--join", r.Addrs[0])
	if want := "mini: this machine would host layers 0:4 (4 of 4, "; code != 0 || !strings.Contains(out, want) || !strings.Contains(out, "nobody else serves layers 2:4") {
		t.Errorf("code %d, %s; want %q in\n%s", code, errOut, want, out)
	}
	if _, out, _ := cli(t, "doctor", "--listen", "/ip4/127.0.0.1/tcp/0", "--memory", "1MiB"); !strings.Contains(out, "no layer fits") {
		t.Errorf("with too little memory it says\n%s", out)
	}
}
