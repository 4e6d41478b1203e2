package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit codes, as scripts know them.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130
)

// usageError is a fault of the command line.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// flagError makes an error of pflag fit to be read: which function of Go's failed to parse a number is nobody's matter.
func flagError(err error) error {
	var number *strconv.NumError
	if !errors.As(err, &number) {
		return err
	}
	return errors.New(strings.Replace(err.Error(), number.Error(), number.Err.Error(), 1))
}

// wantArgs turns cobra's own check of the arguments into a usage error.
func wantArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usagef("%s: %w; see %s --help", cmd.CommandPath(), err, cmd.CommandPath())
		}
		return nil
	}
}

// signalError is the cause of a context that a signal cancelled.
type signalError struct{ signal os.Signal }

func (e signalError) Error() string { return "interrupted" }

// interrupts turns the first SIGINT or SIGTERM into the end of a context, so that what runs can end in order. A second
// one ends the process at once. A command may take SIGINT for itself for a while (divert).
type interrupts struct {
	mu      sync.Mutex
	instead func() // guarded by mu; what a SIGINT does, if not nil
	signals chan os.Signal
}

// divert has SIGINT call f instead, until restore is called.
func (i *interrupts) divert(f func()) (restore func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	before := i.instead
	i.instead = f
	return func() {
		i.mu.Lock()
		defer i.mu.Unlock()
		i.instead = before
	}
}

// diverted calls what a command wants SIGINT to do and says whether there is such a thing.
func (i *interrupts) diverted() bool {
	i.mu.Lock()
	f := i.instead
	i.mu.Unlock()
	if f == nil {
		return false
	}
	f()
	return true
}

// also has more signals end the context.
func (i *interrupts) also(more ...os.Signal) { signal.Notify(i.signals, more...) }

// raise does what a signal would do.
func (i *interrupts) raise(s os.Signal) {
	select {
	case i.signals <- s:
	default: // there is one
	}
}

// watch gives a context that ends with a signal, and a function that ends the watching.
func (i *interrupts) watch(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	i.signals = make(chan os.Signal, 1)
	signal.Notify(i.signals, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case s := <-i.signals:
				if s == os.Interrupt && i.diverted() {
					continue
				}
				signal.Stop(i.signals)
				cancel(signalError{s})
				return
			case <-ctx.Done():
				return
			}
		}
	}()
	return ctx, func() {
		signal.Stop(i.signals)
		cancel(context.Canceled)
		<-done
	}
}

// interrupted says which signal cancelled the context, if one did.
func interrupted(ctx context.Context) (os.Signal, bool) {
	var s signalError
	if errors.As(context.Cause(ctx), &s) {
		return s.signal, true
	}
	return nil, false
}

// report prints an error as one line and gives the exit code. Whatever failed after a signal failed because of it.
func report(ctx context.Context, w io.Writer, err error) int {
	s, signalled := interrupted(ctx)
	switch {
	case signalled && (err != nil || s == os.Interrupt):
		return exitInterrupted
	case err == nil:
		return exitDone
	}
	fmt.Fprintf(w, "baichuan-node: %s\n", oneLine(err.Error()))
	var usage usageError
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailed
}

// oneLine folds an error into a line: scripts read errors by lines.
func oneLine(s string) string {
	return strings.Join(strings.Fields(strings.ReplaceAll(s, "\n", "; ")), " ")
}
