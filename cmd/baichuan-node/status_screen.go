package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// Control sequences of a terminal.
const (
	screenBegin = "\x1b[?25l\x1b[?7l\x1b[2J" // no cursor, cut long lines instead of going on below, empty
	screenEnd   = "\x1b[?7h\x1b[?25h"
	screenHome  = "\x1b[H"
	lineEnd     = "\x1b[K" // empty the rest of the line
	restEmpty   = "\x1b[J" // and all below
)

// screen shows a swarm on a terminal, each time in place of the last.
type screen struct {
	text  *textStatus
	begun bool
}

func newScreen(out io.Writer, counters bool) *screen {
	return &screen{text: newTextStatus(out, out, counters)}
}

func (s *screen) show(all []swarmStatus) error { return s.draw(s.text.text(all)) }

func (s *screen) fail(err error) error {
	return s.draw(s.text.red(oneLine(err.Error())) + "\n")
}

// draw writes lines over those that are there, as many as there is room for.
func (s *screen) draw(text string) error {
	var lines int
	s.text.width, lines = terminalSize(s.text.out)
	all := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	all = append([]string{time.Now().Format("15:04:05") + "  Ctrl-C leaves", ""}, all...)
	if more := len(all) - (lines - 1); more > 0 && lines > 2 {
		all = append(all[:lines-2], fmt.Sprintf("... and %d lines more", more+1))
	}
	var b strings.Builder
	if !s.begun {
		b.WriteString(screenBegin)
		s.begun = true
	}
	b.WriteString(screenHome)
	for _, line := range all {
		b.WriteString(line + lineEnd + "\r\n")
	}
	b.WriteString(restEmpty)
	return s.write(b.String())
}

// end gives the terminal back, with the last picture on it.
func (s *screen) end() error {
	if !s.begun {
		return nil
	}
	return s.write(screenEnd)
}

func (s *screen) write(text string) error {
	if _, err := io.WriteString(s.text.out, text); err != nil {
		return fmt.Errorf("draw the status: %w", err)
	}
	return nil
}
