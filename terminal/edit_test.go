//go:build unix

package terminal

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	uv "github.com/charmbracelet/ultraviolet"

	"github.com/baichuan-node/baichuan-node/terminal/terminaltest"
)

// emulated is a screen's terminal.
type emulated struct{ *terminaltest.Emulator }

func (e emulated) Write(text []byte) (int, error) {
	e.Emulator.Write(string(text))
	return len(text), nil
}

// keyNames are keys that edit, and texts that are typed.
func keyNames() []string {
	return []string{
		"left", "right", "up", "down", "home", "end", "ctrl+left", "ctrl+right", "ctrl+home", "ctrl+end", "backspace", "delete",
		"ctrl+w", "alt+d", "ctrl+u", "ctrl+k", "ctrl+y", "ctrl+t", "ctrl+_", "ctrl+j",
		"a", "b", " ", "中", "文", "，", "é", "e\u0301", "\u0301", "👨‍👩‍👧", "\u200d", "🇨", "🇳", "❤️", "한", "ᄒ", "ᅡ", "ﷺ", "…", "\t", "\ufeff", "“",
	}
}

// press does what a key does at the prompt.
func (t *Terminal) press(name string) {
	if !slices.Contains(keyNames()[:20], name) {
		t.key(uv.Key{Text: name})
		return
	}
	switch name {
	case "up", "down":
		t.editor.vertical(map[string]int{"up": -1, "down": 1}[name], t.room())
	case "ctrl+j":
		t.insert("\n")
	case "ctrl+_":
		t.editor.takeBack()
	default:
		_ = t.editor.motion(name) || t.editor.edit(name)
	}
}

// Whatever is edited, and however often the rows that have changed are drawn, the screen shows what one would show that was
// drawn once; and the cursor stands between two characters.
func TestEditor_ShowsWhatItHolds(t *testing.T) {
	for _, width := range []int{6, 9, 20, 33} {
		for seed := range uint64(30) {
			random := rand.New(rand.NewPCG(seed, uint64(width)))
			e := terminaltest.NewEmulator(width, 12)
			e.Apart = seed%2 == 1
			term := &Terminal{raw: true, reading: true, screen: screen{out: emulated{e}, width: width, height: 12}}
			var pressed []string
			for range 60 {
				name := keyNames()[random.IntN(len(keyNames()))]
				pressed = append(pressed, name)
				term.press(name)
				term.draw()
				if err := term.editor.fault(); err != "" {
					t.Fatalf("%s after %q", err, pressed)
				}
			}
			once := terminaltest.NewEmulator(width, 12)
			once.Apart = e.Apart
			term.screen = screen{out: emulated{once}, width: width, height: 12}
			term.draw()
			if got, want := e.Screen(true), once.Screen(true); got != want {
				t.Fatalf("width %d: after %q the screen is\n%s\nwant\n%s", width, pressed, got, want)
			}
		}
	}
}

// fault says what is wrong with an editor.
func (e *editor) fault() string {
	at, between := 0, e.cursor == 0
	for cluster := range clusters(e.text) {
		at += len(cluster)
		between = between || at == e.cursor
	}
	switch {
	case !between:
		return "the cursor is inside a character"
	case !utf8.ValidString(e.text):
		return "the text is no UTF-8"
	}
	return ""
}

func FuzzLayOut(f *testing.F) {
	f.Add("一二三\n四", 3, 4)
	f.Add("e\u0301👨‍👩‍👧\t\u202e", 0, 1)
	f.Fuzz(func(t *testing.T, text string, cursor, width int) {
		text = pasted(text)
		cursor, width = min(max(cursor, 0), len(text)), width%100
		e := editor{text: text}
		e.replace(cursor, cursor, "")
		l := layOut(text, e.cursor, width, 0)
		var all strings.Builder
		for i, r := range l.rows {
			if r.width > l.width {
				t.Fatalf("row %d of %d columns, want at most %d", i, r.width, l.width)
			}
			if i > 0 && l.rows[i-1].end < r.start {
				all.WriteByte('\n')
			}
			all.WriteString(text[r.start:r.end])
			if strings.ContainsFunc(r.shown, func(c rune) bool { return c != '\x1b' && Plain(c) != c }) {
				t.Fatalf("row %d is shown as %q", i, r.shown)
			}
		}
		if all.String() != text {
			t.Fatalf("the rows hold %q of %q", all.String(), text)
		}
		if at := l.offset(text, l.cursor); at != e.cursor && l.cursor.column < l.width {
			t.Fatalf("the cursor of byte %d is shown at %v, which is byte %d", e.cursor, l.cursor, at)
		}
	})
}

func FuzzPrintable(f *testing.F) {
	f.Add("a\x1b[2J\u202e\xff\u2028")
	f.Fuzz(func(t *testing.T, text string) {
		for _, r := range Printable(text) {
			if Plain(r) != r || r == '\r' || r == 0x1b || r == 0x9b {
				t.Fatalf("%q keeps %q", text, r)
			}
		}
	})
}

func TestBreakWords(t *testing.T) {
	for _, c := range []struct {
		line  string
		width int
		want  string
	}{
		{"short", 10, "short"},
		{"one two three", 7, "one two|three"},
		{"  one two three", 9, "  one two|  three"},
		{"unbreakable", 4, "unbreakable"},
		{"中文 中文 中文", 9, "中文 中文|中文"},
		{"", 5, ""},
	} {
		if got := strings.Join(breakWords(c.line, c.width), "|"); got != c.want {
			t.Errorf("%q at %d: %q, want %q", c.line, c.width, got, c.want)
		}
	}
}

// A terminal that knows no clusters draws a family as three people; what comes after it stands where it should all the same.
func TestEditor_KeepsItsColumnsWhereClustersAreUnknown(t *testing.T) {
	e := terminaltest.NewEmulator(20, 4)
	e.Apart = true
	term := &Terminal{raw: true, reading: true, screen: screen{out: emulated{e}, width: 20, height: 4}}
	term.editor.set("👨‍👩‍👧x")
	term.draw()
	if got := e.Screen(true); got != "> 👨\u200dx‸" {
		t.Errorf("the screen shows %q", got)
	}
}
