package gateway

import (
	"cmp"
	"encoding/json"
	"math"
	"strconv"

	"github.com/baichuan-node/baichuan-node/client"
	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/shard/sample"
	"github.com/baichuan-node/baichuan-node/shard/tokenizer"
)

// ask is what requests of all kinds have in common. What they leave out, the model's generation_config decides.
type ask struct {
	model   *served
	n       int
	stream  bool
	usage   bool // a last chunk with the usage
	news    bool // chunks tell who computes
	options client.Options
}

// newAsk reads the model's name and makes the defaults for it.
func (s *Server) newAsk(f *form) (*ask, error) {
	var name string
	if !f.text("model", &name) && f.err == nil {
		return nil, bad("model", "you must provide a model parameter")
	}
	if f.err != nil {
		return nil, f.err
	}
	m := s.find(name)
	if m == nil {
		return nil, noModel(name)
	}
	return defaults(m), nil
}

// defaults are what the model recommends.
func defaults(m *served) *ask {
	d := m.Drawing
	return &ask{model: m, n: 1, options: client.Options{
		MaxTokens: cmp.Or(d.MaxTokens, defaultTokens), Seed: randomSeed(),
		Sampling: sample.Params{Temperature: float32(d.Temperature), TopK: d.TopK, TopP: d.TopP, Penalty: float32(d.Penalty)},
	}}
}

// common reads the parameters that both of OpenAI's APIs have. least is what max_tokens may be at least.
func (a *ask) common(f *form, least int) {
	f.boolean("stream", &a.stream)
	if f.has("stream_options") {
		inner := f.object("stream_options")
		inner.boolean("include_usage", &a.usage)
		inner.boolean("include_chain", &a.news)
		f.err = cmp.Or(f.err, inner.err)
		if !a.stream {
			f.fail("stream_options", "only a stream has options: set stream to true, or leave them out")
		}
	}
	f.integer("n", &a.n, 1, maxN, false)
	f.integer("max_tokens", &a.options.MaxTokens, least, math.MaxInt32, true)
	f.integer("max_completion_tokens", &a.options.MaxTokens, least, math.MaxInt32, true)
	a.sampling(f, "repetition_penalty")
	a.stops(f)
}

// sampling reads how tokens are drawn.
func (a *ask) sampling(f *form, penaltyName string) {
	p := &a.options.Sampling
	var temperature, penalty float64
	if f.number("temperature", &temperature, 0, maxTemperature) {
		p.Temperature = float32(temperature)
	}
	f.number("top_p", &p.TopP, 0, 1)
	f.integer("top_k", &p.TopK, -1, math.MaxInt32, true)
	if f.number(penaltyName, &penalty, protocol.MinPenalty, protocol.MaxPenalty) {
		p.Penalty = float32(penalty)
	}
	f.seed("seed", &a.options.Seed)
}

// stops reads what ends an answer.
func (a *ask) stops(f *form) {
	if !f.texts("stop", &a.options.Stop) {
		return
	}
	for _, stop := range a.options.Stop {
		if stop == "" {
			f.fail("stop", "a stop text is empty")
			return
		}
	}
	if err := (&client.Options{Sampling: sample.Params{Penalty: 1}, Stop: a.options.Stop}).Validate(); err != nil {
		f.fail("stop", "%v", err)
	}
}

// messages reads a conversation.
func messages(f *form) []tokenizer.Message {
	var list []map[string]json.RawMessage
	if !f.into("messages", &list, "a list of messages") {
		f.fail("messages", "a list of messages is needed")
		return nil
	}
	if len(list) == 0 {
		f.fail("messages", "there is no message")
	}
	out := make([]tokenizer.Message, 0, len(list))
	for i, fields := range list {
		inner := &form{fields: fields, within: "messages[" + strconv.Itoa(i) + "].", err: f.err}
		m := tokenizer.Message{Content: content(inner)}
		if !inner.text("role", &m.Role) {
			inner.fail("role", "a role is needed")
		}
		if m.Role == "developer" {
			m.Role = "system"
		}
		switch {
		case m.Role != "system" && m.Role != "user" && m.Role != "assistant":
			inner.fail("role", "%q is none of system, developer, user and assistant", m.Role)
		case m.Role == "system" && i > 0:
			inner.fail("role", "only the first message may be the system's")
		case m.Role != "assistant" && !inner.has("content"):
			inner.fail("content", "a content is needed")
		}
		if f.err = inner.err; f.err != nil {
			return nil
		}
		out = append(out, m)
	}
	return out
}

// content reads a message's text: a text, or a list of parts that are texts.
func content(f *form) string {
	raw := f.raw("content")
	if raw == nil {
		return ""
	}
	var text string
	if raw[0] != '[' {
		f.text("content", &text)
		return text
	}
	var parts []struct {
		Type *string `json:"type"`
		Text *string `json:"text"`
	}
	if !f.into("content", &parts, "a text, or a list of parts of the type text") {
		return ""
	}
	for i, p := range parts {
		if p.Type == nil || *p.Type != "text" || p.Text == nil {
			f.fail("content", "part %d is no text: this model reads nothing else", i)
			return ""
		}
		text += *p.Text
	}
	return text
}

// fits refuses a prompt that leaves no room for an answer.
func (m *served) fits(prompt []uint32, param string) error {
	if len(prompt) >= m.Manifest.Context {
		return tooLong(&client.PromptTooLongError{Tokens: len(prompt), Context: m.Manifest.Context}, param)
	}
	return nil
}
