package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/rivo/uniseg"
	"golang.org/x/term"
)

// textStatus shows a swarm as text.
type textStatus struct {
	out, errOut io.Writer
	counters    bool
	pretty      bool // blocks, and colours if they are wanted
	colours     bool
	width       int // of the bar's line
	again       bool
}

func newTextStatus(out, errOut io.Writer, counters bool) *textStatus {
	t := &textStatus{out: out, errOut: errOut, counters: counters, width: defaultColumns}
	if isTerminal(out) {
		t.pretty, t.colours = true, os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
		t.width, _ = terminalSize(out)
	}
	return t
}

// terminalSize gives the columns and lines of a terminal.
func terminalSize(w io.Writer) (columns, lines int) {
	if f, ok := w.(*os.File); ok {
		if c, l, err := term.GetSize(int(f.Fd())); err == nil && c > 0 && l > 0 {
			return c, l
		}
	}
	return defaultColumns, defaultLines
}

func (t *textStatus) show(all []swarmStatus) error {
	text := t.text(all)
	if t.again { // only when watching without a terminal
		text = "\n" + text
	}
	t.again = true
	if _, err := io.WriteString(t.out, text); err != nil {
		return fmt.Errorf("print the status: %w", err)
	}
	return nil
}

func (t *textStatus) fail(err error) error {
	_, err = fmt.Fprintf(t.errOut, "baichuan-node: %s\n", oneLine(err.Error()))
	return err
}

func (t *textStatus) end() error { return nil }

// text writes all models, one below the other.
func (t *textStatus) text(all []swarmStatus) string {
	if len(all) == 0 {
		return "no peer of this swarm serves a model\n"
	}
	var b strings.Builder
	for i := range all {
		if i > 0 {
			b.WriteByte('\n')
		}
		t.model(&b, &all[i])
	}
	return b.String()
}

// model writes one model: what it is, how its layers are covered, who serves them.
func (t *textStatus) model(b *strings.Builder, s *swarmStatus) {
	id := ""
	if s.Model != s.ModelID {
		id = " (" + s.ModelID[:16] + ")"
	}
	fmt.Fprintf(b, "%s%s: %s, %s\n", s.Model, id, counted(s.Layers, "layer"), counted(len(s.Peers), "peer"))
	fmt.Fprintf(b, "0 %s %d\n", t.bar(s.hosts()), s.Layers)
	if len(s.Missing) > 0 {
		b.WriteString(t.red("no host for layers "+strings.Join(s.Missing, ", ")) + "\n")
	} else {
		b.WriteString("every layer has a host\n")
	}
	if len(s.Peers) == 0 {
		return
	}
	b.WriteByte('\n')
	t.table(b, peerTable(s.Peers))
	if n := s.relayed(); n > 0 {
		fmt.Fprintf(b, "%s reached over a relay, which is slower: doctor tells their owners what to do\n", counted(n, "peer"))
	}
	if t.counters {
		b.WriteByte('\n')
		t.table(b, counterTable(s.Peers))
	}
}

