//go:build unix

package terminal

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/baichuan-node/baichuan-node/terminal/terminaltest"
)

// room is a terminal in a window of its own.
type room struct {
	*Terminal
	*terminaltest.Window
	t *testing.T
}

func open(t *testing.T, width, height int, cfg Config) *room {
	t.Helper()
	t.Setenv("TERM", "xterm-256color")
	w := terminaltest.NewWindow(t, width, height)
	term, err := Open(w.TTY, w.TTY, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := term.Close(); err != nil {
			t.Error(err)
		}
	})
	return &room{term, w, t}
}

// message is what Read gave.
type message struct {
	Message
	err error
}

// reading reads a message while the test types.
func (r *room) reading() <-chan message {
	got := make(chan message, 1)
	go func() {
		m, err := r.Read(r.t.Context())
		got <- message{m, err}
	}()
	return got
}

// Keys as terminals send them.
const (
	enter, altEnter, ctrlJ      = "\r", "\x1b\r", "\n"
	left, right, keyUp, keyDown = "\x1b[D", "\x1b[C", "\x1b[A", "\x1b[B"
	home, end, backspace        = "\x1b[H", "\x1b[F", "\x7f"
	wordLeft, tab, escape       = "\x1bb", "\t", "\x1b"
	ctrlC, ctrlD, ctrlR, ctrlU  = "\x03", "\x04", "\x12", "\x15"
	ctrlK, ctrlW, ctrlY         = "\x0b", "\x17", "\x19"
	undo, ctrlBackslash         = "\x1f", "\x1c"
)

func TestRead_ShowsWhatIsWritten(t *testing.T) {
	for name, c := range map[string]struct {
		keys, shown, text string
	}{
		"Chinese":                 {"你好", "> 你好‸", "你好"},
		"a wide row that is full": {"一二三四五六七八九", "> 一二三四五六七八九\n  ‸", "一二三四五六七八九"},
		"a wide character does not fit into the last column": {
			"a一二三四五六七八九", "> a一二三四五六七八\n  九‸", "a一二三四五六七八九",
		},
		"in the middle of a wrapped line": {
			"一二三四五六七八九十" + left + left + left + "x", "> 一二三四五六七x‸八\n  九十", "一二三四五六七x八九十",
		},
		"deleting before a wrap":     {"一二三四五六七八九十" + home + "\x04\x04", "> ‸三四五六七八九十", "三四五六七八九十"},
		"from one row to the other":  {"一二三四五六七八九十甲" + keyUp + "x", "> 一二x‸三四五六七八\n  九十甲", "一二x三四五六七八九十甲"},
		"a family is one character":  {"👨‍👩‍👧a" + left + left + right + backspace, "> ‸a", "a"},
		"an accent belongs to its e": {"e\u0301x" + left + backspace, "> ‸x", "x"},
		"flags":                      {"🇨🇳🇩🇪" + backspace, "> 🇨🇳‸", "🇨🇳"},
		"lines":                      {"a" + altEnter + "b" + ctrlJ + "c" + keyUp + keyUp + end + "x", "> ax‸\n  b\n  c", "ax\nb\nc"},
		"words":                      {"one two 三四" + wordLeft + wordLeft + wordLeft + ctrlW, "> ‸two 三四", "two 三四"},
		"cut and put back":           {"one two" + wordLeft + ctrlK + home + ctrlY + " ", "> two ‸one", "two one "},
		"undo":                       {"one two" + ctrlU + undo, "> one two‸", "one two"},
		"a tab":                      {"\x1b[200~a\tb\x1b[201~", "> a    b‸", "a\tb"},
		"input of a stranger":        {"\x1b[200~a\x1b[31mb\u202ec\a\x1b[201~", "> ab�c�‸", "ab�c�"},
	} {
		t.Run(name, func(t *testing.T) {
			r := open(t, 20, 6, Config{})
			got := r.reading()
			r.Type(c.keys)
			r.Shows(c.shown)
			r.Type(enter)
			if m := <-got; m.err != nil || m.Text != c.text {
				t.Errorf("got %q (%v), want %q", m.Text, m.err, c.text)
			}
		})
	}
}

// What is pasted never runs, whatever it is made of: it becomes part of a message that waits for the user.
func TestRead_TakesAPasteForText(t *testing.T) {
	r := open(t, 30, 8, Config{})
	got := r.reading()
	r.Paste("/exit\r\nsecond\nthird\r\x03\x04")
	r.Shows("> /exit\n  second\n  third\n  ��‸")
	r.Type(backspace + backspace + enter)
	if m := <-got; m.Text != "/exit\nsecond\nthird" || !m.Pasted {
		t.Errorf("got %+v", m)
	}
	r.Shows("> /exit\n  second\n  third\n‸")
	got = r.reading()
	r.Paste("one line")
	r.Type(enter)
	if m := <-got; m.Text != "one line" || m.Pasted {
		t.Errorf("got %+v", m)
	}
}

