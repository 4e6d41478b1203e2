package terminal

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/rivo/uniseg"
)

// editor is a text that is being written. The cursor stands between two characters, never inside one.
type editor struct {
	text   string
	cursor int // in bytes
	goal   int // the column that Up and Down aim for, plus one; 0: the cursor's own
	pasted bool

	killed string // for Ctrl-Y
	undo   []change
	typing bool // the last change was a character typed, which the next one's undo takes back as well
}

// change is what a text was before.
type change struct {
	text   string
	cursor int
}

// set replaces the whole text, and forgets how the last one came about.
func (e *editor) set(text string) {
	*e = editor{text: text, cursor: len(text), killed: e.killed}
}

// remember keeps the text for undo.
func (e *editor) remember(typing bool) {
	joined := typing && e.typing && len(e.undo) > 0
	e.typing, e.goal = typing, 0
	if joined {
		return
	}
	e.undo = append(e.undo, change{e.text, e.cursor})
	kept := 0
	for _, c := range e.undo {
		kept += len(c.text)
	}
	for len(e.undo) > maxUndo || kept > maxUndoBytes && len(e.undo) > 1 {
		kept -= len(e.undo[0].text)
		e.undo = e.undo[1:]
	}
}

// takeBack undoes the last change.
func (e *editor) takeBack() bool {
	if len(e.undo) == 0 {
		return false
	}
	last := e.undo[len(e.undo)-1]
	e.undo = e.undo[:len(e.undo)-1]
	e.text, e.cursor, e.typing, e.goal = last.text, last.cursor, false, 0
	return true
}

// insert puts text before the cursor and says whether there was room for it.
func (e *editor) insert(text string, typing bool) bool {
	if len(e.text)+len(text) > maxText {
		return false
	}
	if text == "" {
		return true
	}
	e.remember(typing && !strings.ContainsFunc(text, unicode.IsSpace))
	e.replace(e.cursor, e.cursor, text)
	return true
}

// replace puts text in place of what is between two bytes, and the cursor behind it.
func (e *editor) replace(start, end int, text string) {
	e.text = e.text[:start] + text + e.text[end:]
	e.cursor = start + len(text)
	if e.text == "" {
		e.pasted = false
	}
	// What was inserted may have become one character with what follows it.
	line, at := e.line()
	for cluster := range clusters(line) {
		if at >= e.cursor {
			break
		}
		at += len(cluster)
	}
	e.cursor = at
}

// line gives the line that the cursor is in, and where it starts.
func (e *editor) line() (line string, start int) {
	start = strings.LastIndexByte(e.text[:e.cursor], '\n') + 1
	line, _, _ = strings.Cut(e.text[start:], "\n")
	return line, start
}

// remove deletes what is between two bytes; killed text can be put back by Ctrl-Y.
func (e *editor) remove(start, end int, kill bool) {
	if start == end {
		return
	}
	e.remember(false)
	if kill {
		e.killed = e.text[start:end]
	}
	e.replace(start, end, "")
}

// before is where the character before the cursor starts.
func (e *editor) before() int {
	if e.cursor == 0 {
		return 0
	}
	_, start := e.line()
	if start == e.cursor {
		return start - 1
	}
	return e.cursor - len(lastCluster(e.text[start:e.cursor]))
}

// after is where the character after the cursor ends.
func (e *editor) after() int {
	if e.cursor == len(e.text) {
		return e.cursor
	}
	cluster, _, _, _ := uniseg.FirstGraphemeClusterInString(e.text[e.cursor:], -1)
	return e.cursor + len(cluster)
}

// wordBefore is where the word before the cursor starts. A Chinese character is a word of its own.
func (e *editor) wordBefore() int {
	start, at := 0, 0
	rest, state := e.text[:e.cursor], -1
	for rest != "" {
		var word string
		word, rest, state = uniseg.FirstWordInString(rest, state)
		if isWord(word) {
			start = at
		}
		at += len(word)
	}
	return start
}

// wordAfter is where the word after the cursor ends.
func (e *editor) wordAfter() int {
	at := e.cursor
	rest, state := e.text[at:], -1
	for rest != "" {
		var word string
		word, rest, state = uniseg.FirstWordInString(rest, state)
		at += len(word)
		if isWord(word) {
			break
		}
	}
	return at
}

func isWord(s string) bool {
	r, _ := utf8.DecodeRuneInString(s)
	return !unicode.IsSpace(r) && !unicode.IsPunct(r)
}

// lineStart and lineEnd are the ends of the cursor's line.
func (e *editor) lineStart() int {
	_, start := e.line()
	return start
}

func (e *editor) lineEnd() int {
	line, start := e.line()
	return start + len(line)
}

// move puts the cursor somewhere else.
func (e *editor) move(to int) { e.cursor, e.goal, e.typing = to, 0, false }

// vertical moves the cursor by rows of the screen, and says whether there is such a row.
func (e *editor) vertical(rows, width int) bool {
	l := layOut(e.text, e.cursor, width, 0)
	to := l.cursor.row + rows
	if to < 0 || to >= len(l.rows) {
		return false
	}
	if e.goal == 0 {
		e.goal = l.cursor.column + 1
	}
	goal := e.goal
	e.move(l.offset(e.text, position{to, goal - 1}))
	e.goal = goal
	return true
}

// exchange swaps the characters around the cursor, as Ctrl-T does everywhere.
func (e *editor) exchange() {
	if e.cursor == e.lineEnd() {
		e.move(e.before())
	}
	start, end := e.before(), e.after()
	if start < e.lineStart() || start == e.cursor || end == e.cursor {
		return
	}
	e.remember(false)
	e.replace(start, end, e.text[e.cursor:end]+e.text[start:e.cursor])
}
