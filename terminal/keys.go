package terminal

import (
	"io"
	"strings"
	"unicode"

	uv "github.com/charmbracelet/ultraviolet"
)

const bell = "\a"

// key does what a key asks for.
func (t *Terminal) key(k uv.Key) {
	name := k.String()
	if t.answer != nil && t.answer.key(k) {
		return
	}
	if t.finder.on && t.find(name, k.Text) {
		return
	}
	t.listing = nil
	e := &t.editor
	switch name {
	case "enter":
		t.enter()
	case "alt+enter", "ctrl+j", "shift+enter", "ctrl+enter":
		t.insert("\n")
	case "tab":
		t.complete()
	case "ctrl+c":
		t.interrupt()
	case "ctrl+d":
		if e.text == "" {
			t.quit = io.EOF
			return
		}
		e.remove(e.cursor, e.after(), false)
	case "ctrl+\\":
		t.quit = ErrQuit
	case "ctrl+z":
		t.suspend()
	case "ctrl+l":
		t.screen.wipe()
	case "ctrl+r":
		t.finder = finder{on: true, at: t.cfg.History.len(), before: t.editor}
	case "ctrl+p":
		t.older()
	case "ctrl+n":
		t.newer()
	case "up":
		if !e.vertical(-1, t.room()) {
			t.older()
		}
	case "down":
		if !e.vertical(1, t.room()) {
			t.newer()
		}
	case "ctrl+_", "ctrl+/":
		if !e.takeBack() {
			t.screen.print(bell)
		}
	default:
		if !e.motion(name) && !e.edit(name) {
			t.insert(typed(k))
		}
	}
}

// typed is the text that a key stands for: none, if it is a key that we have no use for.
func typed(k uv.Key) string {
	if k.Mod&(uv.ModCtrl|uv.ModAlt|uv.ModMeta|uv.ModSuper|uv.ModHyper) != 0 {
		return ""
	}
	return Printable(k.Text)
}

// motion moves the cursor where a key is for that.
func (e *editor) motion(key string) bool {
	switch key {
	case "left", "ctrl+b":
		e.move(e.before())
	case "right", "ctrl+f":
		e.move(e.after())
	case "home", "ctrl+a":
		e.move(e.lineStart())
	case "end", "ctrl+e":
		e.move(e.lineEnd())
	case "ctrl+home", "alt+<":
		e.move(0)
	case "ctrl+end", "alt+>":
		e.move(len(e.text))
	case "ctrl+left", "alt+left", "alt+b":
		e.move(e.wordBefore())
	case "ctrl+right", "alt+right", "alt+f":
		e.move(e.wordAfter())
	default:
		return false
	}
	return true
}

// edit changes the text where a key is for that.
func (e *editor) edit(key string) bool {
	switch key {
	case "backspace", "ctrl+h", "shift+backspace":
		e.remove(e.before(), e.cursor, false)
	case "delete":
		e.remove(e.cursor, e.after(), false)
	case "ctrl+w", "alt+backspace", "ctrl+backspace":
		e.remove(e.wordBefore(), e.cursor, true)
	case "alt+d", "ctrl+delete":
		e.remove(e.cursor, e.wordAfter(), true)
	case "ctrl+u":
		e.remove(e.lineStart(), e.cursor, true)
	case "ctrl+k":
		if end := e.lineEnd(); end > e.cursor {
			e.remove(e.cursor, end, true)
		} else {
			e.remove(e.cursor, e.after(), true)
		}
	case "ctrl+y":
		e.insert(e.killed, false)
	case "ctrl+t":
		e.exchange()
	default:
		return false
	}
	return true
}

// insert writes text at the cursor.
func (t *Terminal) insert(text string) {
	if !t.editor.insert(text, true) {
		t.screen.print(bell)
	}
}

// paste takes what was pasted: as it is, it becomes part of the message, and nothing in it is a key.
func (t *Terminal) paste(text string) {
	t.listing = nil
	text = pasted(text)
	if t.finder.on {
		t.find("", text)
		return
	}
	if !t.editor.insert(text, false) {
		t.screen.print(bell)
		return
	}
	if strings.Contains(text, "\n") {
		t.editor.pasted = true
	}
}

// enter ends the message, unless it goes on.
func (t *Terminal) enter() {
	e := &t.editor
	if unfinished := t.cfg.Unfinished; unfinished != nil && unfinished(e.text) {
		e.move(len(e.text))
		t.insert("\n")
		return
	}
	if t.answer != nil && (len(t.ready) == maxReady || strings.TrimFunc(e.text, unicode.IsSpace) == "") {
		t.screen.print(bell)
		return
	}
	text := strings.TrimRight(e.text, "\n") // of a last line that was pasted
	t.ready = append(t.ready, Message{Text: text, Pasted: e.pasted})
	t.cfg.History.Add(text)
	e.set("")
	t.recall = recall{}
}

// interrupt gives up what is written, or tells how to leave.
func (t *Terminal) interrupt() {
	if t.editor.text != "" {
		t.screen.finish()
		t.editor.set("")
		t.recall = recall{}
		return
	}
	t.screen.clear()
	t.note(t.cfg.Leave)
}
