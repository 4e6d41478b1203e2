// Package terminal is a conversation's place on a person's terminal: it reads messages with a line editor, prints
// answers as they come, and keeps the two apart.
//
// All is drawn into the terminal's own scrollback, never on an alternate screen. What has been said lies there as plain
// text that the terminal itself wraps, so that it can be copied and scrolled wherever one sits: in tmux, over ssh. The
// message being written is drawn in place below it, row by row and never wider than the screen, and the real cursor stands
// where the next character goes, which is where input methods compose.
//
// Keys, pastes and sizes are decoded by ultraviolet, which is the ground that Bubble Tea stands on; what is one character
// on the screen is uniseg's to say. Text from outside is made harmless before it is shown ([Plain]).
package terminal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"time"

	uv "github.com/charmbracelet/ultraviolet"
	"golang.org/x/term"
)

// ErrQuit is what Read gives when the user has pressed Ctrl-\.
var ErrQuit = errors.New("quit by Ctrl-\\")

// Message is what a user has written.
type Message struct {
	Text string

	// Pasted says that several lines were pasted into it: whatever they look like, they are text.
	Pasted bool
}

// Config says how a terminal behaves. The functions are called while the terminal is locked: they must not call it.
type Config struct {
	Colours bool     // colours are wanted
	History *History // what was written before; nil: nothing, and nothing is kept

	// Complete gives what the text before the cursor may be completed to. nil: nothing is completed.
	Complete func(text string) []string

	// Unfinished says that Enter is to begin a new line of the text instead of ending the message. nil: never.
	Unfinished func(text string) bool

	// Leave is what a second Ctrl-C in a row, or one where nothing is written, tells the user.
	Leave string
}

// Terminal is a terminal in raw mode. Its methods are for one goroutine, but for Note, Width and Restore.
type Terminal struct {
	cfg     Config
	console uv.Console
	out     *os.File

	events chan uv.Event // nil events never come; closed when the input has ended
	reader interface {
		Cancel() bool
		io.Closer
	}
	ended chan struct{}  // closed when nobody reads any more
	winch chan os.Signal // the size has changed, or the process goes on after a stop

	mu        sync.Mutex // guards all below
	raw       bool
	screen    screen
	editor    editor
	finder    finder
	listing   []string // what Tab has found, until the next key
	recall    recall   // where in the history the editor is
	ready     []Message
	reading   bool      // a message is being written, and drawn
	suspended bool      // by Ctrl-Z
	asked     time.Time // when the terminal was asked where its cursor is
	quit      error     // what Read gives after what is ready
	answer    *Answer
}

// Open takes a terminal over. It must be closed.
func Open(in, out *os.File, cfg Config) (*Terminal, error) {
	t := &Terminal{cfg: cfg, console: uv.NewConsole(in, out, nil), out: out, winch: make(chan os.Signal, 1)}
	t.screen = screen{out: out, reflows: reflows(os.Getenv)}
	t.screen.width, t.screen.height = t.size()
	if err := t.start(); err != nil {
		return nil, err
	}
	uv.NotifyWinch(t.winch, resumed()...)
	return t, nil
}

// IsSmart says whether a terminal of this kind can be drawn on.
func IsSmart(in, out *os.File) bool {
	kind := os.Getenv("TERM")
	return kind != "dumb" && (kind != "" || isWindows) && term.IsTerminal(int(in.Fd())) && term.IsTerminal(int(out.Fd()))
}

// start makes the terminal raw and has its input read.
func (t *Terminal) start() error {
	if _, err := t.console.MakeRaw(); err != nil {
		return fmt.Errorf("take the terminal over: %w", err)
	}
	reader, err := uv.NewCancelReader(t.console.Reader())
	if err != nil {
		return errors.Join(fmt.Errorf("read the terminal: %w", err), t.console.Restore())
	}
	t.mu.Lock()
	t.raw = true
	t.screen.print(pasteOn)
	t.mu.Unlock()
	t.reader, t.events, t.ended = reader, make(chan uv.Event), make(chan struct{})
	var from io.Reader = reader
	if !isWindows { // there, keys come as records
		from = &input{from: reader}
	}
	decoder := uv.NewTerminalReader(from, os.Getenv("TERM"))
	decoder.EscTimeout = escTimeout
	go func(events chan uv.Event, ended chan struct{}) {
		defer close(ended)
		defer close(events)
		defer t.guard()
		_ = decoder.StreamEvents(context.Background(), events) // its end is all that matters
	}(t.events, t.ended)
	return nil
}

