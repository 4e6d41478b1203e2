package sim

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/baichuan-node/baichuan-node/node/launch"
)

// homes is a public network with a relay in it, and homes behind routers of their own, each with one machine. The
// routers let nothing in that nobody inside has asked for. The addresses look like public ones, and lead nowhere: all
// this lies in network namespaces.
type homes struct {
	t     *testing.T
	name  string // of the namespaces, with the process's number
	group *launch.Group
	relay *launch.Process
	join  string
}

// relayIP is the relay's address in the public network.
const relayIP = "45.0.0.1"

// newHomes builds the networks. Routers that choose another port for each destination, at random, can't be punched through.
func newHomes(t *testing.T, name string, randomPorts bool, machines ...string) *homes {
	t.Helper()
	for _, tool := range []string{"ip", "iptables", "sysctl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("this machine lacks %s, for networks with routers", tool)
		}
	}
	removeLeftSpaces()
	h := &homes{t: t, name: fmt.Sprintf("bn%d%s", os.Getpid(), name)}
	t.Cleanup(func() {
		for _, n := range append([]string{"pub"}, machines...) {
			_ = exec.Command("ip", "netns", "del", h.space(n)).Run()
			_ = exec.Command("ip", "netns", "del", h.space(n+"r")).Run()
		}
	})
	if out, err := exec.Command("ip", "netns", "add", h.space("pub")).CombinedOutput(); err != nil {
		t.Skipf("this machine lacks network namespaces that we may make: %v: %s", err, out)
	}
	if out, err := exec.Command("ip", "netns", "exec", h.space("pub"), "iptables", "-t", "nat", "-L").CombinedOutput(); err != nil {
		t.Skipf("this machine lacks network address translation in namespaces: %v: %s", err, out)
	}
	h.must("ip -n {pub} link set lo up")
	h.must("ip -n {pub} link add br0 type bridge")
	h.must("ip -n {pub} link set br0 up")
	h.must("ip -n {pub} addr add " + relayIP + "/24 dev br0")
	for i, m := range machines {
		h.home(m, i+2, randomPorts)
	}
	group, err := launch.NewGroup(launch.Config{})
	if err != nil {
		t.Fatal(err)
	}
	h.group = group
	t.Cleanup(func() {
		if err := group.Stop(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// removeLeftSpaces removes the namespaces of earlier runs that were killed: a namespace outlives the process that made it.
func removeLeftSpaces() {
	out, _ := exec.Command("ip", "netns", "list").Output()
	for line := range strings.Lines(string(out)) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		var pid int
		if _, err := fmt.Sscanf(name, "bn%d", &pid); err != nil {
			continue
		}
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); errors.Is(err, fs.ErrNotExist) {
			_ = exec.Command("ip", "netns", "del", name).Run()
		}
	}
}

// home builds a machine's network and its router.
func (h *homes) home(m string, n int, randomPorts bool) {
	for _, line := range []string{
		"ip netns add {m}", "ip netns add {r}", "ip -n {m} link set lo up", "ip -n {r} link set lo up",
		"ip -n {r} link add wan type veth peer name m# netns {pub}", "ip -n {pub} link set m# master br0 up",
		"ip -n {r} addr add 45.0.0.#/24 dev wan", "ip -n {r} link set wan up",
		"ip -n {m} link add eth0 type veth peer name lan netns {r}",
		"ip -n {r} addr add 192.168.#.1/24 dev lan", "ip -n {r} link set lan up",
		"ip -n {m} addr add 192.168.#.2/24 dev eth0", "ip -n {m} link set eth0 up", "ip -n {m} route add default via 192.168.#.1",
		"ip netns exec {r} sysctl -qw net.ipv4.ip_forward=1",
		"ip netns exec {r} iptables -A INPUT -i wan -m conntrack --ctstate NEW -j DROP",
		"ip netns exec {r} iptables -A FORWARD -i wan -m conntrack --ctstate NEW -j DROP",
	} {
		h.must(strings.NewReplacer("{m}", h.space(m), "{r}", h.space(m+"r"), "#", fmt.Sprint(n)).Replace(line))
	}
	nat := "ip netns exec " + h.space(m+"r") + " iptables -t nat -A POSTROUTING -o wan -j MASQUERADE"
	if randomPorts {
		nat += " --random-fully"
	}
	h.must(nat)
}

// space names a namespace.
func (h *homes) space(n string) string { return h.name + "-" + n }

// must runs a command.
func (h *homes) must(line string) {
	h.t.Helper()
	line = strings.ReplaceAll(line, "{pub}", h.space("pub"))
	f := strings.Fields(line)
	if out, err := exec.Command(f[0], f[1:]...).CombinedOutput(); err != nil {
		h.t.Fatalf("%s: %v: %s", line, err, out)
	}
}

// serve starts a node on a machine. log gets what it writes to its standard error.
func (h *homes) serve(machine string, log io.Writer, args ...string) (*launch.Process, launch.Ready) {
	h.t.Helper()
	args = slices.Concat([]string{"netns", "exec", h.space(machine), program(h.t), "serve"}, args, []string{"--threads", "1", "--log-level", "debug"})
	p, err := h.group.Start(launch.Command{Name: "a node on " + machine, Binary: "ip", Args: args,
		Env: []string{"BAICHUAN_HOME=" + h.t.TempDir()}, Stderr: log})
	if err != nil {
		h.t.Fatal(err)
	}
	ready, err := p.Ready(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	return p, ready
}

// start starts the relay, which serves another model, and a node in each of two homes, which serve half of one.
func (h *homes) start(more ...string) (first, second *journal) {
	h.t.Helper()
	relay := []string{"baichuan2-mini-alibi", "--relay", "--listen", "/ip4/" + relayIP + "/tcp/4001"}
	if len(more) == 0 {
		relay = append(relay, "--listen", "/ip4/"+relayIP+"/udp/4001/quic-v1")
	}
	var ready launch.Ready
	h.relay, ready = h.serve("pub", nil, append(relay, more...)...)
	h.join = ready.Addrs[0]
	first, second = newJournal(), newJournal()
	for i, x := range []struct {
		machine, layers string
		log             *journal
	}{{"a", "0:3", first}, {"b", "3:6", second}} {
		_, ready := h.serve(x.machine, x.log, slices.Concat([]string{"baichuan2-mini-chat", "--layers", x.layers, "--join", h.join}, more)...)
		if !strings.Contains(ready.Addrs[0], "/p2p-circuit/") {
			h.t.Errorf("node %d can't be reached over the relay: %v", i, ready.Addrs)
		}
	}
	return first, second
}

// command makes a client's command on a machine.
func (h *homes) command(machine string, args ...string) *exec.Cmd {
	c := exec.CommandContext(h.t.Context(), "ip", slices.Concat([]string{"netns", "exec", h.space(machine), program(h.t)}, args)...)
	c.Env = append(os.Environ(), "BAICHUAN_HOME="+h.t.TempDir())
	return c
}

// generates is what generate --json says.
type generates struct {
	IDs       []uint32          `json:"ids"`
	Chain     []json.RawMessage `json:"chain"`
	Failovers []json.RawMessage `json:"failovers"`
}

// generate answers a prompt greedily.
func (h *homes) generate(c *exec.Cmd) (g generates) {
	h.t.Helper()
	var errOut bytes.Buffer
	c.Stderr = &errOut
	out, err := c.Output()
	if err != nil {
		h.t.Fatalf("%v: %v: %s", c.Args, err, &errOut)
	}
	if err := json.Unmarshal(out, &g); err != nil {
		h.t.Fatalf("%v: %s", err, out)
	}
	return g
}

// journal keeps what a process logs, and tells when it has logged something.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
	more chan struct{}
}

func newJournal() *journal { return &journal{more: make(chan struct{}, 1)} }

func (l *journal) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case l.more <- struct{}{}:
	default:
	}
	return l.text.Write(p)
}

