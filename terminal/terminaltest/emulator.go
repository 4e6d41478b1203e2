package terminaltest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/rivo/uniseg"
)

// Emulator is a terminal's screen as far as this program uses one. It is strict: what it does not know, it complains of.
// It treats wide characters as terminals do: one that does not fit into the last column begins the next row, and the
// cursor waits in the last column of a full row.
//
// (Of the emulators in Go, charmbracelet/x/vt v0.1.0 overwrites a wide character that ends a row with the next one, and
// tcell's draws half of one that does not fit.)
type Emulator struct {
	// Reflows says that rows are wrapped anew when the width changes; else they are cut.
	Reflows bool
	// Apart says that every character of a cluster takes its own columns, as in terminals that know no clusters.
	Apart bool

	width, height int
	scrolled      []line // rows that have left at the top
	screen        []line
	at, saved     cursor
	nowrap        bool
	joins         bool   // the last character was a joiner
	rest          string // of a sequence or character that is not complete
	modes         map[string]bool
	complaints    []string
}

type cursor struct {
	x, y    int
	waiting bool // behind a full row
}

// cell is a column: a character, or nothing where it is the right half of a wide one.
type cell struct {
	text  string
	width int
}

type line struct {
	cells   []cell
	wrapped bool // it goes on in the next row
}

// NewEmulator makes an empty screen.
func NewEmulator(width, height int) *Emulator {
	e := &Emulator{width: width, height: height, modes: map[string]bool{}}
	for range height {
		e.screen = append(e.screen, e.blank())
	}
	return e
}

func (e *Emulator) blank() line {
	return line{cells: slices.Repeat([]cell{{" ", 1}}, e.width)}
}

// Write draws text, and gives what the terminal says to it.
func (e *Emulator) Write(text string) (reply string) {
	text = e.rest + text
	e.rest = ""
	for text != "" {
		n := 0
		switch {
		case text[0] == '\x1b':
			var r string
			n, r = e.sequence(text)
			reply += r
		case text[0] < ' ' || text[0] == 0x7f:
			n = 1
			e.control(text[0])
		case utf8.FullRuneInString(text):
			var r rune
			r, n = utf8.DecodeRuneInString(text)
			e.put(r)
		}
		if n == 0 {
			e.rest = text
			return reply
		}
		text = text[n:]
	}
	return reply
}

func (e *Emulator) complain(format string, args ...any) {
	e.complaints = append(e.complaints, fmt.Sprintf(format, args...))
}

func (e *Emulator) control(c byte) {
	e.joins = false
	switch c {
	case '\r':
		e.move(0, e.at.y)
	case '\n':
		e.index()
	case '\t':
		e.move(min(e.at.x/8*8+8, e.width-1), e.at.y)
	case '\a':
	default:
		e.complain("control character %q", c)
	}
}

func (e *Emulator) move(x, y int) {
	e.at = cursor{x: max(0, min(x, e.width-1)), y: max(0, min(y, e.height-1))}
	e.joins = false
}

// index goes down a row, and scrolls at the last one.
func (e *Emulator) index() {
	e.at.waiting = false
	if e.at.y+1 < e.height {
		e.at.y++
		return
	}
	e.scrolled = append(e.scrolled, e.screen[0])
	e.screen = append(e.screen[1:], e.blank())
}

// put writes a character.
func (e *Emulator) put(r rune) {
	width := uniseg.StringWidth(string(r))
	if r == 0x200d || width == 0 || (e.joins || e.flag(r)) && !e.Apart {
		e.join(r)
		return
	}
	row := &e.screen[e.at.y]
	if !e.nowrap && (e.at.waiting || e.at.x+width > e.width) {
		row.wrapped = true
		e.index()
		e.at.x = 0
		row = &e.screen[e.at.y]
	}
	x := min(e.at.x, e.width-width)
	e.free(row, x, width)
	row.cells[x] = cell{string(r), width}
	if width == 2 {
		row.cells[x+1] = cell{}
	}
	e.at.waiting = x+width == e.width
	e.at.x = min(x+width, e.width-1)
}

