package session

import (
	"crypto/sha256"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/protocol"
)

var rewrite = flag.Bool("rewrite", false, "write the outputs of the scripts in testdata anew")

// TestTable_Scripts plays the stories in testdata: a command, ----, what it says. Lines with # tell the story.
func TestTable_Scripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, path := range files {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			want := strings.ReplaceAll(string(data), "\r\n", "\n")
			got := play(t, want)
			if *rewrite {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != want {
				t.Errorf("%s: got\n%s", path, got)
			}
		})
	}
}

// play runs the commands of a script and gives the script with the outputs that they had.
func play(t *testing.T, text string) string {
	w := &world{t: t, now: time.Unix(0, 0)}
	var b strings.Builder
	for block := range strings.SplitSeq(strings.TrimSpace(text), "\n\n") {
		if b.Len() > 0 {
			b.WriteByte('\n')
		}
		command, _, _ := strings.Cut(block, "\n----")
		b.WriteString(command + "\n")
		for line := range strings.Lines(command) {
			if line = strings.TrimSpace(line); !strings.HasPrefix(line, "#") {
				b.WriteString("----\n" + w.run(line) + "\n")
			}
		}
	}
	return b.String()
}

// world is a table, its clock and the steps that run.
type world struct {
	t     *testing.T
	now   time.Time
	table *Table
	cache *Budget
	runs  map[string]Input
}

// run executes a command: a verb, what it is about, and key=value pairs.
func (w *world) run(line string) string {
	words := strings.Fields(line)
	args := make(map[string]string)
	for _, word := range words[1:] {
		k, v, _ := strings.Cut(word, "=")
		args[k] = v
	}
	if words[0] == "table" {
		w.runs = make(map[string]Input)
		w.table = New(Config{
			Layers: w.num(args, "layers"), Context: w.num(args, "context"),
			PerPeer: w.num(args, "per-peer"), Total: w.num(args, "total"),
		})
		w.cache = NewBudget(w.num(args, "tokens"))
		return fmt.Sprintf("free %d", w.cache.Free())
	}
	if words[0] == "after" {
		d, err := time.ParseDuration(words[1])
		if err != nil {
			w.t.Fatal(err)
		}
		w.now = w.now.Add(d)
		return fmt.Sprintf("expired %d, %s", w.table.Expire(w.now), w.books())
	}
	return w.about(words[0], words[1], args)
}

// about executes a command that names a session as owner/key.
func (w *world) about(verb, name string, args map[string]string) string {
	owner, key, _ := strings.Cut(name, "/")
	id := ID{Owner: peer.ID(owner)}
	copy(id.Key[:], key)
	if verb == "open" {
		return w.open(id, args)
	}
	s := w.table.Find(id)
	if s == nil {
		return "no such session"
	}
	switch verb {
	case "step":
		return w.step(name, s, args)
	case "finish":
		s.Finish(w.now, w.runs[name])
		return w.state(s)
	case "abandon":
		s.Abandon(w.now, w.runs[name], w.num(args, "done"))
		return w.state(s)
	case "found":
		if !s.MayFind() {
			return "may find nothing"
		}
		return fmt.Sprintf("keeps %d, %s", s.Found(w.now, w.num(args, "n")), w.state(s))
	case "take":
		if err := s.Take(w.now, w.num(args, "n")); err != nil {
			return err.Error()
		}
		if !s.Taken(w.epoch(s, args), w.at(s, args), w.num(args, "n")) {
			return "not taken"
		}
		return w.state(s)
	case "excess":
		keep, cut := s.TakeExcess()
		return fmt.Sprintf("keep %d, cut %v", keep, cut)
	case "from":
		return fmt.Sprintf("rows from %q, pages from %q", string(s.Prev()), string(s.From()))
	case "fail", "close":
		w.table.Close(s)
		return w.books()
	case "touch":
		s.Touch(w.now)
	case "attach":
		s.Attach(w.now)
	case "detach":
		s.Detach(w.now)
	case "history":
		return fmt.Sprint(s.History(w.num(args, "n")))
	default:
		w.t.Fatalf("no command %q", verb)
	}
	return w.state(s)
}

func (w *world) open(id ID, args map[string]string) string {
	m := protocol.Open{
		Session: id.Key, Epoch: uint32(w.num(args, "epoch")), Expect: uint32(w.num(args, "expect")),
		Position: uint32(w.num(args, "position")), IDs: w.ids(args["ids"]),
		Prev: peer.ID(args["prev"]), From: peer.ID(args["from"]), Private: args["private"] != "",
	}
	if _, err := fmt.Sscanf(args["span"], "%d:%d", &m.Span.Start, &m.Span.End); err != nil {
		w.t.Fatalf("span %q: %v", args["span"], err)
	}
	s, err := w.table.Open(w.now, id.Owner, m, w.cache)
	if err != nil {
		return err.Error() + w.droppedNames()
	}
	return w.state(s) + w.droppedNames()
}

func (w *world) step(name string, s *Session, args map[string]string) string {
	in := Input{
		Epoch: uint32(w.num(args, "epoch")), Number: uint64(w.num(args, "number")), Position: w.num(args, "position"),
		N: w.num(args, "n"), NewIDs: w.ids(args["new"]), Hash: sha256.Sum256([]byte(args["input"])),
	}
	if args["want"] == "candidates" {
		in.Want = protocol.WantCandidates
	}
	v, done, err := s.Begin(w.now, in)
	switch {
	case err != nil:
		return err.Error() + w.droppedNames()
	case v == Repeat:
		return fmt.Sprintf("again step %d, tokens %d+%d", in.Number, in.Position, in.N)
	case v == Held:
		return "held"
	}
	w.runs[name] = in
	text := "compute"
	if done > 0 {
		text += fmt.Sprintf(", %d done", done)
	}
	return text + w.droppedNames()
}

func (w *world) state(s *Session) string {
	o := s.Opened()
	text := fmt.Sprintf("epoch %d position %d last %d", o.Epoch, o.Position, o.Last)
	if !s.Settled() {
		text += ", waits for its step"
	}
	return text
}

func (w *world) books() string {
	return fmt.Sprintf("%d sessions, free %d, %d can be had%s", w.table.Len(), w.cache.Free(), w.table.Available(w.now, w.cache), w.droppedNames())
}

func (w *world) droppedNames() string {
	text := ""
	for _, s := range w.table.TakeDropped() {
		text += fmt.Sprintf(", dropped %s/%s", string(s.ID.Owner), strings.TrimRight(string(s.ID.Key[:]), "\x00"))
	}
	return text
}

func (w *world) num(args map[string]string, key string) int {
	if args[key] == "" {
		return 0
	}
	n, err := strconv.Atoi(args[key])
	if err != nil {
		w.t.Fatalf("%s: %v", key, err)
	}
	return n
}

// epoch and at are those of the session unless the script names others.
func (w *world) epoch(s *Session, args map[string]string) uint32 {
	if args["epoch"] == "" {
		return s.Epoch()
	}
	return uint32(w.num(args, "epoch"))
}

func (w *world) at(s *Session, args map[string]string) int {
	if args["at"] == "" {
		return s.Length()
	}
	return w.num(args, "at")
}

func (w *world) ids(text string) []uint32 {
	var ids []uint32
	for word := range strings.SplitSeq(text, ",") {
		if word != "" {
			ids = append(ids, uint32(w.num(map[string]string{"id": word}, "id")))
		}
	}
	return ids
}
