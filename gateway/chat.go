package gateway

import (
	"encoding/json"
	"time"

	"github.com/baichuan-node/baichuan-node/client"
)

// completion is what all of OpenAI's answers have, whole or in pieces.
type completion struct {
	ID          string `json:"id"`
	Object      string `json:"object"`
	Created     int64  `json:"created"`
	Model       string `json:"model"`
	Fingerprint string `json:"system_fingerprint"` // the same one: the same weights, and the same bits
	Choices     any    `json:"choices"`
	Usage       any    `json:"usage,omitempty"`
	News        *news  `json:"baichuan,omitempty"`
}

func (a *ask) completion(prefix, object string) completion {
	return completion{
		ID: prefix + randomHex(12), Object: object, Created: time.Now().Unix(), Model: a.model.Name,
		Fingerprint: "fp_" + a.model.ID.String()[:10], Choices: []any{},
	}
}

// none is the usage in all chunks but the last, where that one has it.
var none = json.RawMessage("null")

// chatChoice is a choice of a chat completion. Message is set in whole ones, Delta in chunks.
type chatChoice struct {
	Index    int           `json:"index"`
	Message  *chatMessage  `json:"message,omitempty"`
	Delta    *chatDelta    `json:"delta,omitempty"`
	Logprobs *chatLogprobs `json:"logprobs"`
	Finish   *string       `json:"finish_reason"`
}

type chatMessage struct {
	Role    string  `json:"role"`
	Content string  `json:"content"`
	Refusal *string `json:"refusal"`
}

type chatDelta struct {
	Role    string  `json:"role,omitempty"`
	Content *string `json:"content,omitempty"`
}

// chatCompletions answers a conversation.
func (s *Server) chatCompletions(c *call) error {
	f, err := s.form(c)
	if err != nil {
		return err
	}
	a, err := s.newAsk(f)
	if err != nil {
		return err
	}
	a.common(f, 1)
	var judged bool
	f.boolean("logprobs", &judged)
	top := 0
	f.integer("top_logprobs", &top, 0, maxTop, false)
	if judged {
		a.options.Logprobs = &client.Logprobs{Top: top}
	} else if top > 0 {
		f.fail("top_logprobs", "logprobs must be true for these")
	}
	list := messages(f)
	if f.err != nil {
		return f.err
	}
	prompt, err := a.model.Tokenizer.Chat(list, a.model.Roles())
	if err != nil {
		return bad("messages", "%v", err)
	}
	if err := a.model.fits(prompt, "messages"); err != nil {
		return err
	}
	if a.stream {
		return s.streamChat(c, a, a.jobs(prompt))
	}
	return s.wholeChat(c, a, a.jobs(prompt))
}

func (s *Server) wholeChat(c *call, a *ask, jobs []job) error {
	parts := make([]gathered, len(jobs))
	err := s.run(c, a.model, jobs, func(i int, chunk client.Chunk) error {
		parts[i].take(chunk)
		return nil
	})
	if err != nil {
		return asAPI(c.r.Context(), err, "messages")
	}
	var u usage
	choices := make([]chatChoice, len(jobs))
	for i, p := range parts {
		u.add(jobs[i], p.outcome)
		choices[i] = chatChoice{
			Index: i, Message: &chatMessage{Role: "assistant", Content: p.outcome.Text},
			Logprobs: a.chatLogprobs(p.tokens), Finish: &p.outcome.FinishReason,
		}
	}
	answer := a.completion("chatcmpl-", "chat.completion")
	answer.Choices, answer.Usage = choices, u
	return c.write(answer)
}

func (s *Server) streamChat(c *call, a *ask, jobs []job) error {
	x := &chatStream{ask: a, out: stream{c: c}, common: a.completion("chatcmpl-", "chat.completion.chunk"), choices: make([]chatState, len(jobs))}
	if a.usage {
		x.common.Usage = none
	}
	if a.news {
		for i := range jobs {
			jobs[i].waits = func(w client.Waiting) { x.waits(i, w) }
		}
	}
	err := s.run(c, a.model, jobs, func(i int, chunk client.Chunk) error {
		if chunk.Outcome != nil {
			x.used.add(jobs[i], chunk.Outcome)
		}
		return x.out.send(x.events(i, chunk)...)
	})
	if err == nil && a.usage {
		x.common.Usage = x.used
		err = x.out.send(x.common)
	}
	return x.out.done(err, "messages")
}

// chatStream makes the chunks of a streamed chat completion.
type chatStream struct {
	ask     *ask
	out     stream
	common  completion // what all chunks have
	choices []chatState
	used    usage
}

// chatState is a choice as far as it has been sent.
type chatState struct {
	begun  bool
	teller teller
}

func (x *chatStream) event(choice chatChoice, n *news) completion {
	e := x.common
	e.Choices = []chatChoice{choice}
	if x.ask.news {
		e.News = n
	}
	return e
}

// events are what a piece of an answer is sent as.
func (x *chatStream) events(i int, chunk client.Chunk) (events []any) {
	st := &x.choices[i]
	before, with := st.teller.tell(chunk, time.Now())
	add := func(choice chatChoice, n *news) {
		choice.Index = i
		events = append(events, x.event(choice, n))
	}
	if !st.begun {
		st.begun = true
		empty := ""
		add(chatChoice{Delta: &chatDelta{Role: "assistant", Content: &empty}}, with)
		with = nil
	}
	if x.ask.news {
		for _, n := range before {
			add(chatChoice{Delta: &chatDelta{}}, n)
		}
	}
	if chunk.Text != "" || len(chunk.Tokens) > 0 {
		add(chatChoice{Delta: &chatDelta{Content: &chunk.Text}, Logprobs: x.ask.chatLogprobs(chunk.Tokens)}, with)
		with = nil
	}
	if o := chunk.Outcome; o != nil {
		if with == nil {
			with = &news{}
		}
		with.Pace = tenths(o.Timings.TokensPerSecond())
		add(chatChoice{Delta: &chatDelta{}, Finish: &o.FinishReason}, with)
	}
	return events
}

// waits tells that a choice which has begun waits for peers.
func (x *chatStream) waits(i int, w client.Waiting) {
	_ = x.out.send(x.event(chatChoice{Index: i, Delta: &chatDelta{}}, &news{Waiting: waitingOf(w)})) // if that fails, so does the next chunk
}