// before is where the character before the cursor is; -1: nowhere.
func (e *Emulator) before() int {
	x := e.at.x - 1
	if e.at.waiting {
		x++
	}
	if x > 0 && e.screen[e.at.y].cells[x].width == 0 {
		x--
	}
	return x
}

// flag says whether a character is the second half of a flag.
func (e *Emulator) flag(r rune) bool {
	const first, end = 0x1f1e6, 0x1f200
	x := e.before()
	if x < 0 || r < first || r >= end {
		return false
	}
	text := e.screen[e.at.y].cells[x].text
	half, n := utf8.DecodeRuneInString(text)
	return half >= first && half < end && n == len(text)
}

// join adds a character to the one before the cursor.
func (e *Emulator) join(r rune) {
	x := e.before()
	if x < 0 {
		e.complain("nothing for %q to join", r)
		return
	}
	row := &e.screen[e.at.y]
	c := &row.cells[x]
	c.text += string(r)
	e.joins = r == 0x200d
	if uniseg.StringWidth(c.text) == 2 && c.width == 1 && x+1 < e.width && !e.Apart {
		c.width = 2
		e.free(row, x+1, 1)
		row.cells[x+1] = cell{}
		e.at.waiting = x+2 == e.width
		e.at.x = min(x+2, e.width-1)
	}
}

// free empties columns, and the other halves of what they cut through.
func (e *Emulator) free(row *line, x, width int) {
	if x > 0 && row.cells[x].width == 0 {
		row.cells[x-1] = cell{" ", 1}
	}
	if end := x + width; end < e.width && row.cells[end].width == 0 {
		row.cells[end] = cell{" ", 1}
	}
	for i := range width {
		row.cells[x+i] = cell{" ", 1}
	}
}

// sequence does what an escape sequence asks for; n is 0 if it is not complete.
func (e *Emulator) sequence(text string) (n int, reply string) {
	if len(text) < 2 {
		return 0, ""
	}
	switch text[1] {
	case '7':
		e.saved = e.at
		return 2, ""
	case '8':
		e.at, e.joins = e.saved, false
		return 2, ""
	case 'D':
		e.index()
		return 2, ""
	case '[':
		i := strings.IndexFunc(text[2:], func(r rune) bool { return r >= '@' && r <= '~' })
		if i < 0 {
			return 0, ""
		}
		return i + 3, e.csi(text[2:i+2], text[i+2])
	}
	e.complain("escape %q", text[:2])
	return 2, ""
}

func (e *Emulator) csi(args string, final byte) (reply string) {
	n, err := strconv.Atoi(args)
	count := max(n, 1)
	switch {
	case final == 'm':
	case strings.HasPrefix(args, "?") && (final == 'h' || final == 'l'):
		e.modes[args[1:]] = final == 'h'
		e.nowrap = !e.modes["7"] && args == "?7" || e.nowrap && args != "?7"
	case final == 'A' && err == nil:
		e.move(e.at.x, e.at.y-count)
	case final == 'G' && err == nil:
		e.move(count-1, e.at.y)
	case final == 'H' && args == "":
		e.move(0, 0)
	case final == 'J' && args == "":
		e.erase(&e.screen[e.at.y], e.at.x)
		for y := e.at.y + 1; y < e.height; y++ {
			e.erase(&e.screen[y], 0)
		}
	case final == 'J' && args == "2":
		for y := range e.height {
			e.erase(&e.screen[y], 0)
		}
	case final == 'K' && args == "":
		e.erase(&e.screen[e.at.y], e.at.x)
	case final == 'K' && args == "2":
		e.erase(&e.screen[e.at.y], 0)
	case final == 'n' && args == "6":
		return fmt.Sprintf("\x1b[%d;%dR", e.at.y+1, e.at.x+1)
	default:
		e.complain("sequence ESC [ %s %c", args, final)
	}
	return ""
}

// erase empties a row from a column on.
func (e *Emulator) erase(row *line, x int) {
	e.free(row, x, e.width-x)
	row.wrapped = false
}

