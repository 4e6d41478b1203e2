package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/rivo/uniseg"

	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
)

// madeOffer is a peer's offer of layers start..end-1 of 8.
func madeOffer(id string, start, end int, state protocol.State) protocol.Offer {
	s := protocol.Span{Start: start, End: end}
	return protocol.Offer{
		Model: protocol.ModelID{1}, ModelName: "mini", Peer: peer.ID(id), Span: s, Target: s, Layers: 8, State: state, Device: "cpu/x",
		DecodeRate: 100, PrefillRate: 1000, CacheFree: 640, Queue: 1, Nick: id, Addrs: []string{"/ip4/127.0.0.1/tcp/1"},
	}
}

func TestStatus_CountsOnlyWhoAnswersAndTakesSessions(t *testing.T) {
	a, b := madeOffer("a", 0, 2, protocol.Online), madeOffer("b", 1, 4, protocol.Online)
	c, d := madeOffer("c", 4, 5, protocol.Draining), madeOffer("d", 5, 6, protocol.Online)
	e, f := madeOffer("e", 6, 7, protocol.Online), madeOffer("f", 7, 8, protocol.Online)
	other, moved := f, b
	other.Model = protocol.ModelID{2}
	moved.Span, moved.Target = protocol.Span{Start: 0, End: 4}, protocol.Span{Start: 2, End: 6}
	s := statusOf(protocol.ModelID{1}, []protocol.Offer{f, b, a, c, d, e}, []routing.Told{
		{Offer: &other}, // serves something else by now
		{Offer: &moved, RTT: 1500 * time.Microsecond, Relayed: true, Load: &protocol.Load{Sessions: 3, Queue: 2, CacheUsed: 64, CacheFree: 128, Tokens: 7, Passes: 2, PassRows: 7}},
		{Offer: &a},
		{Offer: &c},
		{Err: errors.New("no\nanswer")},
		{}, // has withdrawn its offer
	}, 0)
	if s.Model != "mini" || s.Layers != 8 || !slices.Equal(s.Missing, []string{"4:8"}) {
		t.Errorf("%+v", s)
	}
	var lines []string
	for _, p := range s.Peers {
		lines = append(lines, strings.Join([]string{p.Nick, p.Layers, p.Target, p.State, p.Error}, " "))
	}
	if got := strings.Join(lines, ", "); got != "a 0:2  online , b 0:4 2:6 online , c 4:5  draining , d 5:6  unreachable no answer" {
		t.Errorf("the peers are %s", got)
	}
	p := s.Peers[1]
	if p.Direct || p.RTT != 1.5 || p.Decode != 25 || p.Prefill != 250 || p.CacheFree != 128 || *p.CacheUsed != 64 || *p.Sessions != 3 ||
		p.Queue != 2 || p.Counters.Tokens != 7 || p.Counters.BatchRows != 3.5 || p.Addrs[0] != "/ip4/127.0.0.1/tcp/1/p2p/"+p.Peer {
		t.Errorf("the peer that told its load: %+v", p)
	}
	if p := s.Peers[0]; !p.Direct || p.Sessions != nil || p.Counters != nil || p.CacheFree != 640 || p.Queue != 1 {
		t.Errorf("the peer that did not: %+v", p)
	}
}

