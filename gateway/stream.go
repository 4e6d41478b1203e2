package gateway

import (
	"bytes"
	"net/http"
	"sync"
	"time"

	"github.com/baichuan-node/baichuan-node/client"
)

// stream is an answer that is written as it comes. Until its first event an error still has a status of its own.
type stream struct {
	c     *call
	lines bool // of JSON, as Ollama has them; else server-sent events

	mu    sync.Mutex // for what is written
	begun bool       // guarded by mu
}

// send writes events and has them leave at once.
func (s *stream) send(values ...any) error {
	var b bytes.Buffer
	for _, v := range values {
		data, err := encode(v)
		if err != nil {
			return err
		}
		if !s.lines {
			b.WriteString("data: ")
		}
		b.Write(data) // ends with a line feed
		if !s.lines {
			b.WriteByte('\n')
		}
	}
	return s.write(b.Bytes())
}

func (s *stream) write(data []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.begun {
		s.begun = true
		h := s.c.w.Header()
		h.Set("Content-Type", "text/event-stream; charset=utf-8")
		if s.lines {
			h.Set("Content-Type", "application/x-ndjson")
		}
		h.Set("Cache-Control", "no-cache")
		h.Set("X-Accel-Buffering", "no") // or nginx would keep it until the end
		s.c.status = http.StatusOK
	}
	_ = s.c.control.SetWriteDeadline(time.Now().Add(writeTimeout))
	if _, err := s.c.w.Write(data); err != nil {
		return err
	}
	return s.c.control.Flush()
}

// done ends the stream, if err is nil; else it says why the answer ends here.
func (s *stream) done(err error, promptParam string) error {
	switch {
	case err == nil && s.lines:
		return nil
	case err == nil:
		return s.write([]byte("data: [DONE]\n\n"))
	}
	api := asAPI(s.c.r.Context(), err, promptParam)
	if !s.begun {
		return api
	}
	var event any = struct {
		Error *apiError `json:"error"`
	}{api}
	if s.lines {
		event = map[string]string{"error": api.Message}
	}
	_ = s.send(event) // whoever has left does not hear it
	return api
}

// gathered is a choice that is written when it is whole.
type gathered struct {
	tokens, prompt []client.Token
	outcome        *client.Outcome
}

func (g *gathered) take(chunk client.Chunk) {
	g.tokens, g.prompt = append(g.tokens, chunk.Tokens...), append(g.prompt, chunk.Prompt...)
	if chunk.Outcome != nil {
		g.outcome = chunk.Outcome
	}
}
