package main

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/baichuan-node/baichuan-node/node"
)

// serving is how a serve process of a home can be told to pause: its file in the home's run folder. Who can read the file,
// which is the user alone, knows the secret.
type serving struct {
	PID    int    `json:"pid"`
	URL    string `json:"url"` // on loopback
	Secret string `json:"secret"`
	Peer   string `json:"peer"`
	Model  string `json:"model"` // its name
	Layers string `json:"layers"`

	file string
}

// peerHeader in an answer says which peer gives it: another process may have the port of one that has crashed.
const peerHeader = "Baichuan-Peer"

// holdable is a node as pause and resume see it.
type holdable interface {
	Pause(context.Context) error
	Resume(context.Context) error
	Stats() node.Stats
}

// control does in a serve process what pause and resume ask for.
type control struct {
	self   serving
	node   holdable
	server *http.Server
	served chan error
}

// heard is a line of the answer to pause and resume. The last one has Done or an Error.
type heard struct {
	Sessions int    `json:"sessions"`
	Done     bool   `json:"done,omitempty"`
	Error    string `json:"error,omitempty"`
}

// openControl lets pause and resume find this process until close is called; moved tells them of other layers. A node
// without that, in a home that can't be written to, serves all the same.
func openControl(n holdable, log *slog.Logger, s serving) (moved func(layers string), close func() error) {
	c, err := newControl(n, s)
	if err != nil {
		log.Warn("pause and resume will not find this process", "error", err)
		return func(string) {}, func() error { return nil }
	}
	return func(layers string) {
		now := c.self
		now.Layers = layers
		if err := now.write(); err != nil {
			log.Warn("pause and resume show the layers that this process served before", "error", err)
		}
	}, c.close
}

// newControl listens for pause and resume of the same home until close is called. s names the process.
func newControl(n holdable, s serving) (*control, error) {
	home, err := homeDir()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(home, runDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make a folder for running processes: %w", err)
	}
	_, _ = runningServes(home) // what killed processes have left goes; where it can't, pause says so
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for pause and resume: %w", err)
	}
	s.PID, s.URL, s.Secret = os.Getpid(), "http://"+l.Addr().String(), rand.Text()
	s.file = filepath.Join(dir, fmt.Sprintf("serve-%d.json", s.PID))
	c := &control{self: s, node: n, served: make(chan error, 1)}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /pause", c.pause)
	mux.HandleFunc("POST /resume", c.resume)
	c.server = &http.Server{Handler: c.only(mux), ReadHeaderTimeout: controlTimeout}
	go func() { c.served <- c.server.Serve(l) }()
	if err := s.write(); err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

// write writes the file by rename: whoever sees it sees all of it. It is the user's alone to read.
func (s serving) write() error {
	data, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("tell pause of this process: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(s.file), ".serve-") // mode 0600
	if err != nil {
		return fmt.Errorf("tell pause of this process: %w", err)
	}
	_, err = f.Write(append(data, '\n'))
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), s.file)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("tell pause of this process: %w", err), ignoreMissing(os.Remove(f.Name())))
	}
	return nil
}

// close ends the listening, and whatever is being answered.
func (c *control) close() error {
	err := errors.Join(ignoreMissing(os.Remove(c.self.file)), c.server.Close())
	if served := <-c.served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// only lets those in who know the secret.
func (c *control) only(h http.Handler) http.Handler {
	want := []byte("Bearer " + c.self.Secret)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), want) != 1 {
			http.Error(w, "unknown", http.StatusUnauthorized)
			return
		}
		w.Header().Set(peerHeader, c.self.Peer)
		h.ServeHTTP(w, r)
	})
}

// pause drains the node, and tells how many sessions are left until it is done, the time that the asker gives is over, or
// somebody has resumed it. The node holds in any case.
func (c *control) pause(w http.ResponseWriter, r *http.Request) {
	timeout, err := time.ParseDuration(r.URL.Query().Get("timeout"))
	if err != nil || timeout <= 0 {
		http.Error(w, "timeout: want a duration", http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), timeout)
	defer cancel()
	c.answer(w, func() error { return c.node.Pause(ctx) })
}

// resume has the node offer itself again.
func (c *control) resume(w http.ResponseWriter, r *http.Request) {
	c.answer(w, func() error { return c.node.Resume(r.Context()) })
}

// answer tells how many sessions there are, then does something and tells again and again until it is done.
func (c *control) answer(w http.ResponseWriter, do func() error) {
	tell := json.NewEncoder(w)
	flush := http.NewResponseController(w)
	progress := func() {
		_ = tell.Encode(heard{Sessions: c.node.Stats().Sessions}) // who is gone does not hear it
		_ = flush.Flush()
	}
	progress()
	done := make(chan error, 1)
	go func() { done <- do() }() // it is waited for
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			last := heard{Sessions: c.node.Stats().Sessions, Done: err == nil}
			if err != nil {
				last.Error = oneLine(err.Error())
			}
			_ = tell.Encode(last)
			return
		case <-tick.C:
			progress()
		}
	}
}
