package chain

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/baichuan-node/baichuan-node/protocol"
)

var rewrite = flag.Bool("rewrite", false, "write what the scripts in testdata print now into them")

// TestChain_Scripts runs the stories in testdata: a comment, then a command a line, ----, what the chain does about it.
func TestChain_Scripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := (&teller{ids: map[string]int{}}).tell(t, string(raw))
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != string(raw) {
				t.Errorf("the story goes otherwise now (-rewrite writes it down):\n%s", got)
			}
		})
	}
}

// teller runs the commands of a script against one chain. Hops have names: the first letter is the peer, so a and a2 are
// two streams to one peer. What is sent counts as written at once, unless the story says `new slow`.
type teller struct {
	chain *Chain
	now   time.Duration
	vocab int
	slow  bool
	ids   map[string]int

	dragged int // progress that was told by drag
}

const tellerHidden = 4

func tellerKey() protocol.Key { return protocol.Key{1} }

func (x *teller) tell(t *testing.T, script string) string {
	var out strings.Builder
	for block := range strings.SplitSeq(strings.TrimRight(script, "\n"), "\n\n") {
		command, _, _ := strings.Cut(block, "----")
		command = strings.TrimRight(command, "\n")
		if out.Len() > 0 {
			out.WriteString("\n")
		}
		fmt.Fprintf(&out, "%s\n", command)
		var actions []Action
		told := false
		for line := range strings.SplitSeq(command, "\n") {
			if line == "" || strings.HasPrefix(line, "#") {
				continue
			}
			told = true
			more, err := x.run(strings.Fields(line))
			if err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			if words := strings.Fields(line); words[0] != "wait" {
				x.write(more)
			}
			actions = append(actions, more...)
		}
		if !told {
			continue
		}
		out.WriteString("----\n")
		for _, a := range actions {
			fmt.Fprintf(&out, "%s\n", x.show(a))
		}
		if at, ok := x.chain.Deadline(); ok {
			fmt.Fprintf(&out, "deadline %v\n", at.Round(time.Millisecond))
		}
	}
	return out.String()
}

// write tells the chain that its frames are on their way.
func (x *teller) write(actions []Action) {
	for _, a := range actions {
		if s, ok := a.(Send); ok && !x.slow {
			x.chain.Sent(x.now, s.Hop, s.Message)
		}
	}
}

// args are the name=value words of a command.
type args map[string]string

func (a args) num(name string) int {
	n, _ := strconv.Atoi(a[name])
	return n
}

func parse(words []string) args {
	a := make(args)
	for _, w := range words {
		name, value, _ := strings.Cut(w, "=")
		a[name] = value
	}
	return a
}

func (x *teller) run(words []string) ([]Action, error) {
	a := parse(words[1:])
	hop := 0
	if len(words) > 1 {
		hop = x.id(words[1])
	}
	switch words[0] {
	case "new":
		x.make(a)
		return nil, nil
	case "at":
		var err error
		x.now, err = time.ParseDuration(words[1])
		return nil, err
	case "route":
		return x.route(words[1:])
	case "open":
		temperature, _ := strconv.ParseFloat(a["temperature"], 32)
		sampling := protocol.Sampling{Temperature: float32(temperature), TopK: int32(a.num("topk")), TopP: 1, Penalty: 1}
		return x.chain.Open(x.now, a.num("keep"), a.num("expect"), sampling, numbers(0, a.num("prompt"))), nil
	case "append":
		return x.chain.Append(x.now, numbers(a.num("first"), a.num("n")), wants(a["want"])), nil
	case "sent":
		m := map[string]any{"open": protocol.Open{}, "ping": protocol.Ping{}}[words[2]]
		x.chain.Sent(x.now, hop, m)
		return nil, nil
	case "heard":
		x.chain.Heard(x.now, hop)
		return nil, nil
	case "tick":
		return x.chain.Tick(x.now), nil
	case "wait":
		return x.wait(a, 0)
	case "drag":
		return x.wait(a, 1)
	case "lost":
		return x.chain.Lost(hop, protocol.Elsewhere, errors.New("the stream ended")), nil
	case "move":
		limit, err := time.ParseDuration(cmp.Or(parse(words[4:])["limit"], "0s"))
		return x.chain.Move(x.now, hop, x.hop(words[2], words[3]), limit), err
	case "stay":
		return x.chain.Stay(x.now, hop), nil
	case "remind":
		x.chain.Remind(hop, time.Second)
		return x.chain.Partings(), nil
	case "partings":
		return x.chain.Partings(), nil
	case "close":
		return x.chain.Close(), nil
	}
	m, err := x.message(words[0], a)
	if err != nil {
		return nil, err
	}
	return x.chain.Handle(x.now, hop, m), nil
}

