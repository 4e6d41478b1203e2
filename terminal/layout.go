package terminal

import (
	"fmt"
	"strings"
)

// position is a place on the screen, from the top left of what is drawn.
type position struct{ row, column int }

// row is a row of text as it lies on the screen.
type row struct {
	start, end int    // bytes of the text
	shown      string // what is written for them, from the row's first column on
	width      int
}

// layout is a text that is broken into rows.
type layout struct {
	rows   []row
	cursor position
	width  int // columns of each row
	indent int // columns before each row, which are not the text's
}

// layOut breaks a text into rows of at most width columns, which begin at column indent of the screen. A character that
// does not fit into the rest of a row begins the next one. Behind a full row the cursor stands in the next.
func layOut(text string, cursor, width, indent int) layout {
	l := layout{width: max(width, leastWidth-promptWidth), indent: indent}
	at := 0
	for {
		line, rest, more := strings.Cut(text[at:], "\n")
		l.line(line, at, cursor)
		if !more {
			return l
		}
		at = len(text) - len(rest)
	}
}

// line adds the rows of a line that begins at a byte of the text.
func (l *layout) line(line string, at, cursor int) {
	r := row{start: at, end: at}
	var shown strings.Builder
	flush := func() {
		r.shown = shown.String()
		l.rows = append(l.rows, r)
		shown.Reset()
		r = row{start: r.end, end: r.end}
	}
	for cluster := range clusters(line) {
		text, width, unsure := shape(cluster)
		if r.width+width > l.width {
			flush()
		}
		if r.end == cursor {
			l.cursor = position{len(l.rows), r.width}
		}
		shown.WriteString(text)
		r.end += len(cluster)
		r.width += width
		if unsure && r.width < l.width {
			fmt.Fprintf(&shown, "\x1b[%dG\x1b[K", l.indent+r.width+1) // what is too much of it is taken away
		}
	}
	if r.end == cursor && r.width == l.width {
		flush()
	}
	if r.end == cursor {
		l.cursor = position{len(l.rows), r.width}
	}
	flush()
}

// offset is the byte of the text that lies at a place, or the nearest to it in its row.
func (l *layout) offset(text string, p position) int {
	r := l.rows[p.row]
	at, column := r.start, 0
	for cluster := range clusters(text[r.start:r.end]) {
		_, w, _ := shape(cluster)
		if column+w > p.column {
			return at
		}
		column += w
		at += len(cluster)
	}
	if p.row+1 < len(l.rows) && l.rows[p.row+1].start == at && at > r.start { // the end of a row is the next one's beginning
		at -= len(lastCluster(text[r.start:at]))
	}
	return at
}

// lastCluster is a text's last character.
func lastCluster(text string) (last string) {
	for cluster := range clusters(text) {
		last = cluster
	}
	return last
}
