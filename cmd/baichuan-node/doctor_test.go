package main

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
)

func TestDoctor_FindsThisMachineInOrder(t *testing.T) {
	newHome(t)
	code, out, errOut := cli(t, "doctor", "--listen", "/ip4/127.0.0.1/tcp/0")
	if code != 0 || errOut != "" {
		t.Fatalf("code %d, %s", code, errOut)
	}
	for _, want := range []string{"kernels", "cpu/", "memory", "reading", "GB/s", "arithmetic", "home", "0 stored", "hosting", "baichuan2-mini-chat: 6 of 6 layers fit into half of this machine's memory (", "ports", "IPv6", "clock", "unknown: only other peers can tell", "--join"} {
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

func TestExamineClock_ComparesItWithThePeers(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC)
	peers := func(ahead ...time.Duration) (all []routing.Seen) {
		for i, d := range ahead {
			age := time.Duration(i) * time.Second // of an offer that was made before
			all = append(all, routing.Seen{Offer: protocol.Offer{Sequence: uint64(now.Add(d - age).UnixMilli())}, Age: age})
		}
		return all
	}
	wild := routing.Seen{Offer: protocol.Offer{Sequence: math.MaxUint64}}
	for name, c := range map[string]struct {
		seen   []routing.Seen
		want   string
		remedy bool
	}{
		"nobody":             {nil, "only other peers can tell", false},
		"the same":           {peers(0, time.Second, -time.Second), "so say 3 peers", false},
		"one is wrong":       {append(peers(0, 0, 8*time.Hour), wild), "so say 4 peers", false},
		"local time for UTC": {peers(-8*time.Hour, -8*time.Hour), "8h0m0s ahead of 2 peers", true},
		"behind the others":  {peers(90 * time.Minute), "1h30m0s behind 1 peer", true},
	} {
		f := examineClock(now, c.seen)
		if !f.OK || !strings.Contains(f.Found, c.want) || !strings.Contains(f.Found, "2026-01-02 03:04 UTC") || (f.Remedy != "") != c.remedy {
			t.Errorf("%s: %+v, want %q", name, f, c.want)
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