// wait lets time pass while some hops answer each ping in the same way, but for more progress each time.
func (x *teller) wait(a args, more int) (actions []Action, err error) {
	until, err := time.ParseDuration(a["until"])
	for err == nil {
		at, ok := x.chain.Deadline()
		if !ok || at > until {
			break
		}
		x.now = at
		for _, did := range x.chain.Tick(x.now) {
			s, _ := did.(Send)
			if s.Message != (protocol.Ping{}) {
				x.write([]Action{did})
				actions = append(actions, did)
				continue
			}
			if strings.Contains(a["alive"], x.name(s.Hop)) {
				x.chain.Sent(x.now, s.Hop, s.Message)
				if more > 0 {
					x.dragged += more
					a["progress"] = strconv.Itoa(x.dragged)
				}
				m, _ := x.message("heartbeat", a)
				actions = append(actions, x.chain.Handle(x.now, s.Hop, m)...)
			}
		}
	}
	x.now = until
	return actions, err
}

func numbers(first, n int) []uint32 {
	ids := make([]uint32, n)
	for i := range ids {
		ids[i] = uint32(first + i)
	}
	return ids
}

// id gives the ID of a hop by its name.
func (x *teller) id(name string) int {
	if _, known := x.ids[name]; !known {
		x.ids[name] = len(x.ids)
	}
	return x.ids[name]
}

func (x *teller) name(id int) string {
	for name, i := range x.ids {
		if i == id {
			return name
		}
	}
	return "?"
}

func (x *teller) make(a args) {
	x.vocab = a.num("vocab")
	_, x.slow = a["slow"]
	cfg := Config{Session: tellerKey(), Hidden: tellerHidden, Vocab: x.vocab}
	if _, names := a["names"]; names {
		cfg.Names = func(ids []uint32) []protocol.Digest {
			return make([]protocol.Digest, (max(len(ids), 1)-1)/protocol.PageTokens)
		}
	}
	x.chain = New(cfg)
}

// hop is a hop of a name for a span.
func (x *teller) hop(name, span string) Hop {
	h := Hop{ID: x.id(name), Peer: protocol.PeerID(name[:1]), Offer: []byte(name[:1])}
	span, more, _ := strings.Cut(span, ",")
	fmt.Sscanf(span, "%d:%d", &h.Span.Start, &h.Span.End)
	a := parse(strings.Split(more, ","))
	h.Patience, _ = time.ParseDuration(a["patience"])
	h.Pace, _ = time.ParseDuration(a["pace"])
	return h
}

func (x *teller) route(words []string) ([]Action, error) {
	var hops []Hop
	for _, w := range words {
		name, span, ok := strings.Cut(w, "=")
		if !ok {
			return nil, fmt.Errorf("%q is no hop", w)
		}
		hops = append(hops, x.hop(name, span))
	}
	return x.chain.Route(x.now, hops), nil
}

func wants(name string) protocol.Want {
	return map[string]protocol.Want{"candidates": protocol.WantCandidates, "rows": protocol.WantRows}[name]
}

// message makes what a hop says.
func (x *teller) message(kind string, a args) (any, error) {
	epoch, number, position, n := uint32(a.num("epoch")), uint64(a.num("number")), uint32(a.num("position")), a.num("n")
	switch kind {
	case "opened":
		return protocol.Opened{Epoch: epoch, Position: position, Last: number}, nil
	case "push":
		return x.push(a, epoch, number, position, n)
	case "result":
		m := protocol.Result{Epoch: epoch, Number: number, Position: position, Want: wants(a["want"]), N: n, Vocab: x.vocab}
		_, m.Final = a["final"]
		m.Spent = spent(a["spent"])
		m.Logits = make([]byte, 4*n*x.vocab)
		for i := range a.num("candidates") {
			m.Candidates = append(m.Candidates, protocol.Candidate{ID: uint32(i)})
		}
		return m, nil
	case "replayed":
		return protocol.Replayed{Epoch: epoch, Position: position}, nil
	case "heartbeat":
		_, running := a["running"]
		return protocol.Heartbeat{Epoch: epoch, Number: number, Running: running, Progress: uint64(a.num("progress"))}, nil
	case "parting":
		return protocol.Parting{WithinMS: 1000}, nil
	case "failure":
		for code := protocol.CodeBusy; code <= protocol.CodeBadInput; code++ {
			if strings.ReplaceAll(code.String(), " ", "-") == a["code"] {
				return protocol.Failure{Epoch: epoch, Number: number, Code: code, Text: "as it says"}, nil
			}
		}
	case "step":
		return protocol.Step{Epoch: epoch}, nil
	}
	return nil, fmt.Errorf("unknown command %q", kind)
}