// A message may be longer than the screen: the rows around the cursor are shown, and all of it stays when it is sent.
func TestRead_ScrollsALongMessage(t *testing.T) {
	r := open(t, 20, 4, Config{})
	got := r.reading()
	r.Paste("1\n2\n3\n4\n5\n6")
	r.Shows("  3\n  4\n  5\n  6‸")
	r.Type("\x1b<")
	r.Shows("> ‸1\n  2\n  3\n  4")
	r.Type(enter)
	if m := <-got; m.Text != "1\n2\n3\n4\n5\n6" {
		t.Errorf("got %q", m.Text)
	}
	r.Shows("  4\n  5\n  6\n‸")
	if all := r.All(); all != "> 1\n  2\n  3\n  4\n  5\n  6" {
		t.Errorf("what stays is\n%s", all)
	}
}

func TestRead_PastesAMegabyte(t *testing.T) {
	r := open(t, 80, 10, Config{})
	got := r.reading()
	text := strings.Repeat("一二三四五六七八九 ", maxText/28)
	r.Paste(text)
	r.Type(enter)
	if m := <-got; m.Text != text {
		t.Errorf("got %d bytes of %d", len(m.Text), len(text))
	}
	got = r.reading()
	r.Paste(strings.Repeat("x", maxText+1))
	r.Type("y" + enter)
	if m := <-got; m.Text != "y" {
		t.Errorf("what is longer than a message may be became one of %d bytes", len(m.Text))
	}
}

func TestRead_LooksBack(t *testing.T) {
	h := NewHistory()
	h.Add("第一")
	h.Add("second\nline")
	r := open(t, 30, 8, Config{History: h})
	got := r.reading()
	r.Type("draft" + keyUp)
	r.Shows("> second\n  line‸")
	r.Type(keyUp)
	r.Shows("> seco‸nd\n  line")
	r.Type(keyUp)
	r.Shows("> 第一‸")
	r.Type(keyDown)
	r.Shows("> second\n  line‸")
	r.Type(keyDown)
	r.Shows("> draft‸")
	r.Type(ctrlR + "一")
	r.Shows("> 第一\nsearch back: 一‸")
	r.Type("x")
	r.Shows("> 第一\nno such message: 一x‸")
	r.Type(backspace + end + "!")
	r.Shows("> 第一!‸")
	r.Type(ctrlR + "sec" + "\x07")
	r.Shows("> 第一!‸")
	r.Type(ctrlR + "sec" + enter)
	if m := <-got; m.Text != "second\nline" {
		t.Errorf("found and sent: %q", m.Text)
	}
}

func TestRead_Completes(t *testing.T) {
	complete := func(text string) (ways []string) {
		for _, w := range []string{"/save ", "/stats", "/stream", "/中文"} {
			if strings.HasPrefix(w, text) {
				ways = append(ways, w)
			}
		}
		return ways
	}
	r := open(t, 30, 8, Config{Complete: complete})
	got := r.reading()
	r.Type("/s" + tab)
	r.Shows("> /s‸\n/save    /stats   /stream")
	r.Type("tr" + tab)
	r.Shows("> /stream‸")
	r.Type(ctrlU + "/中" + tab)
	r.Shows("> /中文‸")
	r.Type(enter)
	if m := <-got; m.Text != "/中文" {
		t.Errorf("got %q", m.Text)
	}
}

func TestRead_GoesOnWithWhatIsUnfinished(t *testing.T) {
	r := open(t, 30, 8, Config{Unfinished: func(text string) bool { return !strings.HasSuffix(text, ".") }})
	got := r.reading()
	r.Type("one" + left + enter + "two." + enter)
	if m := <-got; m.Text != "one\ntwo." {
		t.Errorf("got %q", m.Text)
	}
}

func TestRead_TellsHowToLeave(t *testing.T) {
	r := open(t, 30, 8, Config{Leave: "(Ctrl-D leaves)"})
	got := r.reading()
	r.Type("given up" + ctrlC)
	r.Shows("> given up\n> ‸")
	r.Type(ctrlC)
	r.Shows("> given up\n(Ctrl-D leaves)\n> ‸")
	r.Type("x" + ctrlD + backspace + ctrlD)
	if m := <-got; !errors.Is(m.err, io.EOF) {
		t.Errorf("Ctrl-D gave %+v", m)
	}
	got = r.reading()
	r.Type(ctrlBackslash)
	if m := <-got; !errors.Is(m.err, ErrQuit) {
		t.Errorf("Ctrl-\\ gave %+v", m)
	}
}

