package main

import (
	"bufio"
	"context"
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

// lines reads messages until the input or ctx ends. A message between """ may have several lines. Reading a terminal
// can't be interrupted: the goroutine that does it may stay in a read until the process leaves.
func lines(ctx context.Context, in io.Reader) func(yield func(input) bool) {
	return func(yield func(input) bool) {
		read := make(chan input)
		done := make(chan struct{})
		defer close(done)
		go readLines(in, read, done)
		for {
			select {
			case line, more := <-read:
				if !more || !yield(line) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
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
