package gateway

import (
	"strings"
)

// modelObject is a model in OpenAI's form, and what one may want to know beside.
type modelObject struct {
	ID            string `json:"id"`
	Object        string `json:"object"`
	Created       int64  `json:"created"`
	OwnedBy       string `json:"owned_by"`
	Manifest      string `json:"manifest"` // the model's id in the swarm
	ContextLength int    `json:"context_length"`

	Defaults drawnBy `json:"defaults"`
}

// drawnBy is how an answer is drawn where a request leaves it out.
type drawnBy struct {
	Temperature float32 `json:"temperature"`
	TopP        float64 `json:"top_p"`
	TopK        int     `json:"top_k"`
	Penalty     float32 `json:"repetition_penalty"`
	MaxTokens   int     `json:"max_tokens"`
}

func (s *Server) modelObject(m *served) modelObject {
	o := defaults(m).options
	return modelObject{
		ID: m.Name, Object: "model", Created: s.started.Unix(), OwnedBy: "baichuan-node",
		Manifest: m.ID.String(), ContextLength: m.Manifest.Context,
		Defaults: drawnBy{
			Temperature: o.Sampling.Temperature, TopP: o.Sampling.TopP, TopK: o.Sampling.TopK, Penalty: o.Sampling.Penalty, MaxTokens: o.MaxTokens,
		},
	}
}

func (s *Server) listModels(c *call) error {
	list := struct {
		Object string        `json:"object"`
		Data   []modelObject `json:"data"`
	}{"list", nil}
	for _, m := range s.models {
		list.Data = append(list.Data, s.modelObject(m))
	}
	return c.write(list)
}

func (s *Server) showModel(c *call) error {
	name := strings.TrimPrefix(c.r.URL.Path, modelPath)
	m := s.find(name)
	if m == nil {
		return noModel(name)
	}
	return c.write(s.modelObject(m))
}
