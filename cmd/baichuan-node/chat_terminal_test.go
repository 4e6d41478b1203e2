//go:build unix

package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/term"

	"github.com/baichuan-node/baichuan-node/terminal/terminaltest"
)

// chatProgram is a chat as a program of its own.
func chatProgram(t *testing.T, ctx context.Context, home, join string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, self, append([]string{"chat", "--join", join, "--temperature", "0"}, args...)...)
	cmd.Env = append(os.Environ(), asProgram+"=1", "BAICHUAN_HOME="+home, "TERM=xterm-256color", "NO_COLOR=1", "VISUAL=", "EDITOR=sed -i -e s/x/你好/")
	return cmd
}

// exitCode waits for a program.
func exitCode(t *testing.T, cmd *exec.Cmd) int {
	t.Helper()
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode()
}

func TestChat_InATerminal(t *testing.T) {
	home := newHome(t)
	_, node := newProcesses(t).serve(home, chatModel, "0:6")
	join := node.Addrs[0]
	piped, _ := talk(t, join, "你好\n/exit\n", "--max-tokens", "40", "--ignore-eos=false")

	t.Run("what one says and hears", func(t *testing.T) {
		w := terminaltest.NewWindow(t, 60, 12)
		cmd := chatProgram(t, t.Context(), home, join, "--max-tokens", "40")
		w.Start(cmd)
		w.Shows("Chat with " + chatModel + ". /help tells what there is\nbeside talking.\n> ‸")
		w.Type("你好\r")
		w.Shows("> 你好\n" + piped[0] + "\n> ‸")
		w.Type("/sta\t\r")
		w.ShowsText("ended by stop")
		w.ShowsText("layers 0:6")
		w.Type("/edit\r")
		w.Shows("> /edit 你好‸")
		w.Type("\x15/clear\r")
		w.Paste("/exit\n你好\n")
		w.Shows("> /exit\n  你好\n  ‸")
		w.Type("\x15\x17\x17\x17\x15\x15/vim x\r") // what was pasted is taken out again
		w.Shows("> 你好\n" + piped[0] + "\n> ‸")
		w.Type("\"\"\"\r/exit\r")
		w.Shows("> \"\"\"\n  /exit\n  ‸")
		w.Type("\x03/exit\r")
		if code := exitCode(t, cmd); code != 0 {
			t.Errorf("/exit gave exit code %d", code)
		}
		info, err := os.Stat(filepath.Join(home, "chat-history"))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the history's mode is %v (%v)", info.Mode(), err)
		}
	})
	for name, leave := range map[string]func(w *terminaltest.Window, p *os.Process) error{
		"SIGTERM": func(_ *terminaltest.Window, p *os.Process) error { return p.Signal(syscall.SIGTERM) },
		"SIGHUP":  func(_ *terminaltest.Window, p *os.Process) error { return p.Signal(syscall.SIGHUP) },
		"SIGQUIT": func(_ *terminaltest.Window, p *os.Process) error { return p.Signal(syscall.SIGQUIT) },
		"Ctrl-\\": func(w *terminaltest.Window, _ *os.Process) error { w.Type("\x1c"); return nil },
	} {
		t.Run("in the middle of an answer leaves by "+name, func(t *testing.T) {
			w := terminaltest.NewWindow(t, 60, 12)
			before, err := term.GetState(int(w.TTY.Fd()))
			if err != nil {
				t.Fatal(err)
			}
			cmd := chatProgram(t, t.Context(), home, join, "--max-tokens", "4000", "--ignore-eos", "--history=false")
			w.Start(cmd)
			w.Shows("beside talking.\n> ‸")
			w.Type("讲一个故事\r")
			w.ShowsText("tokens/s · 0:6 ")
			w.Type("\x03")
			w.Shows("(stopped)\n> ‸") // and goes on
			w.Type("讲一个故事\r")
			w.ShowsText("tokens/s · 0:6 ")
			if err := leave(w, cmd.Process); err != nil {
				t.Fatal(err)
			}
			if code := exitCode(t, cmd); code != exitInterrupted {
				t.Errorf("exit code %d", code)
			}
			after, err := term.GetState(int(w.TTY.Fd()))
			if err != nil || !reflect.DeepEqual(before, after) {
				t.Errorf("the terminal is not as it was (%v)", err)
			}
			w.Lacks("tokens/s")
		})
	}
	t.Run("that can't be drawn on", func(t *testing.T) {
		w := terminaltest.NewWindow(t, 60, 12)
		cmd := chatProgram(t, t.Context(), home, join, "--max-tokens", "40")
		cmd.Env = append(cmd.Env, "TERM=dumb")
		w.Start(cmd)
		w.Shows("> ‸")
		w.Type("你好\r")
		w.Shows(piped[0] + "\n> ‸")
		w.Type("/exit\r")
		if code := exitCode(t, cmd); code != 0 || strings.Contains(w.Written(), "\x1b") {
			t.Errorf("exit code %d, wrote %q", code, w.Written())
		}
	})
}

// tmux is one of the terminals that people really use, and wraps rows anew when a window becomes narrower.
func TestChat_InTmux(t *testing.T) {
	path, err := exec.LookPath("tmux")
	if err != nil {
		t.Skip("this machine lacks tmux")
	}
	home := newHome(t)
	_, node := newProcesses(t).serve(home, chatModel, "0:6")
	dir, err := os.MkdirTemp("", "tmux") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	tmux := func(args ...string) string {
		t.Helper()
		out, err := exec.Command(path, append([]string{"-S", filepath.Join(dir, "s"), "-f", "/dev/null"}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("tmux %q: %v: %s", args, err, out)
		}
		return string(out)
	}
	program := chatProgram(t, t.Context(), home, node.Addrs[0], "--max-tokens", "40")
	session := []string{"-u", "new-session", "-d", "-x", "40", "-y", "12"}
	for _, v := range program.Env[len(os.Environ()):] {
		if !strings.HasPrefix(v, "TERM=") {
			session = append(session, "-e", v)
		}
	}
	tmux(append(session, program.Args...)...)
	defer tmux("kill-server")
	shows := func(want string) {
		t.Helper()
		got := ""
		for range 600 {
			if got = strings.TrimRight(tmux("capture-pane", "-p"), "\n "); strings.HasSuffix(got, want) {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
		t.Fatalf("want %q at the end of\n%s", want, got)
	}
	shows("beside talking.\n>")
	tmux("send-keys", "一二三四五六七八九十一二三四五六七八九十甲", "Left", "Left", "x")
	shows("talking.\n> 一二三四五六七八九十一二三四五六七八九\n  x十甲")
	tmux("resize-window", "-x", "21")
	shows("> 一二三四五六七八九\n  十一二三四五六七八\n  九x十甲")
	tmux("resize-window", "-x", "50")
	shows("talking.\n> 一二三四五六七八九十一二三四五六七八九x十甲")
	tmux("send-keys", "C-a", "C-k", "你好", "Enter")
	shows("吗？\n>")
	if all := tmux("capture-pane", "-p", "-J"); strings.Count(all, "> ") != 2 {
		t.Errorf("something is left of what was drawn before:\n%s", all)
	}
}
