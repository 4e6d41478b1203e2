package terminal

import (
	"fmt"
	"os"
	"strings"
	"time"
)

const promptWidth = 2

// prompt stands before a message.
func (t *Terminal) prompt() drawnRow {
	if !t.cfg.Colours {
		return plainRow("> ")
	}
	return drawnRow{"\x1b[1;36m>\x1b[0m ", "> "}
}

// room is the columns of a message's rows.
func (t *Terminal) room() int { return t.screen.width - promptWidth }

// draw shows the message that is being written, and what helps with it.
func (t *Terminal) draw() {
	switch {
	case t.answer != nil:
		t.answer.flow("")
		return
	case !t.reading || !t.raw || t.screen.unsettled:
		return
	}
	l := layOut(t.editor.text, t.editor.cursor, t.room(), promptWidth)
	rows := make([]drawnRow, len(l.rows))
	for i, r := range l.rows {
		plain := t.editor.text[r.start:r.end]
		rows[i] = drawnRow{"  " + r.shown, "  " + plain}
	}
	prompt := t.prompt()
	rows[0] = drawnRow{prompt.text + l.rows[0].shown, prompt.plain + rows[0].plain[promptWidth:]}
	cursor := position{l.cursor.row, l.cursor.column + promptWidth}
	below := t.below()
	if t.finder.on {
		cursor = position{len(rows), textWidth(below[0].plain)}
	}
	rows, cursor = window(append(rows, below...), cursor, t.screen.height)
	t.screen.draw(rows, cursor)
}

// below are the rows under the message: a search, or what Tab has found.
func (t *Terminal) below() (rows []drawnRow) {
	width := t.screen.width - 1
	if t.finder.on {
		row := t.finder.row()
		return []drawnRow{plainRow(tail(row, width))}
	}
	for _, line := range columns(t.listing, width) {
		rows = append(rows, drawnRow{t.dim(line), line})
	}
	if n := len(rows); n > maxListing {
		rows = append(rows[:maxListing-1], plainRow(cut(fmt.Sprintf("... and %d lines more", n-maxListing+1), width)))
	}
	return rows
}

// window gives the rows around the cursor that fit on the screen.
func window(rows []drawnRow, cursor position, height int) ([]drawnRow, position) {
	if len(rows) <= height {
		return rows, cursor
	}
	first := min(max(cursor.row-height/2, 0), len(rows)-height)
	cursor.row -= first
	return rows[first : first+height], cursor
}

// columns arranges words in lines.
func columns(words []string, width int) (lines []string) {
	widest := 0
	for _, w := range words {
		widest = max(widest, textWidth(Printable(w)))
	}
	per := max(1, (width+2)/(widest+2))
	for i := 0; i < len(words); i += per {
		var b strings.Builder
		for j, w := range words[i:min(i+per, len(words))] {
			w = Printable(w)
			if j > 0 {
				b.WriteString("  ")
			}
			b.WriteString(w)
			if j+1 < per {
				b.WriteString(strings.Repeat(" ", widest-textWidth(w)))
			}
		}
		lines = append(lines, cut(strings.TrimRight(b.String(), " "), width))
	}
	return lines
}

// size asks the terminal how large it is.
func (t *Terminal) size() (width, height int) {
	width, height, err := t.console.GetSize()
	if err != nil || width <= 0 || height <= 0 {
		return defaultWidth, defaultHeight
	}
	return width, height
}

// resize follows what a signal says: that the size has changed, or that the process goes on after it was stopped.
func (t *Terminal) resize(s os.Signal) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if isResumed(s) && t.raw {
		if !t.suspended { // somebody else stopped the process, and the cursor is elsewhere now
			t.screen.forsake()
			t.resume()
		}
		t.suspended = false
	}
	t.fit(t.size())
	t.draw()
}

// fit takes note of the terminal's size.
func (t *Terminal) fit(width, height int) {
	if width == t.screen.width && height == t.screen.height {
		return
	}
	t.screen.resize(width, height)
	if t.screen.unsettled {
		t.asked = time.Now()
	}
}

// patience is how long to wait for the terminal to say where its cursor is; nil: nobody has asked.
func (t *Terminal) patience() <-chan time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.screen.unsettled {
		return nil
	}
	return time.After(settleTimeout - time.Since(t.asked))
}

// settle goes on without knowing where the cursor is.
func (t *Terminal) settle() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.screen.settle(-1)
	t.draw()
}

// suspend gives the terminal back and stops the process, as Ctrl-Z does elsewhere.
func (t *Terminal) suspend() {
	if t.answer != nil { // somebody waits for it
		t.screen.print(bell)
		return
	}
	t.screen.finish()
	t.screen.print(pasteOff)
	if err := t.console.Restore(); err != nil {
		t.quit = fmt.Errorf("give the terminal back: %w", err)
		return
	}
	if stopSelf() == nil {
		t.suspended = true
		time.Sleep(stopTimeout)
	}
	t.resume()
}

// resume takes the terminal over again, in whatever state somebody else left it.
func (t *Terminal) resume() {
	if err := t.console.Restore(); err != nil {
		t.quit = fmt.Errorf("give the terminal back: %w", err)
		return
	}
	if _, err := t.console.MakeRaw(); err != nil {
		t.quit = fmt.Errorf("take the terminal over: %w", err)
		return
	}
	t.screen.print(pasteOn)
}