// Terminals that wrap long rows anew when they become narrower, and some that cut them.
func TestRead_FollowsTheWindow(t *testing.T) {
	for name, reflows := range map[string]bool{"wrapping": true, "cutting": false} {
		t.Run(name, func(t *testing.T) {
			r := open(t, 40, 8, Config{})
			r.Reflows(reflows)
			r.Note("above")
			got := r.reading()
			r.Type("一二三四五六七八九十一二三四五")
			r.Shows("above\n> 一二三四五六七八九十一二三四五‸")
			r.resize(21, 8)
			r.Shows("above\n> 一二三四五六七八九\n  十一二三四五‸")
			r.Type(left)
			r.Shows("above\n> 一二三四五六七八九\n  十一二三四‸五")
			r.resize(40, 8)
			r.Shows("above\n> 一二三四五六七八九十一二三四‸五")
			r.resize(9, 8)
			r.Shows("above\n> 一二三\n  四五六\n  七八九\n  十一二\n  三四‸五")
			r.resize(40, 8)
			r.Shows("above\n> 一二三四五六七八九十一二三四‸五")
			r.Type(enter)
			if m := <-got; m.Text != "一二三四五六七八九十一二三四五" {
				t.Errorf("got %q", m.Text)
			}
		})
	}
}

// resize changes the window's size and tells this process, whose window it really is not.
func (r *room) resize(width, height int) {
	r.t.Helper()
	r.Resize(width, height)
	if err := syscall.Kill(os.Getpid(), syscall.SIGWINCH); err != nil {
		r.t.Fatal(err)
	}
}

func TestNote_StandsAboveTheMessage(t *testing.T) {
	r := open(t, 20, 8, Config{})
	got := r.reading()
	r.Type("你好")
	r.Shows("> 你好‸")
	r.Note("several words that are too long\n  for a row of this window")
	r.Shows("several words that\nare too long\n  for a row of this\n  window\n> 你好‸")
	r.Type(enter)
	<-got
}

// What is left of an answer is its text alone, in lines that the terminal has wrapped: so it can be copied.
func TestAnswer_FlowsAboveItsStatus(t *testing.T) {
	r := open(t, 20, 5, Config{})
	a := r.Answer(func() {})
	a.Status("thinking")
	r.Shows("‸\nthinking")
	for _, piece := range []string{"一二三", "四五六七八九", "十", "甲", "乙 and on", " and on", "\nlast line"} {
		if _, err := a.Write([]byte(piece)); err != nil {
			t.Fatal(err)
		}
	}
	a.Status("10 tokens/s and more than there is room for")
	r.Shows("一二三四五六七八九十\n甲乙 and on and on\nlast line‸\n10 tokens/s and mo…")
	r.Type("你好吗，" + altEnter + "今天的天气怎么样")
	r.Shows("甲乙 and on and on\nlast line‸\n10 tokens/s and mo…\n> ⏎今天的天气怎么样")
	a.End()
	r.Shows("甲乙 and on and on\nlast line\n‸")
	if all := r.All(); all != "一二三四五六七八九十甲乙 and on and on\nlast line" {
		t.Errorf("what stays is\n%s", all)
	}
	got := r.reading()
	r.Shows("last line\n> 你好吗，\n  今天的天气怎么样‸")
	r.Type(enter)
	<-got
}

// Wherever a row ends and the next piece begins, the status below takes nothing away.
func TestAnswer_KeepsEveryCharacter(t *testing.T) {
	r := open(t, 12, 4, Config{})
	a := r.Answer(func() {})
	text := strings.Repeat("一二a三四e\u0301五👨‍👩‍👧六b🇨🇳", 30)
	for piece := range clusters(text) {
		if _, err := a.Write([]byte(piece)); err != nil {
			t.Fatal(err)
		}
		a.Status("status " + piece)
	}
	a.End()
	rows := layOutAt(text, -1, 12).rows
	r.Shows(text[rows[len(rows)-1].start:] + "\n‸")
	if all := r.All(); all != text {
		t.Errorf("what stays is\n%s\nwant\n%s", all, text)
	}
}

func TestAnswer_IsStoppedByCtrlC(t *testing.T) {
	r := open(t, 40, 8, Config{Leave: "(leave)"})
	ctx, stop := context.WithCancel(t.Context())
	a := r.Answer(stop)
	if _, err := a.Write([]byte("half an ans")); err != nil {
		t.Fatal(err)
	}
	r.Type("next" + enter + "then" + ctrlC)
	<-ctx.Done()
	a.End()
	r.Note("(stopped)")
	got := r.reading()
	r.Shows("half an ans\n(stopped)\n> then‸") // what was sent ahead is forgotten, what was being written is not
	r.Type(ctrlC + ctrlC)
	r.Shows("half an ans\n(stopped)\n> then\n(leave)\n> ‸")
	r.Type(ctrlD)
	<-got
}

