package gateway

import (
	"encoding/json"
	"strconv"

	"github.com/baichuan-node/baichuan-node/client"
)

// plain is a request that has prompts continued as they are.
type plain struct {
	*ask
	texts []string // of the prompts
	ids   [][]uint32
	echo  bool
	score bool // nothing is to be made: the prompts are all that is asked about
}

// plainChoice is a choice of a completion, whole or a piece of it.
type plainChoice struct {
	Index    int            `json:"index"`
	Text     string         `json:"text"`
	Logprobs *plainLogprobs `json:"logprobs"`
	Finish   *string        `json:"finish_reason"`
}

// completions continues prompts.
func (s *Server) completions(c *call) error {
	f, err := s.form(c)
	if err != nil {
		return err
	}
	a, err := s.newAsk(f)
	if err != nil {
		return err
	}
	p := &plain{ask: a}
	if err := p.read(f); err != nil {
		return err
	}
	jobs := p.jobs(p.ids...)
	if len(jobs) > maxChoices {
		return bad("prompt", "%d prompts of %d choices each: at most %d choices are made at once", len(p.ids), p.n, maxChoices)
	}
	if p.stream {
		return s.streamPlain(c, p, jobs)
	}
	return s.wholePlain(c, p, jobs)
}

// read reads what the request asks for.
func (p *plain) read(f *form) error {
	f.boolean("echo", &p.echo)
	p.options.MaxTokens = plainTokens
	least := 1
	if p.echo {
		least = 0
	}
	p.common(f, least)
	if p.options.MaxTokens == 0 {
		p.score, p.options.MaxTokens = true, 1 // which is drawn and dropped
	}
	p.logprobs(f)
	p.prompts(f)
	if f.err != nil {
		return f.err
	}
	for i, ids := range p.ids {
		if err := p.model.fits(ids, "prompt"); err != nil {
			return err
		}
		if len(ids) == 0 {
			return bad("prompt", "prompt %d has no tokens", i)
		}
	}
	return nil
}

// logprobs reads a number of likeliest tokens, or true and top_logprobs.
func (p *plain) logprobs(f *form) {
	top, judged := 0, false
	f.integer("top_logprobs", &top, 0, maxTop, false)
	switch raw := f.raw("logprobs"); {
	case raw == nil:
	case raw[0] == 't' || raw[0] == 'f':
		f.boolean("logprobs", &judged)
	default:
		judged = f.integer("logprobs", &top, 0, maxTop, false)
	}
	if judged {
		p.options.Logprobs = &client.Logprobs{Top: top, Prompt: p.echo}
	}
}

// prompts reads a text, a list of texts, a list of ids, or a list of lists of ids.
func (p *plain) prompts(f *form) {
	raw := f.raw("prompt")
	if raw == nil {
		f.fail("prompt", "a prompt is needed")
		return
	}
	var list []json.RawMessage
	if raw[0] == '"' {
		list = []json.RawMessage{raw}
	} else if !f.into("prompt", &list, "a text, a list of texts, a list of ids, or a list of lists of ids") {
		return
	}
	if len(list) == 0 {
		f.fail("prompt", "the list is empty")
		return
	}
	if c := list[0][0]; c >= '0' && c <= '9' || c == '-' {
		list = []json.RawMessage{raw}
	}
	if len(list) > maxChoices {
		f.fail("prompt", "%d prompts, at most %d are continued at once", len(list), maxChoices)
		return
	}
	for i, one := range list {
		name := strconv.Itoa(i)
		if one[0] == '"' {
			var text string
			inner := &form{fields: map[string]json.RawMessage{name: one}}
			inner.text(name, &text)
			p.texts, p.ids = append(p.texts, text), append(p.ids, p.model.encode(text))
			continue
		}
		var ids []uint32
		if one[0] != '[' || json.Unmarshal(one, &ids) != nil {
			f.fail("prompt", "prompt %d is neither a text nor a list of ids", i)
			return
		}
		for _, id := range ids {
			if int64(id) >= int64(p.model.Manifest.Vocab) {
				f.fail("prompt", "prompt %d has the id %d, the vocabulary has %d", i, id, p.model.Manifest.Vocab)
				return
			}
		}
		p.texts, p.ids = append(p.texts, p.model.Tokenizer.Decode(ids)), append(p.ids, ids)
	}
}

