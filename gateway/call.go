package gateway

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/baichuan-node/baichuan-node/gateway/web"
)

// call is a request that is being answered.
type call struct {
	w       http.ResponseWriter
	r       *http.Request
	control *http.ResponseController
	route   *route // nil: there is none
	key     *key   // nil: none is needed
	status  int    // of the answer; 0: nothing has been written
	read    bool   // the body has been
	release func() // it does not count against its key's limits any more
	slot    bool   // it counts among the requests that are being answered

	id      string // that the client is told, and the log says
	started time.Time
	told    tally
}

// route is what is at a path.
type route struct {
	path   string
	method string // GET, which includes HEAD, or POST
	handle func(*call) error
	ollama bool // errors have Ollama's form
}

func (s *Server) makeRoutes() map[string]*route {
	routes := make(map[string]*route)
	all := []*route{
		{path: "/healthz", method: "GET", handle: s.health},
		{path: "/metrics", method: "GET", handle: s.serveMetrics},
		{path: "/v1/models", method: "GET", handle: s.listModels},
		{path: modelPath, method: "GET", handle: s.showModel},
		{path: "/v1/chat/completions", method: "POST", handle: s.chatCompletions},
		{path: "/v1/completions", method: "POST", handle: s.completions},
		{path: "/v1/embeddings", method: "POST", handle: s.embeddings},
		{path: "/api/swarm", method: "GET", handle: s.showSwarm},
		{path: "/api/swarm/events", method: "GET", handle: s.watchSwarm},
		{path: "/api/tags", method: "GET", handle: s.ollamaTags, ollama: true},
		{path: "/api/chat", method: "POST", handle: s.ollamaChat, ollama: true},
		{path: "/api/generate", method: "POST", handle: s.ollamaGenerate, ollama: true},
		{path: "/", method: "GET", handle: s.page},
		{path: "/swarm", method: "GET", handle: s.page},
		{path: web.Prefix, method: "GET", handle: s.page},
	}
	if s.cfg.Demo != nil {
		all = append(all, &route{path: "/api/demo/kill", method: "POST", handle: s.killPeer},
			&route{path: "/api/demo/start", method: "POST", handle: s.startPeer})
	}
	for _, r := range all {
		routes[r.path] = r
	}
	return routes
}

// modelPath is followed by a model's name.
const modelPath = "/v1/models/"

// at finds what is at a path.
func (s *Server) at(path string) *route {
	if name, ok := strings.CutPrefix(path, modelPath); ok && name != "" {
		return s.routes[modelPath]
	}
	switch {
	case path == modelPath:
		return nil
	case strings.HasPrefix(path, web.Prefix):
		if !s.pages.Has(path) {
			return nil
		}
		return s.routes[web.Prefix]
	}
	return s.routes[path]
}

// ServeHTTP is part of http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.metrics.running.Inc()
	defer s.metrics.running.Dec()
	c := &call{
		w: w, r: r, control: http.NewResponseController(w), route: s.at(r.URL.Path), id: "req_" + randomHex(12), started: time.Now(),
	}
	h := w.Header()
	h.Set("X-Request-Id", c.id)
	h.Set("X-Content-Type-Options", "nosniff")
	err := s.answer(c)
	switch api := (*apiError)(nil); {
	case err == nil:
	case r.Context().Err() != nil && c.status == 0:
		c.refuse(unavailable("The gateway is being stopped")) // which a client that has left does not hear
		c.status = statusGone
	case errors.As(err, &api) && c.status == 0:
		c.refuse(api)
		s.metrics.refused.WithLabelValues(api.reason()).Inc()
	case c.status == 0:
		api = refuse(http.StatusInternalServerError, "", "", "The gateway failed: %v", err)
		c.refuse(api)
		s.metrics.refused.WithLabelValues(api.reason()).Inc()
	}
	s.metrics.requests.WithLabelValues(c.path(), strconv.Itoa(c.status)).Inc()
	s.logRequest(c, err)
}

// statusGone is what the log says of a request whose client has left before it was answered, as nginx does.
const statusGone = 499

// answer lets a request through to its handler, or says why not.
func (s *Server) answer(c *call) error {
	if done, err := s.guard(c); done || err != nil {
		return err
	}
	release, err := s.authorize(c)
	if err != nil {
		return err
	}
	c.release = sync.OnceFunc(release)
	defer c.release()
	switch method := c.r.Method; {
	case c.route == nil:
		return refuse(http.StatusNotFound, "not_found", "", "There is nothing at %s %s", method, c.r.URL.Path)
	case method != c.route.method && !(method == http.MethodHead && c.route.method == http.MethodGet):
		e := refuse(http.StatusMethodNotAllowed, "method_not_allowed", "", "%s %s: want %s", method, c.r.URL.Path, c.route.method)
		e.allow = c.route.method
		if e.allow == http.MethodGet {
			e.allow = "GET, HEAD"
		}
		return e
	}
	if c.route.method == http.MethodPost {
		// A page of another site may send a form here without asking, but no JSON.
		if kind, _, err := mime.ParseMediaType(c.r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
			return refuse(http.StatusUnsupportedMediaType, "unsupported_media_type", "", "The body must be application/json, and be called that by Content-Type")
		}
	}
	defer func() {
		if c.slot {
			<-s.slots
		}
	}()
	return c.route.handle(c)
}

// form reads the body, which is an object of JSON. From then on the request costs something, and only so many are answered
// at once.
func (s *Server) form(c *call) (*form, error) {
	if c.r.ContentLength > maxBody {
		return nil, tooLarge()
	}
	_ = c.control.SetReadDeadline(time.Now().Add(bodyTimeout)) // where there is no such thing the owner of the server has its own
	data, err := io.ReadAll(io.LimitReader(c.r.Body, maxBody+1))
	switch {
	case err != nil:
		return nil, bad("", "The body could not be read: %v", err)
	case len(data) > maxBody:
		return nil, tooLarge()
	}
	c.read = true
	_ = c.control.SetReadDeadline(time.Time{})
	select {
	case s.slots <- struct{}{}:
		c.slot = true
	default:
		return nil, unavailable("%d requests are being answered, as many as this gateway takes at once", cap(s.slots))
	}
	return parseForm(data)
}

// write answers with a value in JSON.
func (c *call) write(value any) error {
	data, err := encode(value)
	if err != nil {
		return err
	}
	h := c.w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(data)))
	c.status = http.StatusOK
	_ = c.control.SetWriteDeadline(time.Now().Add(writeTimeout))
	_, err = c.w.Write(data)
	return err
}

// encode makes JSON with < and > as they are.
func encode(value any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(value)
	return b.Bytes(), err
}

func randomHex(bytes int) string {
	b := make([]byte, bytes)
	rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// health says that the gateway lives: whether its swarm does, /api/swarm tells.
func (s *Server) health(c *call) error {
	return c.write(struct {
		Status string `json:"status"`
	}{"ok"})
}

func (s *Server) serveMetrics(c *call) error {
	c.status = http.StatusOK
	s.metrics.handler().ServeHTTP(c.w, c.r)
	return nil
}

// page serves the pages, and the files that they are made of. They ask for no key: there is nothing secret in them.
func (s *Server) page(c *call) (err error) {
	_ = c.control.SetWriteDeadline(time.Now().Add(writeTimeout))
	c.status, err = s.pages.Serve(c.w, c.r)
	return err
}

func (s *Server) embeddings(*call) error {
	return refuse(http.StatusNotImplemented, "not_implemented", "", "These models make no embeddings")
}