func TestAnswer_TakesTheNextMessagesAhead(t *testing.T) {
	r := open(t, 40, 8, Config{})
	a := r.Answer(func() { t.Error("stopped") })
	r.Type("one" + enter + "/exit" + enter + ctrlD)
	r.Shows("‸\n\n> one\n> /exit")
	a.End()
	for _, want := range []string{"one", "/exit"} {
		if m := <-r.reading(); m.Text != want {
			t.Errorf("got %+v, want %q", m, want)
		}
	}
	if m := <-r.reading(); !errors.Is(m.err, io.EOF) {
		t.Errorf("at last: %+v", m)
	}
	r.Shows("> one\n> /exit\n‸")
}

// A model's words can neither command the terminal nor turn its text around.
func TestAnswer_IsHarmless(t *testing.T) {
	r := open(t, 60, 6, Config{})
	a := r.Answer(func() {})
	const text = "a\x1b[2J\x1b]0;title\ab\rc\u009b31m d\u202eevil\u2066 x\b\x7f\x00 \xff"
	if _, err := a.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	a.Status("peer \x1b[31m\u202e")
	r.Shows("a�[2J�]0;title�b�c�31m d�evil� x��� �‸\npeer �[31m�")
	a.End()
}

// attributes are a terminal's settings.
func attributes(t *testing.T, f *os.File) unix.Termios {
	t.Helper()
	a, err := unix.IoctlGetTermios(int(f.Fd()), getTermios)
	if err != nil {
		t.Fatal(err)
	}
	return *a
}

func TestTerminal_IsGivenBackAsItWas(t *testing.T) {
	w := terminaltest.NewWindow(t, 40, 8)
	before := attributes(t, w.TTY)
	term, err := Open(w.TTY, w.TTY, Config{})
	if err != nil {
		t.Fatal(err)
	}
	if attributes(t, w.TTY) == before {
		t.Error("the terminal is not raw")
	}
	if err := term.Pause(func() error {
		if attributes(t, w.TTY) != before {
			t.Error("a program in between finds another terminal")
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	a := term.Answer(func() {})
	a.Status("status")
	w.Shows("‸\nstatus")
	if err := term.Restore(); err != nil { // in the middle of all
		t.Error(err)
	}
	if attributes(t, w.TTY) != before {
		t.Error("Restore left another terminal")
	}
	w.Shows("‸")
	a.End()
	if err := term.Close(); err != nil {
		t.Error(err)
	}
	if attributes(t, w.TTY) != before {
		t.Error("Close left another terminal")
	}
	if on, off := strings.LastIndex(w.Written(), pasteOn), strings.LastIndex(w.Written(), pasteOff); off < on {
		t.Error("the terminal still marks what is pasted")
	}
}

func TestHistory_IsKeptForItsOwner(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history")
	h, err := OpenHistory(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"你好", "你好", "two\nlines <b>", " secret", "  ", strings.Repeat("x", maxEntry+1)} {
		h.Add(text)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file's mode is %v (%v)", info.Mode(), err)
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("no JSON\n5\n\"\\u001b[2J\"\n"); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := OpenHistory(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(again.entries, "|"); got != "你好|two\nlines <b>|�[2J" {
		t.Errorf("kept: %q", got)
	}
}

func TestHistory_IsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history")
	h, err := OpenHistory(path)
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", maxEntry-10)
	for i := range 2 * maxHistoryBytes / maxEntry * 2 {
		h.Add(long + strings.Repeat("y", i%2))
	}
	for i := range 5 {
		h.Add(strings.Repeat("z", i+1))
	}
	again, err := OpenHistory(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Size() > maxHistoryBytes+maxEntry || info.Mode().Perm() != 0o600 {
		t.Errorf("the file has %d bytes, mode %v (%v)", info.Size(), info.Mode(), err)
	}
	if n := again.len(); n < 5 || again.entry(n-1) != "zzzzz" {
		t.Errorf("of %d entries the last is %q", n, again.entry(n-1))
	}
}

func TestTerminal_IsGivenBackWhereSomethingPanics(t *testing.T) {
	w := terminaltest.NewWindow(t, 40, 8)
	before := attributes(t, w.TTY)
	term, err := Open(w.TTY, w.TTY, Config{Complete: func(string) []string { panic("a fault of ours") }})
	if err != nil {
		t.Fatal(err)
	}
	panicked := make(chan any, 2)
	go func() {
		defer func() { panicked <- recover() }()
		defer term.guard()
		_, _ = term.Read(t.Context())
	}()
	w.Type("/" + tab)
	if cause := <-panicked; cause == nil {
		t.Error("nothing panicked")
	}
	if attributes(t, w.TTY) != before {
		t.Error("the terminal was kept")
	}
	if err := term.Close(); err != nil {
		t.Error(err)
	}
}