// encode gives the ids of a text that is continued as it is.
func (m *served) encode(text string) []uint32 {
	ids := m.Tokenizer.Encode(text)
	if m.Manifest.AddBOS {
		ids = append([]uint32{uint32(m.Manifest.BOS)}, ids...)
	}
	return ids
}

// make has the choices made, and gives their pieces to take. What is only to be looked at is not continued, and without
// logprobs there is nothing to compute.
func (s *Server) make(c *call, p *plain, jobs []job, take func(i int, chunk client.Chunk) error) error {
	if !p.score {
		return s.run(c, p.model, jobs, take)
	}
	if p.options.Logprobs != nil {
		return s.run(c, p.model, jobs, func(i int, chunk client.Chunk) error {
			chunk.Text, chunk.Tokens = "", nil
			if chunk.Outcome != nil {
				chunk.Outcome = &client.Outcome{PromptIDs: jobs[i].prompt, FinishReason: client.FinishLength}
			}
			return take(i, chunk)
		})
	}
	for i, j := range jobs {
		if err := take(i, client.Chunk{Outcome: &client.Outcome{PromptIDs: j.prompt, FinishReason: client.FinishLength}}); err != nil {
			return err
		}
	}
	return nil
}

// written is a choice as far as it has been written.
type written struct {
	begun   bool
	offsets offsets
}

// piece is what a chunk adds to a choice.
func (p *plain) piece(i int, w *written, chunk client.Chunk) plainChoice {
	x := plainChoice{Index: i, Text: chunk.Text}
	if !w.begun {
		w.begun = true
		w.offsets.decoder = p.model.Tokenizer.NewDecoder()
		if p.echo {
			x.Text = p.texts[i/p.n] + x.Text
			x.Logprobs = p.plainLogprobs(chunk.Prompt, true, &w.offsets)
		}
	}
	x.Logprobs = x.Logprobs.join(p.plainLogprobs(chunk.Tokens, false, &w.offsets))
	return x
}

func (s *Server) wholePlain(c *call, p *plain, jobs []job) error {
	choices := make([]plainChoice, len(jobs))
	state := make([]written, len(jobs))
	var u usage
	err := s.make(c, p, jobs, func(i int, chunk client.Chunk) error {
		x := p.piece(i, &state[i], chunk)
		x.Text = choices[i].Text + x.Text
		x.Logprobs = choices[i].Logprobs.join(x.Logprobs)
		if o := chunk.Outcome; o != nil {
			u.add(jobs[i], o)
			x.Finish = &o.FinishReason
		}
		choices[i] = x
		return nil
	})
	if err != nil {
		return asAPI(c.r.Context(), err, "prompt")
	}
	answer := p.completion("cmpl-", "text_completion")
	answer.Choices, answer.Usage = choices, u
	return c.write(answer)
}

func (s *Server) streamPlain(c *call, p *plain, jobs []job) error {
	out := &stream{c: c}
	common := p.completion("cmpl-", "text_completion")
	if p.usage {
		common.Usage = none
	}
	state := make([]written, len(jobs))
	var u usage
	err := s.make(c, p, jobs, func(i int, chunk client.Chunk) error {
		x := p.piece(i, &state[i], chunk)
		if o := chunk.Outcome; o != nil {
			u.add(jobs[i], o)
			x.Finish = &o.FinishReason
		}
		e := common
		e.Choices = []plainChoice{x}
		return out.send(e)
	})
	if err == nil && p.usage {
		common.Usage = u
		err = out.send(common)
	}
	return out.done(err, "prompt")
}