// stop gives the terminal back as start found it.
func (t *Terminal) stop() error {
	err := t.Restore()
	t.reader.Cancel()
	for range t.events { // nobody wants to know what else was typed
	}
	<-t.ended
	return errors.Join(err, t.reader.Close())
}

// Restore gives the terminal back at once, whatever else goes on: for those who may not get as far as Close.
func (t *Terminal) Restore() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.raw {
		return nil
	}
	t.raw = false
	if t.answer != nil {
		t.answer.finish()
	}
	t.screen.finish()
	t.screen.print(pasteOff)
	if err := t.console.Restore(); err != nil {
		return fmt.Errorf("give the terminal back: %w", err)
	}
	return nil
}

// guard gives the terminal back where a goroutine panics: what it says can be read then. Whoever opened the terminal does so
// by a deferred Close.
func (t *Terminal) guard() {
	if cause := recover(); cause != nil {
		_ = t.Restore() // there is worse to tell
		panic(cause)
	}
}

// Close gives the terminal back and ends what runs for it.
func (t *Terminal) Close() error {
	signal.Stop(t.winch)
	return t.stop()
}

// Pause gives the terminal back while f runs, which may start programs that use it.
func (t *Terminal) Pause(f func() error) error {
	if err := t.stop(); err != nil {
		return err
	}
	err := f()
	if again := t.start(); again != nil {
		return errors.Join(err, again)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.screen.width, t.screen.height = t.size()
	return err
}

// Read lets the user write a message and gives it. io.EOF: the user has left, or the terminal is gone.
func (t *Terminal) Read(ctx context.Context) (Message, error) {
	t.begin(true)
	defer t.begin(false)
	for {
		if m, err, done := t.next(); done {
			return m, err
		}
		select {
		case event, more := <-t.events:
			t.take(event, more)
		case s := <-t.winch:
			t.resize(s)
		case <-t.patience():
			t.settle()
		case <-ctx.Done():
			return Message{}, ctx.Err()
		}
	}
}

// next gives what Read has been waiting for, once it is there.
func (t *Terminal) next() (m Message, err error, done bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.screen.err != nil {
		return m, t.screen.err, true
	}
	switch {
	case len(t.ready) > 0:
		m, t.ready = t.ready[0], t.ready[1:]
		t.screen.clear()
		t.screen.say(t.prompt(), m.Text)
		return m, nil, true
	case t.quit != nil:
		err, t.quit = t.quit, nil
		t.screen.clear()
		return m, err, true
	}
	return m, nil, false
}

// take does what an event asks for.
func (t *Terminal) take(event uv.Event, more bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !more {
		t.quit = io.EOF
		return
	}
	switch e := event.(type) {
	case uv.KeyPressEvent:
		t.key(uv.Key(e))
	case uv.PasteEvent:
		t.paste(e.Content)
	case uv.CursorPositionEvent:
		t.screen.settle(e.X)
	case uv.WindowSizeEvent: // only on Windows
		t.fit(e.Width, e.Height)
	default:
		return
	}
	t.draw()
}

// begin begins or ends the drawing of a message.
func (t *Terminal) begin(reading bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.reading = reading
	if reading {
		t.draw()
	} else {
		t.screen.clear()
	}
}

// Note shows the user something that is neither message nor answer, on lines of its own.
func (t *Terminal) Note(text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.answer != nil {
		t.answer.finish()
	}
	t.screen.clear()
	t.note(text)
	t.draw()
}

// note writes a note, broken between words: unlike what is said, it is hardly ever copied.
func (t *Terminal) note(text string) {
	var lines []string
	for line := range strings.SplitSeq(strings.TrimSuffix(Printable(text), "\n"), "\n") {
		for _, l := range breakWords(line, t.screen.width) {
			lines = append(lines, t.dim(l))
		}
	}
	t.screen.lines(strings.Join(lines, "\n"))
}

// Write begins the next message with a text, which the user may change.
func (t *Terminal) Write(text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.editor.set(Printable(text))
}

// Say shows a message that the user has written elsewhere.
func (t *Terminal) Say(text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.screen.say(t.prompt(), text)
}

// dim is how notes look.
func (t *Terminal) dim(text string) string {
	if !t.cfg.Colours || text == "" {
		return text
	}
	return "\x1b[2m" + text + "\x1b[22m"
}