// await waits until something has been logged.
func (l *journal) await(t *testing.T, what string) {
	t.Helper()
	late := time.NewTimer(time.Minute)
	defer late.Stop()
	for {
		l.mu.Lock()
		text := l.text.String()
		l.mu.Unlock()
		if strings.Contains(text, what) {
			return
		}
		select {
		case <-l.more:
		case <-late.C:
			t.Fatalf("it never logged %q, but:\n%s", what, text)
		}
	}
}

var longAnswer = []string{"--temperature", "0", "--ignore-eos", "--max-tokens", "700", "-p", "你好", "--json"}

// Some 0.5 KB go from hop to hop with each token: 700 of them are more than the 128 KiB that libp2p's relays pass on.
func TestNAT_AChainBehindSymmetricNATsAnswersOverTheRelay(t *testing.T) {
	t.Parallel()
	h := newHomes(t, "relay", true, "a", "b", "c")
	h.start()
	want := h.generate(h.command("c", slices.Concat([]string{"generate", "baichuan2-mini-chat", "--local"}, longAnswer)...))
	got := h.generate(h.command("c", slices.Concat([]string{"generate", "baichuan2-mini-chat", "--join", h.join}, longAnswer)...))
	if !slices.Equal(got.IDs, want.IDs) || len(got.Chain) != 2 || len(got.Failovers) != 0 {
		t.Errorf("%d tokens of %d over %d hops, failovers %s", len(got.IDs), len(want.IDs), len(got.Chain), got.Failovers)
	}
	out, err := h.command("c", "status", "--join", h.join).CombinedOutput()
	if err != nil || strings.Count(string(out), "relay 12D3..") != 2 || !strings.Contains(string(out), "2 peers reached over a relay") {
		t.Errorf("status: %v:\n%s", err, out)
	}
	out, err = h.command("a", "doctor", "--join", h.join).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "over relays: ") || !strings.Contains(string(out), "-> forward port TCP ") {
		t.Errorf("doctor: %v:\n%s", err, out)
	}
}

