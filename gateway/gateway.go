// Package gateway is the front door: OpenAI's HTTP API, and Ollama's, over models that a swarm computes.
//
// A [Server] checks requests, turns them into prompts, has each answered by a session out of a pool, so that the next
// turn of a conversation finds its cache, and writes what comes in the form that was asked for. It may listen itself
// ([Server.Serve]) or be a part of another server, as it is an http.Handler.
//
// Requests are strangers' until their key is known. What computes is behind [Model]; nothing in here computes, plans or
// dials.
package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/baichuan-node/baichuan-node/client"
	"github.com/baichuan-node/baichuan-node/gateway/web"
	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
)

// Model is a model and what computes it: a *client.Client, or a whole model in this process.
type Model interface {
	Model() *client.Model
	NewSession(cfg client.SessionConfig) client.Stepper
}

// Directory knows who serves: a *routing.Directory.
type Directory interface {
	Offers(ctx context.Context, model protocol.ModelID) ([]routing.Seen, error)
	AskPeers(ctx context.Context, peers []protocol.PeerID) []routing.Told
	Known(model protocol.ModelID) []routing.Seen
	Measures() routing.Measures
}

// Config says what a Server answers with, and whom.
type Config struct {
	// Models are at least one; no two have the same name.
	Models []Model

	// Directory tells who serves the models, for /api/swarm. nil: nobody does.
	Directory Directory

	// Demo lets whoever looks at the map kill peers and start others. nil: nobody may.
	Demo Demo

	// Private says that who joins the swarm needs its key.
	Private bool

	// Keys is the file of the keys that clients must show, nil: everybody may ask. Then a request must name an address,
	// localhost or one of Hosts as its host, so that no name of a stranger's domain leads a browser here.
	Keys  *Keys
	Hosts []string

	// Origins are those of pages from elsewhere that may ask, such as https://chat.example; "*" is all.
	Origins []string

	// MaxRequests is how many requests are answered at once; others get 503. 0: 128.
	MaxRequests int

	// Process is what /metrics tells of the process beside the server, and the map of its version. The zero value: nothing.
	Process Process

	// Log gets a line for each request, without its text. nil: nothing is logged.
	Log *slog.Logger
}

// Validate reports everything that is wrong with c.
func (c *Config) Validate() error {
	var errs []error
	if len(c.Models) == 0 {
		errs = append(errs, errors.New("no model to answer with"))
	}
	names := make(map[string]bool)
	for _, m := range c.Models {
		name := strings.ToLower(m.Model().Name)
		if names[name] {
			errs = append(errs, fmt.Errorf("two models have the name %s", m.Model().Name))
		}
		names[name] = true
	}
	if c.MaxRequests < 0 {
		errs = append(errs, fmt.Errorf("%d requests at once, want 1 or more", c.MaxRequests))
	}
	for _, o := range c.Origins {
		if !IsOrigin(o) {
			errs = append(errs, fmt.Errorf("origin %q: want one like https://chat.example, or *", o))
		}
	}
	return errors.Join(errs...)
}

// Server answers requests. It is safe for concurrent use.
type Server struct {
	cfg     Config
	log     *slog.Logger
	started time.Time
	models  []*served
	routes  map[string]*route
	pages   *web.Pages
	metrics *metrics
	swarm   *swarmView
	slots   chan struct{} // one for each request that is being answered

	watchers chan struct{}   // one for each page that watches the swarm
	leaving  context.Context // ends when those are to leave
	leave    context.CancelFunc

	stop     context.CancelFunc // ends watching
	watching sync.WaitGroup
}

// served is a model with its pool of sessions.
type served struct {
	*client.Model
	pool *pool
	feed *feed
}

// New makes a Server. Whoever makes one must Close it, after the last request.
func New(cfg Config) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.MaxRequests == 0 {
		cfg.MaxRequests = maxRequests
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		cfg: cfg, log: cfg.Log, started: time.Now(), slots: make(chan struct{}, cfg.MaxRequests),
		pages: web.New(), watchers: make(chan struct{}, maxWatchers),
	}
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.leaving, s.leave = context.WithCancel(ctx)
	s.swarm = newSwarmView(ctx, cfg.Directory, &s.watching)
	s.metrics = newMetrics(s)
	for _, m := range cfg.Models {
		known := m.Model()
		room := func() (int, bool) { return s.swarm.room(known.ID, known.Manifest.Layers) }
		s.models = append(s.models, &served{Model: known, pool: newPool(m, s.metrics.sessions, room), feed: newFeed()})
	}
	s.routes = s.makeRoutes()
	if cfg.Directory != nil {
		for _, m := range s.models {
			s.watching.Go(func() { s.watch(ctx, m) })
		}
	}
	return s, nil
}

// Close ends the sessions that are kept for later, at the peers too.
func (s *Server) Close() error {
	s.stop()
	s.watching.Wait()
	var errs []error
	for _, m := range s.models {
		errs = append(errs, m.pool.close())
	}
	return errors.Join(errs...)
}

// Serve answers on a listener until ctx ends. Answers that run then have some seconds to come to their end.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	base, abort := context.WithCancel(context.WithoutCancel(ctx))
	defer abort()
	server := &http.Server{
		Handler: s, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		BaseContext: func(net.Listener) context.Context { return base },
		ErrorLog:    slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
	server.RegisterOnShutdown(s.leave) // pages that watch the swarm would stay for ever
	var stopping sync.WaitGroup
	stopping.Add(1)
	stop := context.AfterFunc(ctx, func() {
		defer stopping.Done()
		leaving, cancel := context.WithTimeout(base, leaveTimeout)
		defer cancel()
		if server.Shutdown(leaving) != nil {
			abort()
			s.drained(server)
		}
	})
	err := server.Serve(l)
	if stop() { // it failed before ctx ended
		stopping.Done()
		abort()
		return errors.Join(fmt.Errorf("answer requests: %w", err), server.Close())
	}
	stopping.Wait()
	return nil
}

// drained waits for the ends of the requests that were cut off, so that nothing uses a session any more.
func (s *Server) drained(server *http.Server) {
	again, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	if server.Shutdown(again) != nil {
		_ = server.Close() // what still hangs are connections without a request
	}
}

// find gives the model that a request names: by name, by id, or by the first 8 or more digits of that.
func (s *Server) find(name string) *served {
	for _, m := range s.models {
		id := m.ID.String()
		if strings.EqualFold(name, m.Name) || len(name) >= 8 && strings.HasPrefix(id, strings.ToLower(name)) {
			return m
		}
	}
	return nil
}
