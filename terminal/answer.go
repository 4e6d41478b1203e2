package terminal

import (
	"fmt"
	"slices"
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
	drawn  []string  // the rows below the text
	at     time.Time // when they were drawn
}

// Answer begins an answer. Until its End, stop is called when the user presses Ctrl-C, and what else is typed becomes the
// next message.
func (t *Terminal) Answer(stop func()) *Answer {
	a := &Answer{t: t, stop: stop, done: make(chan struct{}), over: make(chan struct{}), wrote: time.Now()}
	t.begins(a)
	go a.listen()
	return a
}

func (t *Terminal) begins(a *Answer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.answer = a
	a.flow("")
}

// listen takes what the user types until the answer ends.
func (a *Answer) listen() {
	defer close(a.over)
	defer a.t.guard()
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
			a.refresh()
		case <-a.done:
			return
		}
	}
}

// refresh draws the rows below the text anew if they have changed.
func (a *Answer) refresh() {
	a.t.mu.Lock()
	defer a.t.mu.Unlock()
	a.flow("")
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
	a.status = Printable(text)
	if len(a.drawn) == 0 || time.Since(a.at) >= statusEvery {
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
	a.line, a.held, a.drawn = "", "", nil
}

// flow prints text where the last ended, and draws the rows below anew: now and then, and when the text needs their place.
func (a *Answer) flow(text string) {
	s := &a.t.screen
	rows := a.rows()
	before := column(a.line, s.width)
	a.remember(text)
	after := column(a.line, s.width)
	stays := !strings.Contains(text, "\n") && a.held == "" && after < s.width && after == before+textWidth(text)
	if stays && (slices.Equal(rows, a.drawn) || text != "" && time.Since(a.at) < statusEvery) {
		s.print(text)
		return
	}
	text = a.held + text
	a.held = ""
	if after == s.width && len(rows) > 0 {
		a.held = lastCluster(a.line)
		text = strings.TrimSuffix(text, a.held)
	}
	var b strings.Builder
	b.WriteString("\x1b[?2026h\x1b[?25l" + eraseBelow)
	b.WriteString(strings.ReplaceAll(text, "\n", "\r\n"))
	a.drawBelow(&b, rows)
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

// column is where a line ends that its terminal wraps. If that is the width, the cursor waits in the last column, to go on in
// the next row, and forgets that as soon as it is moved: nothing may be drawn below then.
func column(line string, width int) (at int) {
	for cluster := range clusters(line) {
		_, w, _ := shape(cluster)
		if cluster == "\t" {
			w = min(8-at%8, width-1-at)
		}
		if at += w; at > width {
			at = w
		}
	}
	return at
}

// drawBelow draws the rows below the cursor, which comes back.
func (a *Answer) drawBelow(b *strings.Builder, rows []string) {
	a.drawn, a.at = rows, time.Now()
	if len(rows) == 0 {
		return
	}
	b.WriteString(strings.Repeat("\x1bD", len(rows))) // there must be room: it scrolls now or not at all
	up(b, len(rows))
	b.WriteString("\x1b7")
	for _, r := range rows {
		b.WriteString("\r\n" + a.t.dim(r))
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
	for _, m := range t.ready {
		rows = append(rows, "> "+oneLine(m.Text))
	}
	if t.editor.text != "" {
		rows = append(rows, "> "+tail(oneLine(t.editor.text), t.screen.width-promptWidth-1))
	}
	if most := t.screen.height - leastHeight; len(rows) > most {
		rows = append(rows[:1], rows[len(rows)-most+1:]...)
	}
	for i, r := range rows {
		rows[i] = cut(r, t.screen.width-1)
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