func (x *teller) push(a args, epoch uint32, number uint64, position uint32, n int) (any, error) {
	width := tellerHidden
	if a["width"] != "" {
		width = a.num("width")
	}
	m := protocol.Push{Session: tellerKey(), Epoch: epoch, Number: number, Position: position,
		Through: protocol.PeerID(a["through"]), N: n, Width: width, Exp: make([]byte, n), Half: make([]byte, 2*n*width)}
	m.Spent = spent(a["spent"])
	if a["session"] != "" {
		m.Session = protocol.Key{9}
	}
	if a["exp"] != "" {
		m.Exp[0] = byte(a.num("exp"))
	}
	if a["half"] != "" {
		half, err := strconv.ParseUint(a["half"], 16, 16)
		if err != nil {
			return nil, err
		}
		m.Half[0], m.Half[1] = byte(half), byte(half>>8)
	}
	return m, nil
}

func (x *teller) show(a Action) string {
	switch a := a.(type) {
	case Send:
		return fmt.Sprintf("to %s: %s", x.name(a.Hop), showMessage(a.Message))
	case Ready:
		return fmt.Sprintf("ready at %d (%d found)", a.Position, a.Found)
	case Rows:
		return fmt.Sprintf("rows %d..%d (%d bytes)", a.Position, a.Position+a.N-1, len(a.Logits))
	case Done:
		return fmt.Sprintf("done, %d candidates%s", len(a.Candidates), showSteps(a.Steps))
	case Replaying:
		return fmt.Sprintf("replaying %d tokens to %s", a.Tokens, x.name(a.Hop))
	case Parting:
		return fmt.Sprintf("%s is leaving within %v", x.name(a.Hop), a.Within)
	case Moved:
		return fmt.Sprintf("%d tokens moved from %s to %s", a.Tokens, x.name(a.From), x.name(a.To))
	case *Fault:
		return fmt.Sprintf("fault of %s, %v: %v", x.name(a.Hop), a.Class, a)
	}
	return fmt.Sprintf("%#v", a)
}

// showSteps shows the steps of which hops have told what they took.
func showSteps(steps []Stepped) (said string) {
	for _, s := range steps {
		if !slices.ContainsFunc(s.Hops, func(h HopTime) bool { return h.Spent != protocol.Spent{} }) {
			continue
		}
		said += fmt.Sprintf("\n  %d tokens from %v, %v, to %v:", s.Tokens, s.First, s.Latest, s.Done)
		for _, h := range s.Hops {
			said += fmt.Sprintf(" %v waited %v computed %v", h.Span, h.Waited, h.Computed)
		}
	}
	return said
}

// spent reads what hops say that they took: waited+computed, of each hop.
func spent(text string) (all []protocol.Spent) {
	for _, s := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' }) {
		waited, computed, _ := strings.Cut(s, "+")
		var x protocol.Spent
		x.Waited, _ = time.ParseDuration(waited)
		x.Computed, _ = time.ParseDuration(computed)
		all = append(all, x)
	}
	return all
}

func showMessage(m any) string {
	switch m := m.(type) {
	case protocol.Open:
		return showOpen(m)
	case protocol.Step:
		if m.Number == 0 {
			return fmt.Sprintf("ids %s again from %d epoch %d through %s", showIDs(m.IDs), m.Position, m.Epoch, string(m.Through))
		}
		return fmt.Sprintf("step %d epoch %d position %d ids %s want %d", m.Number, m.Epoch, m.Position, showIDs(m.IDs), m.Want)
	case protocol.Push:
		also := ""
		if len(m.Spent) > 0 {
			also = fmt.Sprint(" spent ", m.Spent)
		}
		return fmt.Sprintf("push %d epoch %d position %d new ids %s rows %d want %d through %q%s",
			m.Number, m.Epoch, m.Position, showIDs(m.NewIDs), m.N, m.Want, string(m.Through), also)
	case protocol.Replay:
		return fmt.Sprintf("replay epoch %d, %d..%d through %s", m.Epoch, m.From, m.Until, string(m.Through))
	case protocol.HandOver:
		return fmt.Sprintf("hand over to %s epoch %d", m.To, m.Epoch)
	case protocol.Ping:
		return "ping"
	case protocol.Close:
		return "close"
	}
	return fmt.Sprintf("%#v", m)
}

func showOpen(m protocol.Open) string {
	var also []string
	for word, said := range map[string]string{"after": string(m.Prev), "before": string(m.Next), "from": string(m.From)} {
		if said != "" {
			also = append(also, word+" "+said)
		}
	}
	for word, n := range map[string]int{"names": len(m.Names), "ids": len(m.IDs), "top k": int(m.Sampling.TopK)} {
		if n > 0 {
			also = append(also, fmt.Sprintf("%s %d", word, n))
		}
	}
	slices.Sort(also)
	return strings.TrimSpace(fmt.Sprintf("open epoch %d position %d expect %d span %v %s",
		m.Epoch, m.Position, m.Expect, m.Span, strings.Join(also, ", ")))
}

func showIDs(ids []uint32) string {
	if len(ids) < 5 {
		return fmt.Sprint(ids)
	}
	return fmt.Sprintf("[%d ... %d] (%d)", ids[0], ids[len(ids)-1], len(ids))
}
