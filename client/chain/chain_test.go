package chain

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
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
			got := (&teller{}).tell(t, string(raw))
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

// teller runs the commands of a script against one chain.
type teller struct {
	chain   *Chain
	now     time.Duration
	hidden  int
	vocab   int
	session protocol.Key
}

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
			actions = append(actions, more...)
		}
		if !told {
			continue
		}
		out.WriteString("----\n")
		for _, a := range actions {
			fmt.Fprintf(&out, "%s\n", show(a))
		}
		if at, ok := x.chain.Deadline(); ok {
			fmt.Fprintf(&out, "deadline %v\n", at.Round(time.Millisecond))
		}
	}
	return out.String()
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
	hop := a.num("hop")
	switch words[0] {
	case "new":
		return nil, x.make(a)
	case "at":
		var err error
		x.now, err = time.ParseDuration(words[1])
		return nil, err
	case "open":
		temperature, _ := strconv.ParseFloat(a["temperature"], 32)
		return x.chain.Open(x.now, a.num("keep"), a.num("expect"),
			protocol.Sampling{Temperature: float32(temperature), TopK: int32(a.num("topk")), TopP: 1, Penalty: 1}), nil
	case "append":
		ids := make([]uint32, a.num("n"))
		for i := range ids {
			ids[i] = uint32(a.num("first") + i)
		}
		return x.chain.Append(x.now, ids, wants(a["want"])), nil
	case "sent":
		x.chain.Sent(x.now, hop)
		return nil, nil
	case "heard":
		x.chain.Heard(x.now, hop)
		return nil, nil
	case "tick":
		return x.chain.Tick(x.now), nil
	case "lost":
		return x.chain.Lost(hop, protocol.Elsewhere, errors.New("the stream ended")), nil
	case "close":
		return x.chain.Close(), nil
	}
	m, err := x.message(words[0], a)
	if err != nil {
		return nil, err
	}
	return x.chain.Handle(x.now, hop, m), nil
}

func (x *teller) make(a args) error {
	x.hidden, x.vocab = 4, a.num("vocab")
	x.session = protocol.Key{1}
	cfg := Config{Hidden: x.hidden, Vocab: x.vocab}
	for span := range strings.SplitSeq(a["hops"], ",") {
		var s protocol.Span
		if _, err := fmt.Sscanf(span, "%d:%d", &s.Start, &s.End); err != nil {
			return err
		}
		cfg.Hops = append(cfg.Hops, protocol.Open{Session: x.session, Span: s})
	}
	x.chain = New(cfg)
	return nil
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
		width := x.hidden
		if a["width"] != "" {
			width = a.num("width")
		}
		m := protocol.Push{Session: x.session, Epoch: epoch, Number: number, Position: position,
			N: n, Width: width, Exp: make([]byte, n), Half: make([]byte, 2*n*width)}
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
	case "result":
		m := protocol.Result{Epoch: epoch, Number: number, Position: position, Want: wants(a["want"]), N: n, Vocab: x.vocab}
		_, m.Final = a["final"]
		m.Logits = make([]byte, 4*n*x.vocab)
		for i := range a.num("candidates") {
			m.Candidates = append(m.Candidates, protocol.Candidate{ID: uint32(i)})
		}
		return m, nil
	case "heartbeat":
		_, running := a["running"]
		return protocol.Heartbeat{Epoch: epoch, Number: number, Running: running, Rows: uint32(a.num("rows"))}, nil
	case "failure":
		for code := protocol.CodeBusy; code <= protocol.CodeUnsupported; code++ {
			if strings.ReplaceAll(code.String(), " ", "-") == a["code"] {
				return protocol.Failure{Epoch: epoch, Code: code, Text: "as it says"}, nil
			}
		}
	case "step":
		return protocol.Step{Epoch: epoch}, nil
	}
	return nil, fmt.Errorf("unknown command %q", kind)
}

func show(a Action) string {
	switch a := a.(type) {
	case Send:
		return fmt.Sprintf("to hop %d: %s", a.Hop, showMessage(a.Message))
	case Ready:
		return fmt.Sprintf("ready at %d", a.Position)
	case Rows:
		return fmt.Sprintf("rows %d..%d (%d bytes)", a.Position, a.Position+a.N-1, len(a.Logits))
	case Done:
		return fmt.Sprintf("done, %d candidates", len(a.Candidates))
	case *Fault:
		return fmt.Sprintf("fault of hop %d, %v: %v", a.Hop, a.Class, a)
	}
	return fmt.Sprintf("%#v", a)
}

func showMessage(m any) string {
	switch m := m.(type) {
	case protocol.Open:
		return fmt.Sprintf("open epoch %d position %d expect %d span %d:%d ids %v top k %d",
			m.Epoch, m.Position, m.Expect, m.Span.Start, m.Span.End, m.IDs, m.Sampling.TopK)
	case protocol.Step:
		return fmt.Sprintf("step %d epoch %d position %d ids %s want %d", m.Number, m.Epoch, m.Position, showIDs(m.IDs), m.Want)
	case protocol.Push:
		return fmt.Sprintf("push %d epoch %d position %d new ids %s rows %d want %d",
			m.Number, m.Epoch, m.Position, showIDs(m.NewIDs), m.N, m.Want)
	case protocol.Close:
		return "close"
	}
	return fmt.Sprintf("%#v", m)
}

func showIDs(ids []uint32) string {
	if len(ids) < 5 {
		return fmt.Sprint(ids)
	}
	return fmt.Sprintf("[%d ... %d] (%d)", ids[0], ids[len(ids)-1], len(ids))
}
