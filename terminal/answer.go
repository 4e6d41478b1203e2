package terminal

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	uv "github.com/charmbracelet/ultraviolet"
)

// Answer is text that is being printed while the user may write ahead. A thin line below it tells how it goes; that line
// is taken away before more text comes, so that the text can be copied.
//
// The cursor rests where the text ends: whatever becomes of the window's size, the terminal keeps it there.
type Answer struct {
	t    *Terminal
	stop func()
	done chan struct{}
	over chan struct{}

	// Guarded by the terminal's mutex.
	status string
	wrote  time.Time // when something came last
	line   string    // the text's unfinished line
	held   string    // its last character, if that is not on the screen yet
	below  int       // rows that are drawn below the text
}

// Answer begins an answer. Until its End, stop is called when the user presses Ctrl-C, and what else is typed becomes the
// next message.
func (t *Terminal) Answer(stop func()) *Answer {
	a := &Answer{t: t, stop: stop, done: make(chan struct{}), over: make(chan struct{}), wrote: time.Now()}
	t.mu.Lock()
	t.answer = a
	a.flow("")
	t.mu.Unlock()
	go a.listen()
	return a
}

// listen takes what the user types until the answer ends.
func (a *Answer) listen() {
	defer close(a.over)
	tick := time.NewTicker(statusEvery)
	defer tick.Stop()
	events := a.t.events
	for {
		select {
		case e, more := <-events:
			a.t.take(e, more)
			if !more {
				events = nil
				a.stop()
			}
		case s := <-a.t.winch:
			a.t.resize(s)
		case <-tick.C:
			a.t.mu.Lock()
			a.flow("")
			a.t.mu.Unlock()
		case <-a.done:
			return
		}
	}
}

// Write prints text of the answer. It must bring whole characters.
func (a *Answer) Write(text []byte) (int, error) {
	a.t.mu.Lock()
	defer a.t.mu.Unlock()
	a.wrote = time.Now()
	a.flow(Printable(string(text)))
	return len(text), a.t.screen.err
}

// Status changes the line below the answer.
func (a *Answer) Status(text string) {
	a.t.mu.Lock()
	defer a.t.mu.Unlock()
	if text = Printable(text); text != a.status {
		a.status = text
		a.flow("")
	}
}

// End ends the answer and begins a new line if there is text in the last one.
func (a *Answer) End() {
	close(a.done)
	<-a.over
	a.t.mu.Lock()
	defer a.t.mu.Unlock()
	a.finish()
	a.t.answer = nil
}

// finish takes the status away, and ends the last line.
func (a *Answer) finish() {
	text := eraseBelow + a.held
	if a.line != "" {
		text += "\r\n"
	}
	a.t.screen.print(text)
	a.line, a.held, a.below = "", "", 0
}

// flow prints text where the last ended, and draws the lines below anew.
func (a *Answer) flow(text string) {
	s := &a.t.screen
	if text == "" && a.below == 0 && s.height <= leastHeight {
		return
	}
	a.remember(text)
	text = a.held + text
	a.held = ""
	if full(a.line, s.width) && s.height > leastHeight {
		a.held = lastCluster(a.line)
		text = strings.TrimSuffix(text, a.held)
	}
	var b strings.Builder
	b.WriteString("\x1b[?2026h\x1b[?25l" + eraseBelow)
	b.WriteString(strings.ReplaceAll(text, "\n", "\r\n"))
	a.drawBelow(&b)
	b.WriteString("\x1b[?25h\x1b[?2026l")
	s.print(b.String())
}

// remember keeps the text's last line, to know where the cursor is.
func (a *Answer) remember(text string) {
	if i := strings.LastIndexByte(text, '\n'); i >= 0 {
		a.line, text = "", text[i+1:]
	}
	a.line += text
	if n := len(a.line) - maxLine; n > 0 {
		for n < len(a.line) && !utf8.RuneStart(a.line[n]) {
			n++
		}
		a.line = a.line[n:]
	}
}

// full says whether a line that its terminal wraps ends in the last column. Nothing may be drawn below it then: the cursor
// waits there to go on in the next row, and forgets that as soon as it is moved.
func full(line string, width int) bool {
	column := 0
	for cluster := range clusters(line) {
		_, w, _ := shape(cluster)
		if cluster == "\t" {
			w = min(8-column%8, width-1-column)
		}
		if column += w; column > width {
			column = w
		}
	}
	return column == width
}

// drawBelow draws the status, and what is typed ahead, in the rows below the cursor, which comes back.
func (a *Answer) drawBelow(b *strings.Builder) {
	s := &a.t.screen
	rows := a.rows()
	a.below = len(rows)
	if a.below == 0 {
		return
	}
	b.WriteString(strings.Repeat("\x1bD", a.below)) // there must be room: it scrolls now or not at all
	up(b, a.below)
	b.WriteString("\x1b7")
	for _, r := range rows {
		b.WriteString("\r\n" + a.t.dim(cut(r, s.width-1)))
	}
	b.WriteString("\x1b8")
}

// rows are the lines below the answer.
func (a *Answer) rows() (rows []string) {
	t := a.t
	if t.screen.height <= leastHeight || !t.raw {
		return nil
	}
	status := a.status
	if quiet := time.Since(a.wrote); quiet >= quietAfter {
		status = fmt.Sprintf("%s  %d s", status, int(quiet.Seconds()))
	}
	rows = append(rows, status)
	ahead := t.ready
	for _, m := range ahead {
		rows = append(rows, "> "+oneLine(m.Text))
	}
	if t.editor.text != "" {
		rows = append(rows, "> "+tail(oneLine(t.editor.text), t.screen.width-promptWidth-1))
	}
	if most := t.screen.height - leastHeight; len(rows) > most {
		rows = append(rows[:1], rows[len(rows)-most+1:]...)
	}
	return rows
}

// oneLine shows a text of several lines in one.
func oneLine(text string) string { return strings.ReplaceAll(Printable(text), "\n", "⏎") }

// tail is the end of a line, as far as there is room for it.
func tail(line string, width int) string {
	for textWidth(line) > width && line != "" {
		for cluster := range clusters(line) {
			line = line[len(cluster):]
			break
		}
	}
	return line
}

// key does what a key asks for while the answer comes.
func (a *Answer) key(k uv.Key) (taken bool) {
	switch k.String() {
	case "ctrl+c":
		a.t.ready, a.t.quit = nil, nil
	case "ctrl+\\":
		a.t.quit = ErrQuit
	default:
		return false
	}
	a.stop()
	return true
}
