package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
)

// input is a message that was typed, or why there will be no more.
type input struct {
	text   string
	quoted bool
	err    error
}

// quotes stand around a message that may have several lines.
const quotes = `"""`

// pipes are a chat's front without a terminal, or with one that can't be drawn on: a line is a message, and nothing but
// answers is written to standard output. A person at a terminal is invited and told what happens; without one, the first
// error ends the chat.
type pipes struct {
	in          io.Reader
	out, errOut io.Writer
	person      bool
	interrupts  *interrupts
	read        chan input
}

// open has the input read. Reading a terminal can't be interrupted: the goroutine that does it may stay in a read until the
// process leaves.
func (p *pipes) open(context.Context, func() string) (closed func() error, err error) {
	p.read = make(chan input)
	done := make(chan struct{})
	go readLines(p.in, p.read, done)
	restore := func() {}
	if p.person {
		restore = p.interrupts.divert(func() { p.note("\n(/exit leaves)"); p.invite() })
	}
	return func() error {
		restore()
		close(done)
		return nil
	}, nil
}

// invite asks a person for the next message.
func (p *pipes) invite() {
	if p.person {
		fmt.Fprint(p.errOut, "> ")
	}
}

func (p *pipes) next(ctx context.Context) (input, error) {
	p.invite()
	select {
	case message, more := <-p.read:
		if !more {
			return input{}, io.EOF
		}
		return message, message.err
	case <-ctx.Done():
		return input{}, ctx.Err()
	}
}

func (p *pipes) note(text string) {
	if p.person {
		p.tell(text + "\n")
	}
}

func (p *pipes) tell(text string) { fmt.Fprint(p.errOut, text) }

func (p *pipes) answer(ctx context.Context, f func(ctx context.Context, w io.Writer, status func(string)) error) error {
	answering, stop := context.WithCancel(ctx)
	defer stop()
	if p.person {
		defer p.interrupts.divert(stop)()
	}
	return f(answering, textWriter(p.out), func(string) {})
}

func (p *pipes) edit(string) (string, error) {
	return "", errors.New("an editor needs a terminal: write \"\"\" before and after a message of several lines")
}

func (p *pipes) mend(err error) bool {
	if p.person {
		p.note("error: " + oneLine(err.Error()))
	}
	return p.person
}

func readLines(in io.Reader, read chan<- input, done <-chan struct{}) {
	defer close(read)
	send := func(i input) bool {
		select {
		case read <- i:
			return true
		case <-done:
			return false
		}
	}
	s := bufio.NewScanner(in)
	s.Buffer(nil, maxLine)
	var q quotation
	for s.Scan() {
		if message, complete := q.take(s.Text()); complete && !send(message) {
			return
		}
	}
	switch err := s.Err(); {
	case err != nil:
		send(input{err: fmt.Errorf("read a message: %w", err)})
	case q.open: // the end of the input ends it as well
		send(q.message())
	}
}

// quotation puts the lines of a quoted message together. The quotes stand before its first line and behind its last
// one, or on lines of their own.
type quotation struct {
	open  bool
	lines []string
}

// take adds a line and gives the message that is complete with it.
func (q *quotation) take(line string) (message input, complete bool) {
	if !q.open {
		rest, quoted := strings.CutPrefix(strings.TrimSpace(line), quotes)
		if !quoted {
			return input{text: line}, true
		}
		q.open, line = true, rest
		if line == "" {
			return input{}, false
		}
	}
	last, closed := strings.CutSuffix(strings.TrimRight(line, " \t\r"), quotes)
	if !closed {
		q.lines = append(q.lines, line)
		return input{}, false
	}
	if last != "" {
		q.lines = append(q.lines, last)
	}
	return q.message(), true
}

// message gives the message so far and begins anew.
func (q *quotation) message() input {
	m := input{text: strings.Join(q.lines, "\n"), quoted: true}
	*q = quotation{}
	return m
}
