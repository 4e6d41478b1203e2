// Package launch starts nodes as processes of their own on this machine, waits until they accept requests, and stops
// them again: for `demo` and for simulations.
//
// No child outlives its parent, not even one that was killed: each child holds the reading end of a pipe as its
// standard input and leaves when that ends (see [UntilClosed]), which the operating system sees to. Children run in a
// process group of their own, so that Ctrl-C in a terminal reaches the parent alone, which then stops them in order.
//
// It knows processes and the files by which they announce themselves; inference has no place here.
package launch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Config says how patient a Group is. The zero value of a field is its default.
type Config struct {
	// ReadyTimeout is how long a process may take from its start to its ready file: long enough to load its layers.
	// Default 2 minutes.
	ReadyTimeout time.Duration
	// Grace is how long processes that were asked to leave may take before they are killed. Default 10 s.
	Grace time.Duration
}

// Command is a process to start.
type Command struct {
	// Name is what errors call it, such as "node 2 (layers 4:8)".
	Name string
	// Binary is the program's path.
	Binary string
	// Args are its arguments, such as serve, a model and --layers. --ready-file and --until-stdin-closes are added.
	Args []string
	// Env is added to the parent's environment, of which the process does not get the variables named in Without.
	Env, Without []string
	// Stderr gets what the process writes to its standard error; nil: only the last lines are kept, for errors.
	Stderr io.Writer
}

// Group is the processes that were started together. It is safe for concurrent use. Whoever makes one must Stop it.
type Group struct {
	cfg Config
	dir string // holds the ready files

	mu        sync.Mutex
	stopped   bool
	processes []*Process // in the order of their starts
}

// NewGroup makes an empty group, and a temporary folder for its ready files.
func NewGroup(cfg Config) (*Group, error) {
	if cfg.ReadyTimeout == 0 {
		cfg.ReadyTimeout = readyTimeout
	}
	if cfg.Grace == 0 {
		cfg.Grace = stopGrace
	}
	dir, err := os.MkdirTemp("", "baichuan-launch-")
	if err != nil {
		return nil, fmt.Errorf("make a folder for ready files: %w", err)
	}
	return &Group{cfg: cfg, dir: dir}, nil
}

// Process is a started child.
type Process struct {
	cfg       Config
	name      string
	readyFile string
	started   time.Time
	cmd       *exec.Cmd
	stdin     io.Closer // the child leaves when this is closed
	tail      *tail

	exited chan struct{}
	err    error // of Wait; set before exited is closed
}

// inherited gives what the process gets of the parent's environment.
func (c *Command) inherited() []string {
	return slices.DeleteFunc(os.Environ(), func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		return slices.Contains(c.Without, name)
	})
}

// Start starts a process and does not wait until it is ready.
func (g *Group) Start(c Command) (*Process, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stopped {
		return nil, fmt.Errorf("start %s: the group has been stopped", c.Name)
	}
	p := &Process{
		cfg: g.cfg, name: c.Name, started: time.Now(), exited: make(chan struct{}),
		readyFile: filepath.Join(g.dir, fmt.Sprintf("ready-%d.json", len(g.processes))),
		tail:      &tail{next: c.Stderr},
	}
	args := append(slices.Clone(c.Args), "--ready-file", p.readyFile, "--until-stdin-closes")
	p.cmd = exec.Command(c.Binary, args...)
	p.cmd.Env = append(c.inherited(), c.Env...)
	p.cmd.Stderr = p.tail
	p.cmd.WaitDelay = pipeDelay
	p.cmd.SysProcAttr = ownGroup()
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Name, err)
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Name, err)
	}
	p.stdin = stdin
	go func() { // ends with the child; Stop waits for it
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
	g.processes = append(g.processes, p)
	return p, nil
}

// Stop asks all processes to leave, the last started first, kills those that have not left after the grace, and
// waits until all are gone. Another call does nothing.
func (g *Group) Stop() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stopped {
		return nil
	}
	g.stopped = true
	for _, p := range slices.Backward(g.processes) {
		p.ask()
	}
	grace := time.NewTimer(g.cfg.Grace)
	defer grace.Stop()
	var errs []error
	late := false
	for _, p := range slices.Backward(g.processes) {
		if !late {
			select {
			case <-p.exited:
				continue
			case <-grace.C:
				late = true
			}
		}
		select {
		case <-p.exited:
		default:
			errs = append(errs, fmt.Errorf("%s did not leave within %v and was killed", p.name, g.cfg.Grace))
			p.Kill()
		}
	}
	if err := os.RemoveAll(g.dir); err != nil {
		errs = append(errs, fmt.Errorf("remove ready files: %w", err))
	}
	return errors.Join(errs...)
}

// Ready waits for the process' ready file and reads it. It fails as soon as the process leaves, with the last lines
// that it wrote to its standard error.
func (p *Process) Ready(ctx context.Context) (Ready, error) {
	timeout := time.NewTimer(time.Until(p.started.Add(p.cfg.ReadyTimeout)))
	defer timeout.Stop()
	poll := time.NewTicker(readyPoll)
	defer poll.Stop()
	for {
		ready, err := readReady(p.readyFile)
		if err == nil {
			return ready, nil
		}
		if !errors.Is(err, os.ErrNotExist) {
			return Ready{}, fmt.Errorf("start %s: %w", p.name, err)
		}
		select {
		case <-poll.C:
		case <-p.exited:
			return Ready{}, fmt.Errorf("start %s: %w", p.name, p.Err())
		case <-timeout.C:
			return Ready{}, fmt.Errorf("start %s: not ready after %v%s", p.name, p.cfg.ReadyTimeout, p.tail.quoted())
		case <-ctx.Done():
			return Ready{}, fmt.Errorf("start %s: %w", p.name, context.Cause(ctx))
		}
	}
}

// PID is the process' id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Exited is closed when the process has left.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Err says how the process left and what it wrote last; nil while it runs.
func (p *Process) Err() error {
	select {
	case <-p.exited:
	default:
		return nil
	}
	how := "exit status 0"
	if p.err != nil {
		how = p.err.Error()
	}
	return fmt.Errorf("it left by itself with %s%s", how, p.tail.quoted())
}

// Kill ends the process at once, as a crash would, and waits until it is gone.
func (p *Process) Kill() {
	// An error means that it has left already.
	_ = p.cmd.Process.Kill()
	<-p.exited
}

// Terminate asks the process to leave, as an operator would, and does not wait.
func (p *Process) Terminate() { p.ask() }

// Pause holds the process up until Resume or Kill: it keeps its connections and says nothing, as one that hangs. On Linux
// it has stopped when this returns.
func (p *Process) Pause() error { return pause(p.cmd.Process) }

// Resume lets a paused process go on.
func (p *Process) Resume() error { return resume(p.cmd.Process) }

// ask tells the process to leave by all means that the platform has. Errors mean that it has left already.
func (p *Process) ask() {
	_ = p.stdin.Close()
	_ = terminate(p.cmd.Process)
}
