package gateway

import (
	"log/slog"
	"time"

	"github.com/baichuan-node/baichuan-node/client"
	"github.com/baichuan-node/baichuan-node/protocol"
)

// tally is what the log says of a request's answer. No word of its text is in it.
type tally struct {
	model      string // "": no model was asked
	prompt     int    // tokens
	drawn      int
	firstToken time.Duration
	failovers  int
}

// path is that of the route, as metrics and logs call it: a client may ask for anything.
func (c *call) path() string {
	if c.route == nil {
		return "other"
	}
	return c.route.path
}

// logRequest logs what became of a request; those of monitors, which come every few seconds, only for who looks for details.
func (s *Server) logRequest(c *call, err error) {
	level := slog.LevelInfo
	if c.path() == "/metrics" || c.path() == "/healthz" {
		level = slog.LevelDebug
	}
	attributes := []slog.Attr{
		slog.String("request_id", c.id), slog.String("method", protocol.CleanText(c.r.Method, maxLogged)), slog.String("path", c.path()),
		slog.Int("status", c.status), slog.Int64("ms", time.Since(c.started).Milliseconds()),
	}
	if c.key != nil {
		attributes = append(attributes, slog.String("key", c.key.name))
	}
	if t := c.told; t.model != "" {
		attributes = append(attributes, slog.String("model", t.model), slog.Int("prompt_tokens", t.prompt), slog.Int("tokens", t.drawn),
			slog.Int64("first_token_ms", t.firstToken.Milliseconds()), slog.Int("failovers", t.failovers))
	}
	if err != nil {
		attributes = append(attributes, slog.String("error", protocol.CleanText(err.Error(), maxLogged)))
	}
	s.log.LogAttrs(c.r.Context(), level, "request", attributes...)
}

// note takes down for the log what a chunk tells of an answer, of which drawn tokens were known before.
func (s *Server) note(c *call, n client.News, drawn int) {
	if c.told.drawn == 0 && n.Drawn > 0 {
		c.told.firstToken = time.Since(c.started)
	}
	c.told.drawn += n.Drawn - drawn
	c.told.failovers += len(n.Failovers)
	for _, f := range n.Failovers {
		s.log.With("request_id", c.id).Info("layers went on elsewhere", f.Attrs()...)
	}
}
