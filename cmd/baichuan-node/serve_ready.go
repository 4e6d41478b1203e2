package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/baichuan-node/baichuan-node/node/launch"
	"github.com/baichuan-node/baichuan-node/protocol"
)

// ready tells whoever waits that requests are accepted, and why these layers were chosen.
func (f *serveFlags) ready(h *hosting, span protocol.Span, why, metrics string, opened *closers) error {
	s, model := h.swarm, h.cfg.Model
	id := s.host.ID().String()
	moved, end := openControl(h.running(), h.log, serving{Peer: id, Model: model.Name, Layers: span.String()})
	opened.closes(end)
	h.moved = moved
	r := launch.Ready{Peer: id, Model: model.ID.String(), Layers: span.String(), PID: os.Getpid(), Metrics: metrics}
	for _, addr := range s.host.Addrs() {
		r.Addrs = append(r.Addrs, addr.String()+"/p2p/"+id)
	}
	version, commit := buildVersion()
	h.log.Info("this node serves", "layers", r.Layers, "model", model.Name, "model_id", r.Model, "peer", id, "addrs", r.Addrs,
		"metrics", metrics, "version", version, "commit", commit)
	out := h.cmd.OutOrStdout()
	fmt.Fprintf(out, "serving layers %s of %s (%s)\n", r.Layers, model.Name, r.Model)
	if why != "" {
		fmt.Fprintf(out, "  of %d layers: %s\n", model.Manifest.Layers, why)
	}
	for _, addr := range r.Addrs {
		fmt.Fprintf(out, "  --join %s\n", addr)
	}
	if f.readyFile == "" {
		return nil
	}
	if err := launch.WriteReady(f.readyFile, r); err != nil {
		return err
	}
	opened.closes(func() error { return removeIfThere(f.readyFile) })
	return nil
}

// listenMetrics takes the address for metrics, before layers are fetched and loaded: it may be in use.
func listenMetrics(addr string, opened *closers) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("serve metrics: %w: name another address by --metrics", err)
	}
	opened.closes(func() error {
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	})
	return l, nil
}

// serveMetrics answers on a listener until end is called.
func serveMetrics(l net.Listener, handler http.Handler) (url string, end func() error) {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", handler)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	return "http://" + l.Addr().String() + "/metrics", func() error {
		err := server.Close()
		if served := <-done; !errors.Is(served, http.ErrServerClosed) {
			err = errors.Join(err, served)
		}
		return err
	}
}

// removeStale removes the ready file of a process that was killed: who waits for it would take it for this one's.
func removeStale(path string) error {
	if info, err := os.Lstat(path); err != nil || !info.Mode().IsRegular() {
		return nil // whatever it is, writing the file will tell
	}
	return removeIfThere(path)
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the ready file: %w", err)
	}
	return nil
}
