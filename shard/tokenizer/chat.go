package tokenizer

import (
	"errors"
	"fmt"
)

// Message is one turn of a conversation. Role is system (the first message alone), user or assistant.
type Message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// Roles are the ids that a model's chat template is made of.
type Roles struct {
	User, Assistant uint32
	// BOS goes before each message's text where AddBOS is set, as Hugging Face's tokenizer of such a model puts it
	// before whatever it encodes, the system's text included even where there is none.
	BOS    uint32
	AddBOS bool
}

// TooLongError says that what must not be left out of a prompt does not fit.
type TooLongError struct {
	Need, Budget int // tokens
}

// Error says how much is too much.
func (e *TooLongError) Error() string {
	return fmt.Sprintf("the system text and the last round need %d tokens, the context leaves %d", e.Need, e.Budget)
}

// Chat gives the prompt of a conversation: the system's text, then each message after the id of its role, then the
// assistant's id, unless the last message is the assistant's own and is to be continued. Nothing ends a message and
// nothing is cut. No content gives a role's id.
func (t *Tokenizer) Chat(messages []Message, r Roles) ([]uint32, error) {
	p, err := t.prompt(messages, r)
	if err != nil {
		return nil, err
	}
	return p.join(0), nil
}

// ChatFit is Chat for a prompt of at most budget tokens: it drops as many of the oldest rounds as it must, and says
// how many. The system's text and the last round stay; where they do not fit it fails with a *TooLongError.
func (t *Tokenizer) ChatFit(messages []Message, r Roles, budget int) (ids []uint32, droppedRounds int, err error) {
	p, err := t.prompt(messages, r)
	if err != nil {
		return nil, 0, err
	}
	need := len(p.system) + len(p.tail)
	first := len(p.rounds)
	for first > 0 && (first == len(p.rounds) || need+len(p.rounds[first-1]) <= budget) {
		first--
		need += len(p.rounds[first])
	}
	if need > budget {
		return nil, 0, &TooLongError{Need: need, Budget: budget}
	}
	return p.join(first), first, nil
}

// prompt is a conversation in ids. A round begins with each user message.
type prompt struct {
	system []uint32
	rounds [][]uint32
	tail   []uint32 // the assistant's id, or nothing
}

func (t *Tokenizer) prompt(messages []Message, r Roles) (*prompt, error) {
	if err := checkMessages(messages); err != nil {
		return nil, err
	}
	t, err := t.Reserve(r.User, r.Assistant)
	if err != nil {
		return nil, err
	}
	encode := func(text string) []uint32 {
		ids := t.Encode(text)
		if r.AddBOS {
			ids = append([]uint32{r.BOS}, ids...)
		}
		return ids
	}
	p := &prompt{}
	if messages[0].Role == "system" {
		p.system = encode(messages[0].Content)
		messages = messages[1:]
	} else {
		p.system = encode("")
	}
	last := ""
	for i, m := range messages {
		role := r.Assistant
		if m.Role == "user" {
			role = r.User
		}
		if i == 0 || m.Role == "user" {
			p.rounds = append(p.rounds, nil)
		}
		round := &p.rounds[len(p.rounds)-1]
		*round = append(append(*round, role), encode(m.Content)...)
		last = m.Role
	}
	if last != "assistant" {
		p.tail = []uint32{r.Assistant}
	}
	return p, nil
}

// checkMessages refuses what the template has no place for.
func checkMessages(messages []Message) error {
	if len(messages) == 0 {
		return errors.New("the conversation has no messages")
	}
	for i, m := range messages {
		switch {
		case m.Role == "system" && i > 0:
			return fmt.Errorf("message %d: only the first may be the system's", i+1)
		case m.Role != "system" && m.Role != "user" && m.Role != "assistant":
			return fmt.Errorf("message %d: role %q, want system, user or assistant", i+1, m.Role)
		}
	}
	return nil
}

// join gives the prompt from a round on.
func (p *prompt) join(first int) []uint32 {
	ids := append([]uint32{}, p.system...)
	for _, round := range p.rounds[first:] {
		ids = append(ids, round...)
	}
	return append(ids, p.tail...)
}
