package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
)

func newPauseCommand() *cobra.Command {
	var pid int
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "pause",
		Short: "Tell every serve of this home to drain and hold: its sessions go elsewhere, and it takes no new ones",
		Long: "Tells every serve process of this home to withdraw its offer, to take no new sessions, and to hand those that it has\n" +
			"over to other peers; waits until they are gone. The processes stay: resume has them offer themselves again.",
		Args: wantArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if timeout <= 0 {
				return usagef("--timeout %v: want more than 0", timeout)
			}
			all, err := servesToTell(cmd, pid)
			if err != nil {
				return err
			}
			return pauseAll(cmd, all, timeout)
		},
	}
	addPID(cmd, &pid)
	cmd.Flags().DurationVar(&timeout, "timeout", pauseFor, "how long to wait for the sessions to go; new ones are refused in any case")
	return cmd
}

func newResumeCommand() *cobra.Command {
	var pid int
	cmd := &cobra.Command{
		Use:   "resume",
		Short: "Tell every serve of this home that was paused to offer itself again",
		Args:  wantArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := servesToTell(cmd, pid)
			if err != nil {
				return err
			}
			return resumeAll(cmd, all)
		},
	}
	addPID(cmd, &pid)
	return cmd
}

func addPID(cmd *cobra.Command, pid *int) {
	cmd.Flags().IntVar(pid, "pid", 0, "only the process with this id (default: all of this home)")
}

// servesToTell finds the processes that a command is for.
func servesToTell(cmd *cobra.Command, pid int) ([]serving, error) {
	given := cmd.Flags().Changed("pid")
	if given && pid <= 0 {
		return nil, usagef("--pid %d: want the id of a process", pid)
	}
	home, err := homeDir()
	if err != nil {
		return nil, err
	}
	all, err := runningServes(home)
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("no serve is running with the home %s: nothing to %s", home, cmd.Name())
	}
	if !given {
		return all, nil
	}
	var ids []string
	for _, s := range all {
		if s.PID == pid {
			return []serving{s}, nil
		}
		ids = append(ids, fmt.Sprint(s.PID))
	}
	return nil, fmt.Errorf("no serve with process id %d is running with the home %s: there is %s", pid, home, strings.Join(ids, ", "))
}

// runningServes reads which serve processes a home has. What processes left that have ended without a word is removed.
func runningServes(home string) ([]serving, error) {
	files, err := filepath.Glob(filepath.Join(escapeGlob(home), runDir, "serve-*.json"))
	if err != nil {
		return nil, fmt.Errorf("look for running processes: %w", err)
	}
	var all []serving
	for _, file := range files {
		s, err := readServing(file)
		if errors.Is(err, os.ErrNotExist) {
			continue // it has just left
		}
		if err == nil && s.listens() {
			all = append(all, s)
			continue
		}
		if err := ignoreMissing(os.Remove(file)); err != nil {
			return nil, fmt.Errorf("remove what a dead process left: %w", err)
		}
	}
	slices.SortFunc(all, func(a, b serving) int { return a.PID - b.PID })
	return all, nil
}

// escapeGlob makes a folder's name stand for itself in a pattern.
func escapeGlob(dir string) string {
	if os.PathSeparator == '\\' {
		return dir // there is no escaping on Windows, nor * or ? in names
	}
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(dir)
}

// readServing reads a process' file. One that can't be read as such is as good as a dead process'.
func readServing(file string) (serving, error) {
	f, err := os.Open(file)
	if err != nil {
		return serving{}, err
	}
	defer f.Close()
	s := serving{file: file}
	if err := json.NewDecoder(io.LimitReader(f, maxServing)).Decode(&s); err != nil {
		return serving{}, fmt.Errorf("read %s: %w", file, err)
	}
	if u, err := url.Parse(s.URL); err != nil || u.Host == "" || s.PID <= 0 {
		return serving{}, fmt.Errorf("read %s: it lacks an address or a process id", file)
	}
	return s, nil
}

// listens says whether somebody listens at the process' address. One that is held up may not take the call, and listens.
func (s *serving) listens() bool {
	u, err := url.Parse(s.URL)
	if err != nil {
		return false
	}
	conn, err := net.DialTimeout("tcp", u.Host, controlTimeout)
	if err != nil {
		return isTimeout(err)
	}
	return conn.Close() == nil
}

func isTimeout(err error) bool {
	timeout := net.Error(nil)
	return errors.As(err, &timeout) && timeout.Timeout()
}

// String is how a process is told of.
func (s *serving) String() string {
	return fmt.Sprintf("process %d, layers %s of %s, %s", s.PID, s.Layers, s.Model, shortPeer(s.Peer))
}