func TestStatus_ItsTableIsAlignedWhateverPeersCallThemselves(t *testing.T) {
	var s swarmStatus
	s.Model, s.ModelID, s.Layers = "mini", strings.Repeat("0", 64), 2
	for _, nick := range []string{"", "plain", "百川一号", "e\u0301te\u0301", "👩‍💻", "百川百川百川百川百川百川百川", strings.Repeat("x", 64)} {
		sessions := uint64(len(nick))
		s.Peers = append(s.Peers, peerStatus{Nick: nick, Peer: "12D3KooWK3HkwSSeaLRywcAsUVyYPLTWppbbX7Np7Xt3iHDGgZR4", Layers: "0:1",
			State: "online", Device: "cpu/avx512", Sessions: &sessions})
	}
	text := newTextStatus(&bytes.Buffer{}, &bytes.Buffer{}, true).text([]swarmStatus{s})
	if strings.Contains(text, "\x1b") {
		t.Errorf("there are control characters in %q", text)
	}
	tables := 0
	at := -1
	for line := range strings.Lines(text) {
		before, _, found := strings.Cut(line, "PEER")
		if found {
			tables++
			at = uniseg.StringWidth(before)
			continue
		}
		if before, _, found := strings.Cut(line, "12D3.."); found && uniseg.StringWidth(before) != at {
			t.Errorf("column %d, want %d: %s", uniseg.StringWidth(before), at, line)
		}
	}
	if tables != 2 || strings.Count(text, "12D3..DGgZR4") != 2*len(s.Peers) {
		t.Errorf("%d tables in\n%s", tables, text)
	}
}

func TestStatus_ItsBarShowsEveryGap(t *testing.T) {
	for _, c := range []struct {
		layers, gap, width int
		want               string
	}{
		{2, 1, 80, "[########........]"},
		{4, -1, 80, "[" + strings.Repeat("#", 32) + "]"},
		{8, 3, 20, "[###.####]"},
		{40, 39, 80, "[" + strings.Repeat("#", 39) + ".]"},
		{1000, 500, 20, "[######.######]"},
		{1000, 999, 20, "[############.]"},
		{3, 1, 1, "[.]"},
		{0, -1, 80, "[]"},
	} {
		hosts := make([]int, c.layers)
		for i := range hosts {
			hosts[i] = 1
		}
		if c.gap >= 0 {
			hosts[c.gap] = 0
		}
		if got := (&textStatus{width: c.width}).bar(hosts); got != c.want {
			t.Errorf("%d layers without %d on %d columns: %s, want %s", c.layers, c.gap, c.width, got, c.want)
		}
	}
	coloured := (&textStatus{width: 20, pretty: true, colours: true}).bar([]int{1, 0})
	if coloured != "[██████\x1b[31m░░░░░░\x1b[0m]" {
		t.Errorf("in colours: %q", coloured)
	}
}