// Resize changes the size.
func (e *Emulator) Resize(width, height int) {
	if e.Reflows && width != e.width {
		e.reflow(width)
	}
	e.width = width
	for i, row := range e.screen {
		old := len(row.cells)
		e.screen[i].cells = append(row.cells[:min(width, old):min(width, old)], slices.Repeat([]cell{{" ", 1}}, max(0, width-old))...)
	}
	for len(e.screen) < height {
		e.screen = append(e.screen, e.blank())
	}
	for len(e.screen) > height {
		if last := len(e.screen) - 1; e.at.y < last && strings.TrimSpace(e.screen[last].String()) == "" {
			e.screen = e.screen[:last]
			continue
		}
		e.scrolled = append(e.scrolled, e.screen[0])
		e.screen = e.screen[1:]
		e.at.y--
	}
	e.height = height
	e.move(e.at.x, e.at.y)
}

// reflow wraps all rows anew.
func (e *Emulator) reflow(width int) {
	var rows []line
	all := append(slices.Clone(e.scrolled), e.screen...)
	cursorRow, at := len(e.scrolled)+e.at.y, e.at
	for i := 0; i < len(all); i++ {
		var cells []cell
		offset := -1
		for {
			if i == cursorRow {
				offset = len(cells) + e.at.x
			}
			cells = append(cells, all[i].cells...)
			if !all[i].wrapped || i+1 == len(all) {
				break
			}
			i++
		}
		wrapped, x, y := wrap(cells, offset, width)
		if offset >= 0 {
			at = cursor{x: x, y: len(rows) + y}
		}
		rows = append(rows, wrapped...)
	}
	for len(rows) > at.y+1 && len(rows) > e.height && strings.TrimSpace(rows[len(rows)-1].String()) == "" {
		rows = rows[:len(rows)-1]
	}
	top := max(0, len(rows)-e.height)
	e.scrolled, e.screen = rows[:top:top], rows[top:]
	e.at = cursor{x: at.x, y: at.y - top}
}

// wrap breaks a line's cells into rows, and says where one of them has gone.
func wrap(cells []cell, offset, width int) (rows []line, x, y int) {
	for len(cells) > max(offset, 0) && cells[len(cells)-1].text == " " {
		cells = cells[:len(cells)-1]
	}
	row := line{}
	for i, c := range cells {
		if c.width > 0 && len(row.cells)+c.width > width {
			row.wrapped = true
			rows = append(rows, row)
			row = line{}
		}
		if i == offset {
			x, y = len(row.cells), len(rows)
		}
		row.cells = append(row.cells, c)
	}
	if offset >= len(cells) {
		x, y = min(len(row.cells), width-1), len(rows)
	}
	return append(rows, row), x, y
}

// String is a row's text.
func (l line) String() string {
	var b strings.Builder
	for _, c := range l.cells {
		b.WriteString(c.text)
	}
	return b.String()
}

// Screen gives the rows on the screen without the blanks at their ends and the empty ones below, with ‸ where the cursor
// is if that is asked for.
func (e *Emulator) Screen(withCursor bool) string {
	var b strings.Builder
	for y, l := range e.screen {
		row := l.String()
		if withCursor && y == e.at.y {
			before := line{cells: l.cells[:e.at.x]}.String()
			row = before + "‸" + row[len(before):]
		}
		b.WriteString(strings.TrimRight(row, " ") + "\n")
	}
	return strings.TrimRight(b.String(), "\n") + strings.Join(e.complaints, "\n")
}

// All gives the lines that a user can copy: what has scrolled away and what is on the screen, where rows that were wrapped
// are one line.
func (e *Emulator) All() string {
	var b strings.Builder
	for _, l := range append(slices.Clone(e.scrolled), e.screen...) {
		if l.wrapped {
			b.WriteString(strings.TrimRight(l.String(), " ")) // a column that was too narrow for what comes next
			continue
		}
		b.WriteString(strings.TrimRight(l.String(), " ") + "\n")
	}
	return strings.TrimRight(b.String(), "\n")
}
