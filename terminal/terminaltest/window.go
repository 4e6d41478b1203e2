//go:build unix

// Package terminaltest gives tests a terminal's window to look at and to type in: a pty, and an emulator that draws what is
// written to it.
package terminaltest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
)

// patience is how long a window may take to show something: long enough for a machine that does much else.
const patience = 30 * time.Second

// Window is a terminal's window.
type Window struct {
	TTY *os.File // the program's end

	t        *testing.T
	keyboard *os.File
	running  sync.WaitGroup

	mu      sync.Mutex // guards all below
	screen  *Emulator
	written strings.Builder
}

// NewWindow opens a window, until the test ends.
func NewWindow(t *testing.T, width, height int) *Window {
	t.Helper()
	keyboard, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	w := &Window{TTY: tty, t: t, keyboard: keyboard, screen: NewEmulator(width, height)}
	w.setSize(width, height)
	w.running.Go(w.show)
	t.Cleanup(func() {
		err := errors.Join(tty.Close(), keyboard.Close())
		w.running.Wait()
		if err != nil {
			t.Error(err)
		}
	})
	return w
}

// show draws what is written, and says what the terminal says to it.
func (w *Window) show() {
	buffer := make([]byte, 32<<10)
	for {
		n, err := w.keyboard.Read(buffer)
		if err != nil {
			return
		}
		w.mu.Lock()
		w.written.Write(buffer[:n])
		reply := w.screen.Write(string(buffer[:n]))
		w.mu.Unlock()
		if reply != "" {
			_, _ = w.keyboard.WriteString(reply) // nobody listens when it is closed
		}
	}
}

func (w *Window) setSize(width, height int) {
	w.t.Helper()
	if err := pty.Setsize(w.TTY, &pty.Winsize{Rows: uint16(height), Cols: uint16(width)}); err != nil {
		w.t.Fatal(err)
	}
}

// Reflows has rows wrapped anew when the width changes, as most terminals do; else they are cut, as in xterm.
func (w *Window) Reflows(yes bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.screen.Reflows = yes
}

// Resize changes the window's size. A program that was started in it is told; this process is not.
func (w *Window) Resize(width, height int) {
	w.mu.Lock()
	w.screen.Resize(width, height)
	w.mu.Unlock()
	w.setSize(width, height)
}

// Start runs a program in the window, which becomes its terminal.
func (w *Window) Start(cmd *exec.Cmd) {
	w.t.Helper()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = w.TTY, w.TTY, w.TTY
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
}

// Type types keys.
func (w *Window) Type(keys string) {
	w.t.Helper()
	if _, err := w.keyboard.WriteString(keys); err != nil {
		w.t.Fatal(err)
	}
}

// Paste pastes a text, as a terminal does that was asked to tell pastes from keys.
func (w *Window) Paste(text string) { w.Type("\x1b[200~" + text + "\x1b[201~") }

// Screen gives the rows on the screen, with ‸ where the cursor is.
func (w *Window) Screen() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.screen.Screen(true)
}

// All gives the lines that a user can copy, of what has scrolled away and what is on the screen.
func (w *Window) All() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.screen.All()
}

// Written is all that was written to the window.
func (w *Window) Written() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.written.String()
}

// Shows waits until the screen ends with rows, in which ‸ is the cursor.
func (w *Window) Shows(rows string) {
	w.t.Helper()
	w.until(fmt.Sprintf("%q", rows), func() bool { return strings.HasSuffix("\n"+w.Screen(), "\n"+rows) })
}

// ShowsText waits until some text is on the screen.
func (w *Window) ShowsText(text string) {
	w.t.Helper()
	w.until(fmt.Sprintf("%q somewhere", text), func() bool { return strings.Contains(w.Screen(), text) })
}

// Lacks waits until some text is gone, from the screen and from what has scrolled away.
func (w *Window) Lacks(text string) {
	w.t.Helper()
	w.until(fmt.Sprintf("no %q", text), func() bool { return !strings.Contains(w.All(), text) })
}

func (w *Window) until(what string, is func() bool) {
	w.t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("want %s on the screen, which is\n%s", what, w.Screen())
		}
	}
}
