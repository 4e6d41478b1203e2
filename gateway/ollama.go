package gateway

import (
	"math"
	"strings"
	"time"

	"github.com/baichuan-node/baichuan-node/client"
	"github.com/baichuan-node/baichuan-node/shard/tokenizer"
)

// ollamaTags lists the models as Ollama does.
func (s *Server) ollamaTags(c *call) error {
	type details struct {
		Format       string   `json:"format"`
		Family       string   `json:"family"`
		Families     []string `json:"families"`
		Quantization string   `json:"quantization_level"`
	}
	type tag struct {
		Name     string    `json:"name"`
		Model    string    `json:"model"`
		Modified time.Time `json:"modified_at"`
		Size     int64     `json:"size"`
		Digest   string    `json:"digest"`
		Details  details   `json:"details"`
	}
	list := struct {
		Models []tag `json:"models"`
	}{}
	for _, m := range s.models {
		var size int64
		for _, p := range m.Manifest.Parts {
			size += p.Size
		}
		family := m.Manifest.Architecture
		list.Models = append(list.Models, tag{
			Name: m.Name, Model: m.Name, Modified: s.started.UTC(), Size: size, Digest: m.ID.String(),
			Details: details{"baichuan-node", family, []string{family}, m.Manifest.Weights},
		})
	}
	return c.write(list)
}

// ollamaAnswer is an answer in Ollama's form, whole or a line of it. The last line has the numbers.
type ollamaAnswer struct {
	Model    string         `json:"model"`
	Created  time.Time      `json:"created_at"`
	Message  *ollamaMessage `json:"message,omitempty"`  // of /api/chat
	Response *string        `json:"response,omitempty"` // of /api/generate
	Done     bool           `json:"done"`
	*ollamaEnd
}

type ollamaMessage struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

type ollamaEnd struct {
	Reason         string `json:"done_reason"`
	Total          int64  `json:"total_duration"` // ns, as are all
	Load           int64  `json:"load_duration"`
	PromptTokens   int    `json:"prompt_eval_count"`
	PromptDuration int64  `json:"prompt_eval_duration"`
	Tokens         int    `json:"eval_count"`
	Duration       int64  `json:"eval_duration"`
}

// ollamaAsk reads what Ollama's requests have in common.
func (s *Server) ollamaAsk(f *form) (*ask, error) {
	var name string
	f.text("model", &name)
	if f.err != nil {
		return nil, f.err
	}
	m := s.find(strings.TrimSuffix(name, ":latest"))
	if m == nil {
		return nil, noModel(name)
	}
	a := defaults(m)
	a.stream = true
	f.boolean("stream", &a.stream)
	o := f.object("options")
	limit := 0
	if o.integer("num_predict", &limit, math.MinInt32, math.MaxInt32, false) && limit > 0 {
		a.options.MaxTokens = limit
	}
	a.sampling(o, "repeat_penalty")
	a.stops(o)
	return a, f.done(o)
}

func (s *Server) ollamaChat(c *call) error {
	f, err := s.form(c)
	if err != nil {
		return err
	}
	a, err := s.ollamaAsk(f)
	if err != nil {
		return err
	}
	list := messages(f)
	if f.err != nil {
		return f.err
	}
	return s.ollamaTalk(c, a, list, func(x *ollamaAnswer, text string) {
		x.Message = &ollamaMessage{Role: "assistant", Content: text}
	})
}

func (s *Server) ollamaGenerate(c *call) error {
	f, err := s.form(c)
	if err != nil {
		return err
	}
	a, err := s.ollamaAsk(f)
	if err != nil {
		return err
	}
	var prompt, system string
	var raw bool
	f.text("prompt", &prompt)
	f.text("system", &system)
	f.boolean("raw", &raw)
	if f.err != nil {
		return f.err
	}
	put := func(x *ollamaAnswer, text string) { x.Response = &text }
	if raw {
		return s.ollamaRun(c, a, a.model.encode(prompt), put)
	}
	list := []tokenizer.Message{{Role: "user", Content: prompt}}
	if system != "" {
		list = append([]tokenizer.Message{{Role: "system", Content: system}}, list...)
	}
	return s.ollamaTalk(c, a, list, put)
}

func (s *Server) ollamaTalk(c *call, a *ask, list []tokenizer.Message, put func(x *ollamaAnswer, text string)) error {
	prompt, err := a.model.Tokenizer.Chat(list, a.model.Roles())
	if err != nil {
		return bad("messages", "%v", err)
	}
	return s.ollamaRun(c, a, prompt, put)
}

// ollamaRun answers a prompt; put puts a text where the answer's kind has it.
func (s *Server) ollamaRun(c *call, a *ask, prompt []uint32, put func(x *ollamaAnswer, text string)) error {
	if err := a.model.fits(prompt, "prompt"); err != nil {
		return err
	}
	if len(prompt) == 0 {
		return bad("prompt", "the prompt is empty")
	}
	line := func(text string, o *client.Outcome) *ollamaAnswer {
		x := &ollamaAnswer{Model: a.model.Name, Created: time.Now().UTC()}
		put(x, text)
		if o != nil {
			x.Done = true
			x.ollamaEnd = &ollamaEnd{
				Reason: o.FinishReason, Total: o.Timings.Total.Nanoseconds(), PromptTokens: len(o.PromptIDs),
				PromptDuration: o.Timings.FirstToken.Nanoseconds(), Tokens: len(o.IDs),
				Duration: (o.Timings.Total - o.Timings.FirstToken).Nanoseconds(),
			}
		}
		return x
	}
	out := &stream{c: c, lines: true}
	var last *client.Outcome
	err := s.run(c, a.model, a.jobs(prompt), func(_ int, chunk client.Chunk) error {
		last = chunk.Outcome
		switch {
		case !a.stream:
			return nil
		case last == nil:
			return out.send(line(chunk.Text, nil))
		case chunk.Text != "":
			return out.send(line(chunk.Text, nil), line("", last))
		}
		return out.send(line("", last))
	})
	if err == nil && !a.stream {
		return c.write(line(last.Text, last))
	}
	return out.done(err, "prompt")
}
