package terminal

import (
	"fmt"
	"io"
	"strings"
)

// Control sequences.
const (
	pasteOn, pasteOff = "\x1b[?2004h", "\x1b[?2004l"

	// While something is drawn, the cursor is hidden, a terminal that can shows all of it at once, and nothing wraps: a
	// character that is wider than we think can spoil its row, but no other.
	drawBegin = "\x1b[?2026h\x1b[?25l\x1b[?7l"
	drawEnd   = "\x1b[?7h\x1b[?25h\x1b[?2026l"

	eraseLine  = "\x1b[2K"
	eraseBelow = "\x1b[J"
	askCursor  = "\x1b[6n"
)

// screen is what is drawn on a terminal below all that stays there: rows that are drawn anew in their place, with the
// cursor somewhere among them.
type screen struct {
	out           io.Writer
	width, height int
	reflows       bool // a narrower terminal goes on below with what does not fit

	drawn     []drawnRow
	cursor    position // in what is drawn
	unsettled bool     // the terminal was asked where its cursor is, as its size has changed
	err       error    // the first
}

// drawnRow is a row, and its text without colours.
type drawnRow struct{ text, plain string }

func plainRow(text string) drawnRow { return drawnRow{text, text} }

// print writes to the terminal.
func (s *screen) print(text string) {
	if s.err != nil {
		return
	}
	if _, err := io.WriteString(s.out, text); err != nil {
		s.err = fmt.Errorf("write to the terminal: %w", err)
	}
}

// draw shows rows in place of those that were there. Rows that are as they were are left alone.
func (s *screen) draw(rows []drawnRow, cursor position) {
	var b strings.Builder
	b.WriteString(drawBegin)
	up(&b, s.cursor.row)
	for i, r := range rows {
		switch {
		case i == 0:
			b.WriteString("\r")
		default:
			b.WriteString("\r\n")
		}
		if i >= len(s.drawn) || s.drawn[i] != r {
			b.WriteString(eraseLine + r.text)
		}
	}
	last := max(len(rows)-1, 0)
	if len(s.drawn) > len(rows) && len(rows) > 0 { // erasing from the end of a full row would take its last character
		b.WriteString("\r\n" + eraseBelow)
		last++
	}
	up(&b, last-cursor.row)
	fmt.Fprintf(&b, "\x1b[%dG%s", cursor.column+1, drawEnd)
	s.print(b.String())
	s.drawn, s.cursor = rows, cursor
}

func up(b *strings.Builder, rows int) {
	if rows > 0 {
		fmt.Fprintf(b, "\x1b[%dA", rows)
	}
}

// clear takes away what is drawn. The cursor is at the beginning of an empty row then.
func (s *screen) clear() {
	if len(s.drawn) == 0 {
		return
	}
	var b strings.Builder
	up(&b, s.cursor.row)
	b.WriteString("\r" + eraseBelow)
	s.print(b.String())
	s.forsake()
}

// wipe empties the whole screen; what is drawn begins at its top then.
func (s *screen) wipe() {
	s.print("\x1b[H\x1b[2J")
	s.forsake()
}

// forsake forgets what is drawn: it stays where it is.
func (s *screen) forsake() { s.drawn, s.cursor, s.unsettled = nil, position{}, false }

// finish leaves what is drawn where it is and goes on below.
func (s *screen) finish() {
	if len(s.drawn) == 0 {
		return
	}
	s.print(strings.Repeat("\r\n", len(s.drawn)-s.cursor.row))
	s.forsake()
}

// lines writes whole lines that stay. Nothing may be drawn.
func (s *screen) lines(text string) {
	s.print(strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\r\n") + "\r\n")
}

// say writes a message that stays, as its terminal wraps it.
func (s *screen) say(prompt drawnRow, text string) {
	all := strings.Split(Printable(text), "\n")
	if n := len(all); n > maxEcho {
		all = append(all[:maxEcho], fmt.Sprintf("... (%d lines)", n))
	}
	indent := strings.Repeat(" ", textWidth(prompt.plain))
	s.lines(prompt.text + strings.Join(all, "\n"+indent))
}

// resize takes note of another size. The terminal is asked where its cursor is now, as some terminals wrap the rows that
// have become too long and some cut them; until settle nothing may be drawn.
func (s *screen) resize(width, height int) {
	narrower := width < s.width
	s.width, s.height = width, height
	if len(s.drawn) == 0 {
		return
	}
	if !narrower {
		s.forget(s.cursor.row)
		return
	}
	s.unsettled = true
	s.print(askCursor)
}

// settle learns the cursor's column after a change of size; -1: the terminal does not tell. What is drawn is taken away.
func (s *screen) settle(column int) {
	if !s.unsettled {
		return
	}
	s.unsettled = false
	row := s.cursor.row
	if wrapped, at := s.wrapped(); s.reflows && (column < 0 || column == at || column != min(s.cursor.column, s.width-1)) {
		row = wrapped
	}
	s.forget(row)
}

// wrapped says where the cursor is if the terminal wrapped what is drawn.
func (s *screen) wrapped() (row, column int) {
	for _, r := range s.drawn[:s.cursor.row] {
		row += len(layOutAt(r.plain, -1, s.width).rows)
	}
	plain, at := s.drawn[s.cursor.row].plain, 0
	width := 0
	for cluster := range clusters(plain) {
		if width >= s.cursor.column {
			break
		}
		_, w, _ := shape(cluster)
		width += w
		at += len(cluster)
	}
	l := layOutAt(plain, at, s.width)
	return row + l.cursor.row, l.cursor.column
}

// forget takes what is drawn away, the cursor being in some row of it.
func (s *screen) forget(row int) {
	var b strings.Builder
	up(&b, row)
	b.WriteString("\r" + eraseBelow)
	s.print(b.String())
	s.forsake()
}

// layOutAt breaks a row as a terminal does.
func layOutAt(text string, cursor, width int) layout {
	l := layout{width: max(width, 2)}
	l.line(text, 0, cursor)
	return l
}

// reflows guesses whether a terminal wraps rows anew when it becomes narrower, as most do.
func reflows(env func(string) string) bool {
	return env("XTERM_VERSION") == "" && env("TERM") != "linux"
}