// counted writes a number of things.
func counted(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// red colours what is wrong.
func (t *textStatus) red(s string) string {
	if !t.colours {
		return s
	}
	return "\x1b[31m" + s + "\x1b[0m"
}

// bar draws which layers have a host. Each layer has one cell or several, or several layers share one, which is then a gap
// if any of them is.
func (t *textStatus) bar(hosts []int) string {
	held, gap := "#", "."
	if t.pretty {
		held, gap = "█", "░"
	}
	room := max(t.width-len("0  1024"), 1)
	cells := min(len(hosts)*min(max(room/max(len(hosts), 1), 1), maxCells), room)
	var b strings.Builder
	b.WriteByte('[')
	for i := 0; i < cells; {
		start, missing := i, lacks(hosts, cells, i)
		for i < cells && lacks(hosts, cells, i) == missing {
			i++
		}
		if missing {
			b.WriteString(t.red(strings.Repeat(gap, i-start)))
		} else {
			b.WriteString(strings.Repeat(held, i-start))
		}
	}
	b.WriteByte(']')
	return b.String()
}

// lacks says whether a layer that a cell of a bar stands for has no host.
func lacks(hosts []int, cells, cell int) bool {
	from := cell * len(hosts) / cells
	to := max(from+1, (cell+1)*len(hosts)/cells)
	for _, n := range hosts[from:to] {
		if n == 0 {
			return true
		}
	}
	return false
}

// table is a heading and lines of cells. Headings that begin with a blank stand over numbers, which are put to the right.
type table struct {
	head  []string
	lines [][]string
	bad   []bool // lines to be coloured
}

func peerTable(peers []peerStatus) table {
	t := table{head: []string{"NICK", "PEER", " LAYERS", "STATE", "DEVICE", " TOK/S", " PROMPT/S", " CACHE FREE", " SESSIONS", " QUEUE", "REACHED", " MS"}}
	for _, p := range peers {
		layers := p.Layers
		if p.Target != "" {
			layers += ">" + p.Target
		}
		reached, rtt := p.Reached, fmt.Sprintf("%.1f", p.RTT)
		switch relay, ok := strings.CutPrefix(p.Reached, "relay "); {
		case ok:
			reached = "relay " + shortPeer(relay)
		case reached == "" && p.Direct:
			reached = "direct"
		case reached == "":
			reached = "relay"
		}
		if p.State == stateUnreachable {
			reached, rtt = "no", "-"
		}
		t.lines = append(t.lines, []string{
			cmp.Or(short(p.Nick, maxNickColumns), "-"), shortPeer(p.Peer), layers, p.State, cmp.Or(short(p.Device, maxDeviceColumns), "-"),
			perSecond(p.Decode), perSecond(p.Prefill), fmt.Sprint(p.CacheFree), optional(p.Sessions), fmt.Sprint(p.Queue), reached, rtt,
		})
		t.bad = append(t.bad, p.State == stateUnreachable)
	}
	return t
}

func counterTable(peers []peerStatus) table {
	t := table{head: []string{"NICK", "PEER", " UP", " TOKENS", " REPLAYED", " FOUND", " STEPS", " REPEATED", " PAGES HANDED",
		" REPAIRS", " PUSHED", " BY CLIENT", " ROWS/PASS"}}
	for _, p := range peers {
		line := []string{cmp.Or(short(p.Nick, maxNickColumns), "-"), shortPeer(p.Peer)}
		if c := p.Counters; c != nil {
			line = append(line, (time.Duration(c.Uptime) * time.Second).String())
			for _, n := range []uint64{c.Tokens, c.Replayed, c.PrefixHits, c.Steps, c.LedgerAnswers, c.PagesHanded, c.Repairs, c.DirectPushes, c.ClientPushes} {
				line = append(line, fmt.Sprint(n))
			}
			line = append(line, fmt.Sprintf("%.1f", c.BatchRows))
		}
		for len(line) < len(t.head) {
			line = append(line, "-")
		}
		t.lines = append(t.lines, line)
		t.bad = append(t.bad, p.State == stateUnreachable)
	}
	return t
}

// table writes a table. A Chinese character takes two columns.
func (t *textStatus) table(b *strings.Builder, x table) {
	widths := make([]int, len(x.head))
	for _, line := range append([][]string{trimmed(x.head)}, x.lines...) {
		for i, cell := range line {
			widths[i] = max(widths[i], uniseg.StringWidth(cell))
		}
	}
	write := func(cells []string, bad bool) {
		var line strings.Builder
		for i, cell := range cells {
			blanks := strings.Repeat(" ", widths[i]-uniseg.StringWidth(cell))
			if strings.HasPrefix(x.head[i], " ") {
				cell = blanks + cell
			} else {
				cell += blanks
			}
			line.WriteString(cell + "  ")
		}
		text := strings.TrimRight(line.String(), " ")
		if bad {
			text = t.red(text)
		}
		b.WriteString(text + "\n")
	}
	write(trimmed(x.head), false)
	for i, line := range x.lines {
		write(line, x.bad[i])
	}
}

// trimmed gives headings as they are shown.
func trimmed(head []string) []string {
	out := make([]string, len(head))
	for i, h := range head {
		out[i] = strings.TrimSpace(h)
	}
	return out
}

// short cuts a text to so many columns.
func short(s string, columns int) string {
	if uniseg.StringWidth(s) <= columns {
		return s
	}
	var b strings.Builder
	used := 0
	for g := uniseg.NewGraphemes(s); g.Next(); {
		if used += g.Width(); used > columns-2 {
			break
		}
		b.WriteString(g.Str())
	}
	return b.String() + ".."
}

// shortPeer is enough of a peer's id to tell it from others: most begin alike.
func shortPeer(id string) string {
	if len(id) <= 12 {
		return id
	}
	return id[:4] + ".." + id[len(id)-6:]
}

// perSecond writes a speed.
func perSecond(v float64) string {
	switch {
	case v <= 0:
		return "-"
	case v < 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

// optional writes a number that may be unknown.
func optional(n *uint64) string {
	if n == nil {
		return "-"
	}
	return fmt.Sprint(*n)
}