// Once holes are punched, nobody needs the relay any more: it is killed in the middle of a conversation. The client's router
// passes on nothing that a hole could be punched by before the conversation has begun, so it begins over the relay, and what
// libp2p tries when the client comes in fails.
func TestNAT_AConversationGoesOnWithoutTheRelayWhenHolesArePunched(t *testing.T) {
	t.Parallel()
	h := newHomes(t, "punch", false, "a", "b", "c")
	first, second := h.start()
	const closed = " FORWARD -p udp -j DROP"
	h.must("ip netns exec " + h.space("cr") + " iptables -I" + closed)
	chat := h.command("c", "chat", "baichuan2-mini-chat", "--join", h.join, "--temperature", "0", "--max-tokens", "20")
	var errOut bytes.Buffer
	chat.Stderr = &errOut
	in, err := chat.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := chat.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := chat.Start(); err != nil {
		t.Fatal(err)
	}
	answers := bufio.NewReader(out)
	say := func(text string) string {
		t.Helper()
		if _, err := fmt.Fprintln(in, text); err != nil {
			t.Fatal(err)
		}
		answer, err := answers.ReadString('\n')
		if err != nil {
			t.Fatalf("no answer to %q: %v: %s", text, err, &errOut)
		}
		return answer
	}
	say("你好")
	for _, log := range []*journal{first, second} {
		log.await(t, "no hole was punched")
	}
	h.must("ip netns exec " + h.space("cr") + " iptables -D" + closed)
	for _, log := range []*journal{first, second} {
		log.await(t, "a session stream ended") // it is opened anew, on the direct connection
	}
	say("你是谁")
	for _, log := range []*journal{first, second} {
		log.await(t, `msg="a session stream began" relayed=false`)
	}
	second.await(t, `msg="a push stream began" relayed=false`)
	h.relay.Kill()
	if answer := say("你好"); strings.TrimSpace(answer) == "" {
		t.Error("an empty answer without the relay")
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	if err := chat.Wait(); err != nil {
		t.Errorf("chat: %v: %s", err, &errOut)
	}
}

// On a local network nobody needs an address, and a private swarm's peers find their own alone.
func TestLAN_PeersFindEachOtherByMulticast(t *testing.T) {
	t.Parallel()
	h := newHomes(t, "lan", false)
	h.must("ip -n {pub} route add default dev br0") // multicast needs a way
	key := filepath.Join(t.TempDir(), "swarm.key")
	if out, err := exec.Command(program(t), "swarm-key", "new", key).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	h.serve("pub", nil, "baichuan2-mini-chat", "--layers", "0:3")
	h.serve("pub", nil, "baichuan2-mini-alibi", "--swarm-key", key)
	h.serve("pub", nil, "baichuan2-mini-chat", "--layers", "3:6")
	for late := time.Now().Add(time.Minute); ; {
		out, err := h.command("pub", "status", "baichuan2-mini-chat").CombinedOutput()
		if err == nil && strings.Contains(string(out), "every layer has a host") {
			break
		}
		if time.Now().After(late) {
			t.Fatalf("without --join: %v: %s", err, out)
		}
	}
	for _, private := range []bool{false, true} {
		args := []string{"status"}
		if private {
			args = append(args, "--swarm-key", key)
		}
		out, err := h.command("pub", args...).CombinedOutput()
		if err != nil || strings.Contains(string(out), "alibi") != private || strings.Contains(string(out), "mini-chat") == private {
			t.Errorf("private %v: %v: %s", private, err, out)
		}
	}
}