func TestStatus_OnATerminalIsDrawnInPlaceAndFits(t *testing.T) {
	var out bytes.Buffer
	s := newScreen(&out, false)
	long := strings.Repeat("line\n", 100)
	for range 2 {
		if err := s.draw(long); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.end(); err != nil {
		t.Fatal(err)
	}
	text := out.String()
	if strings.Count(text, screenBegin) != 1 || strings.Count(text, screenHome) != 2 || !strings.HasSuffix(text, screenEnd) {
		t.Errorf("drawn as %q", text)
	}
	if got := strings.Count(text, "\r\n"); got != 2*(defaultLines-1) {
		t.Errorf("%d lines are drawn on two screens of %d", got, defaultLines)
	}
	if !strings.Contains(text, "... and 80 lines more") {
		t.Errorf("it does not tell what is not shown: %q", text)
	}
}

// statusJSON runs status --json for one model.
func statusJSON(t *testing.T, args ...string) swarmStatus {
	t.Helper()
	out := mustCLI(t, append([]string{"status", "--json"}, args...)...)
	var s swarmStatus
	if err := json.Unmarshal([]byte(out), &s); err != nil || strings.Count(out, "\n") != 1 {
		t.Fatalf("status --json printed %q: %v", out, err)
	}
	return s
}

func TestStatus_OfASwarmWithAGap(t *testing.T) {
	if apart(t) {
		return
	}
	home := newHome(t)
	mustCLI(t, "import", writeCheckpoint(t, "small-7b", 1), "--name", "mini")
	mustCLI(t, "import", writeCheckpoint(t, "small-7b", 2), "--name", "other")
	p := newProcesses(t)
	first, r := p.serve(home, "mini", "0:1", "--nick", "百川")
	second, _ := p.serve(home, "mini", "1:2", "--join", r.Addrs[0])
	p.serve(home, "mini", "3:4", "--join", r.Addrs[0])

	s := statusJSON(t, "--join", r.Addrs[0])
	if s.Model != "mini" || s.ModelID != r.Model || s.Layers != 4 || len(s.Peers) != 3 || !slices.Equal(s.Missing, []string{"2:3"}) {
		t.Fatalf("%+v", s)
	}
	at := s.Peers[0]
	if at.Peer != r.Peer || at.Nick != "百川" || at.Layers != "0:1" || at.State != "online" || !at.Direct || len(at.Addrs) == 0 || at.Device == "" ||
		at.CacheFree == 0 || at.RTT <= 0 || at.Decode <= 0 || at.Sessions == nil || at.Counters == nil || !slices.Contains(r.Addrs, at.Addrs[0]) {
		t.Errorf("%+v", at)
	}
	out := mustCLI(t, "status", "mini", "--join", r.Addrs[0], "--counters")
	for _, want := range []string{"mini", "3 peers", "no host for layers 2:3", "[################........########]", "百川", "REPLAYED"} {
		if !strings.Contains(out, want) {
			t.Errorf("status does not say %q:\n%s", want, out)
		}
	}
	if s := statusJSON(t, "other", "--join", r.Addrs[0]); s.Layers != 4 || len(s.Peers) != 0 || !slices.Equal(s.Missing, []string{"0:4"}) {
		t.Errorf("a model that is stored here and served by nobody: %+v", s)
	}
	wantFailure(t, exitFailed, []string{"nosuch", "mini"}, "status", "nosuch", "--join", r.Addrs[0])

	p.serve(home, "other", "0:4", "--join", r.Addrs[0])
	if out := mustCLI(t, "status", "--json", "--join", r.Addrs[0]); strings.Count(out, "\n") != 2 || !strings.Contains(out, `"model":"other"`) {
		t.Errorf("two models: %s", out)
	}
	if runtime.GOOS == "windows" {
		return // which can't hold a process up
	}
	if err := second.Pause(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	s = statusJSON(t, "mini", "--join", r.Addrs[0])
	if took := time.Since(began); took > lookTimeout+10*time.Second {
		t.Errorf("one peer hangs, and status takes %v", took)
	}
	if s.Peers[1].State != stateUnreachable || s.Peers[1].Error == "" || !slices.Equal(s.Missing, []string{"1:3"}) {
		t.Errorf("with a peer that hangs: %+v", s)
	}
	second.Kill()
	first.Kill()
	newHome(t) // the other one remembers who is left
	wantFailure(t, exitFailed, []string{"no answer", r.Peer}, "status", "--join", r.Addrs[0])
}

func TestStatus_WatchLeavesWithCode130(t *testing.T) {
	if apart(t) {
		return
	}
	if runtime.GOOS == "windows" {
		t.Skip("this machine lacks signals: Windows can't interrupt another process's program")
	}
	home := newHome(t)
	_, r := newProcesses(t).serve(home, "baichuan2-mini-chat", "0:6")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	watch := exec.Command(self, "status", "--watch", "--json", "--join", r.Addrs[0])
	watch.Env = append(os.Environ(), asProgram+"=1")
	var errOut bytes.Buffer
	watch.Stderr = &errOut
	out, err := watch.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := watch.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for range 2 {
		var s swarmStatus
		if !lines.Scan() || json.Unmarshal(lines.Bytes(), &s) != nil || len(s.Missing) != 0 || len(s.Peers) != 1 {
			t.Errorf("it printed %q", lines.Text())
		}
	}
	if err := watch.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() {
	}
	_ = watch.Wait() // the exit code is what counts
	if code := watch.ProcessState.ExitCode(); code != exitInterrupted || errOut.Len() > 0 {
		t.Errorf("it left with code %d, saying %q", code, errOut.String())
	}
}
