package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/baichuan-node/baichuan-node/terminal"
)

// newFront picks what a command's chat talks through.
func newFront(cmd *cobra.Command, a *app) front {
	in, inFile := cmd.InOrStdin().(*os.File)
	out, outFile := cmd.OutOrStdout().(*os.File)
	if !inFile || !outFile || !terminal.IsSmart(in, out) {
		return &pipes{
			in: cmd.InOrStdin(), out: cmd.OutOrStdout(), errOut: cmd.ErrOrStderr(), person: isTerminal(cmd.InOrStdin()),
			interrupts: &a.interrupts,
		}
	}
	keep := true
	if f := cmd.Flags().Lookup("history"); f != nil {
		keep = f.Value.String() == "true"
	}
	return &console{in: in, out: out, app: a, keep: keep}
}

// console is a chat's front at a terminal.
type console struct {
	in, out  *os.File
	app      *app
	keep     bool // the history, in the home
	terminal *terminal.Terminal
	last     func() string
}

const leaveHint = "(Ctrl-D or /exit leaves)"

func (c *console) open(ctx context.Context, last func() string) (closed func() error, err error) {
	history, err := c.history()
	if err != nil {
		return nil, err
	}
	c.last = last
	c.terminal, err = terminal.Open(c.in, c.out, terminal.Config{
		Colours: os.Getenv("NO_COLOR") == "", History: history, Complete: completeCommand, Unfinished: unfinished, Leave: leaveHint,
	})
	if err != nil {
		return nil, err
	}
	c.app.interrupts.also(syscall.SIGHUP, syscall.SIGQUIT)
	undivert := c.app.interrupts.divert(func() { c.terminal.Note(leaveHint) })
	unnotice := c.app.notices.divert(c.terminal.Note)
	unhook := context.AfterFunc(ctx, func() { _ = c.terminal.Restore() }) // now, should the rest take its time; Close tells
	return func() error {
		unhook()
		undivert()
		err := c.terminal.Close()
		unnotice()
		return err
	}, nil
}

// history opens what was written in earlier chats.
func (c *console) history() (*terminal.History, error) {
	if !c.keep {
		return terminal.NewHistory(), nil
	}
	home, err := homeDir()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(home, 0o755); err != nil {
		return nil, fmt.Errorf("make the home directory: %w", err)
	}
	return terminal.OpenHistory(filepath.Join(home, "chat-history"))
}

func (c *console) next(ctx context.Context) (input, error) {
	for {
		m, err := c.terminal.Read(ctx)
		switch {
		case errors.Is(err, terminal.ErrQuit):
			c.app.interrupts.raise(syscall.SIGQUIT)
			return input{}, err
		case err != nil:
			return input{}, err
		}
		if command, rest := splitCommand(m.Text); command == "/edit" && rest == "" && !m.Pasted && c.last() != "" {
			c.terminal.Write("/edit " + c.last())
			continue
		}
		return messageOf(m), nil
	}
}

// messageOf takes the quotes from around a message.
func messageOf(m terminal.Message) input {
	var q quotation
	all := strings.Split(m.Text, "\n")
	for i, line := range all {
		message, complete := q.take(line)
		if complete && i+1 == len(all) && message.quoted {
			return message
		}
		if complete {
			break // what comes after the quotes belongs to the message as well
		}
	}
	return input{text: m.Text, quoted: m.Pasted}
}

// unfinished says that a quoted message has no end yet.
func unfinished(text string) bool {
	var q quotation
	for line := range strings.SplitSeq(text, "\n") {
		q.take(line)
	}
	return q.open
}

func (c *console) note(text string) { c.terminal.Note(text) }
func (c *console) tell(text string) { c.terminal.Note(text) }

func (c *console) answer(ctx context.Context, f func(ctx context.Context, w io.Writer, status func(string)) error) error {
	answering, stop := context.WithCancel(ctx)
	defer stop()
	defer c.app.interrupts.divert(stop)()
	a := c.terminal.Answer(stop)
	defer a.End()
	return f(answering, a, a.Status)
}

func (c *console) mend(err error) bool {
	c.terminal.Note("error: " + oneLine(err.Error()))
	return true
}

// completeCommand completes a command's name, and the name of a file where a command wants one.
func completeCommand(text string) (ways []string) {
	command, rest, more := strings.Cut(text, " ")
	if !strings.HasPrefix(command, "/") || strings.Contains(text, "\n") {
		return nil
	}
	for _, k := range chatCommands() {
		for _, name := range k.names {
			switch {
			case !more && strings.HasPrefix(name, command):
				if k.args != "" {
					name += " "
				}
				ways = append(ways, name)
			case more && name == command && k.file:
				for _, path := range completePath(strings.TrimLeft(rest, " ")) {
					ways = append(ways, command+" "+path)
				}
			}
		}
	}
	return ways
}

// completePath lists the files whose names begin like path.
func completePath(path string) (ways []string) {
	dir, begin := filepath.Split(path)
	entries, err := os.ReadDir(filepath.Join(dir, "."))
	if err != nil {
		return nil
	}
	for _, e := range entries {
		name := e.Name()
		if !strings.HasPrefix(name, begin) || begin == "" && strings.HasPrefix(name, ".") {
			continue
		}
		if e.IsDir() {
			name += string(filepath.Separator)
		}
		ways = append(ways, dir+name)
	}
	return ways
}
