package gateway

import (
	"net/http"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// Demo is a swarm whose peers whoever looks at the map may kill, and start others: that of the `demo` command alone.
type Demo interface {
	// Peers are the ids of those that may be killed.
	Peers() []string
	// Kill ends a peer at once, without a word to anybody. It says whether there was such a peer.
	Kill(peer string) bool
	// Start starts another one where the swarm lacks it most, and returns when it serves.
	Start() (peer string, err error)
}

// killPeer answers POST /api/demo/kill {"peer": ID}.
func (s *Server) killPeer(c *call) error {
	f, err := s.form(c)
	if err != nil {
		return err
	}
	var id string
	if !f.text("peer", &id) && f.err == nil {
		f.fail("peer", "want the id of a peer")
	}
	if f.err != nil {
		return f.err
	}
	if !s.cfg.Demo.Kill(id) {
		return refuse(http.StatusNotFound, "peer_not_found", "peer", "This demo runs no peer `%s`", protocol.CleanText(id, protocol.MaxTextBytes))
	}
	return s.changed(c, id)
}

// startPeer answers POST /api/demo/start {}.
func (s *Server) startPeer(c *call) error {
	if _, err := s.form(c); err != nil {
		return err
	}
	id, err := s.cfg.Demo.Start()
	if err != nil {
		return unavailable("No peer was started: %v", err)
	}
	return s.changed(c, id)
}

// changed tells whom it was done to, and has those who watch see it soon.
func (s *Server) changed(c *call, id string) error {
	s.swarm.forget()
	for _, m := range s.models {
		m.feed.look()
	}
	return c.write(struct {
		Peer string `json:"peer"`
	}{id})
}