// errDead says that a file was left by a process that is no more.
var errDead = errors.New("it has ended without a word")

// tell posts to the process, and hands on what it hears until the process is done.
func (s *serving) tell(ctx context.Context, path string, hear func(heard)) (last heard, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL+path, nil)
	if err != nil {
		return last, err
	}
	req.Header.Set("Authorization", "Bearer "+s.Secret)
	transport := &http.Transport{ResponseHeaderTimeout: controlTimeout}
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req)
	if isTimeout(err) {
		return last, fmt.Errorf("it does not answer within %v: is it held up?", controlTimeout)
	}
	if err != nil {
		return last, fmt.Errorf("it does not answer: %w", err)
	}
	defer resp.Body.Close()
	if resp.Header.Get(peerHeader) != s.Peer {
		return last, errors.Join(errDead, ignoreMissing(os.Remove(s.file)))
	}
	if resp.StatusCode != http.StatusOK {
		return last, fmt.Errorf("it answers %s", resp.Status)
	}
	for d := json.NewDecoder(resp.Body); !last.Done; {
		if err := d.Decode(&last); err != nil {
			return last, fmt.Errorf("it has left meanwhile: %w", err)
		}
		if last.Error != "" {
			return last, errors.New(last.Error)
		}
		hear(last)
	}
	return last, nil
}

// pauseAll pauses processes side by side and prints a line of each.
func pauseAll(cmd *cobra.Command, all []serving, timeout time.Duration) error {
	p := &pausing{w: progressWriter(cmd.ErrOrStderr()), sessions: make([]int, len(all))}
	began := time.Now()
	left := eachServe(all, func(i int, s *serving) (string, error) {
		first := -1
		last, err := s.tell(cmd.Context(), "/pause?timeout="+timeout.String(), func(h heard) {
			if first < 0 {
				first = h.Sessions
			}
			p.update(i, h.Sessions)
		})
		switch {
		case err != nil && last.Error != "" && time.Since(began) >= timeout:
			return "", fmt.Errorf("after %v it still has %s, and takes no new ones", timeout, counted(last.Sessions, "session"))
		case err != nil:
			return "", err
		}
		if first <= last.Sessions {
			return "paused", nil
		}
		return fmt.Sprintf("paused, %s went elsewhere", counted(first-last.Sessions, "session")), nil
	})
	p.end()
	return printServes(cmd, all, left)
}

// resumeAll resumes processes side by side and prints a line of each.
func resumeAll(cmd *cobra.Command, all []serving) error {
	ctx, cancel := context.WithTimeout(cmd.Context(), resumeFor)
	defer cancel()
	return printServes(cmd, all, eachServe(all, func(_ int, s *serving) (string, error) {
		_, err := s.tell(ctx, "/resume", func(heard) {})
		return "offers itself again", err
	}))
}

// outcome is what became of one process.
type outcome struct {
	text string
	err  error
}

func eachServe(all []serving, do func(i int, s *serving) (string, error)) []outcome {
	out := make([]outcome, len(all))
	var wg sync.WaitGroup
	for i := range all {
		wg.Go(func() { out[i].text, out[i].err = do(i, &all[i]) })
	}
	wg.Wait()
	return out
}

// printServes prints a line for each process. One that failed is the error; of one that is dead nothing was wanted.
func printServes(cmd *cobra.Command, all []serving, out []outcome) error {
	if err := cmd.Context().Err(); err != nil {
		return err
	}
	var failed []string
	dead := 0
	for i, o := range out {
		switch {
		case errors.Is(o.err, errDead):
			dead++
		case o.err != nil:
			failed = append(failed, fmt.Sprintf("%v: %v", &all[i], o.err))
		default:
			if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%v: %s\n", &all[i], o.text); err != nil {
				return err
			}
		}
	}
	if dead == len(all) {
		return fmt.Errorf("no serve is running any more: nothing to %s", cmd.Name())
	}
	if len(failed) > 0 {
		return errors.New(strings.Join(failed, "; "))
	}
	return nil
}

// pausing shows on a terminal how many sessions are still to go.
type pausing struct {
	w io.Writer

	mu       sync.Mutex
	sessions []int // guarded by mu; at each process
}

func (p *pausing) update(i, sessions int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sessions[i] = sessions
	sum := 0
	for _, n := range p.sessions {
		sum += n
	}
	fmt.Fprintf(p.w, "\r%s to go elsewhere ...\x1b[K", counted(sum, "session"))
}

// end empties the line.
func (p *pausing) end() { fmt.Fprint(p.w, "\r\x1b[K") }
