// Package quality judges a model: how many questions it answers as wanted, and how far its distributions are from the
// same checkpoint computed in float64.
//
// A [Speaker] answers many questions at once, greedily, in this process; [Compare] holds the formats of a checkpoint
// against [reference]. It knows no swarm, prints nothing, and imports into a store that its caller gives it.
package quality

import (
	"context"
	"errors"
	"slices"

	"github.com/baichuan-node/baichuan-node/kernels"
	"github.com/baichuan-node/baichuan-node/shard"
	"github.com/baichuan-node/baichuan-node/shard/sample"
	"github.com/baichuan-node/baichuan-node/shard/store"
	"github.com/baichuan-node/baichuan-node/shard/tokenizer"
)

// Speaker is a whole model in this process. One goroutine at a time uses it.
type Speaker struct {
	words
	shard *shard.Shard
}

// words is what turns a model's ids into text.
type words struct {
	manifest *store.Manifest
	tok      *tokenizer.Tokenizer
}

func wordsOf(m *store.Model) (words, error) {
	raw, err := m.Tokenizer()
	if err != nil {
		return words{}, err
	}
	tok, err := tokenizer.Load(raw)
	return words{manifest: m.Manifest, tok: tok}, err
}

// NewSpeaker loads a model, all of whose parts must be here. The device stays the caller's to close, after the Speaker.
func NewSpeaker(ctx context.Context, m *store.Model, dev kernels.Device) (*Speaker, error) {
	w, err := wordsOf(m)
	if err != nil {
		return nil, err
	}
	whole := store.Span{Start: 0, End: m.Manifest.Layers}
	s, err := shard.Load(ctx, m, whole, dev, shard.Config{CacheTokens: batch * m.Manifest.Context})
	if err != nil {
		return nil, err
	}
	return &Speaker{words: w, shard: s}, nil
}

// Close gives the model's memory back.
func (s *Speaker) Close() error { return s.shard.Close() }

// prompt puts messages through the chat template.
func (w words) prompt(messages []tokenizer.Message) ([]uint32, error) {
	m := w.manifest
	return w.tok.Chat(messages, tokenizer.Roles{
		User: uint32(m.User), Assistant: uint32(m.Assistant), BOS: uint32(m.BOS), AddBOS: m.AddBOS,
	})
}

// ends says whether an id ends an answer.
func (w words) ends(id uint32) bool {
	_, found := slices.BinarySearch(w.manifest.Stop, int(id))
	return found
}

// Answer is what a model says to a conversation.
type Answer struct {
	Text  string
	IDs   []uint32 // without the one that ended it
	Ended bool     // by the model, and not by the limit
}

// answering is an answer that is being made.
type answering struct {
	Answer
	prompt []uint32
	limit  int // tokens
	step   shard.Step
}

// take appends the next id to the answer and says whether there may be more.
func (a *answering) take(w words, id uint32) bool {
	if a.Ended = w.ends(id); a.Ended {
		return false
	}
	a.IDs = append(a.IDs, id)
	a.step.IDs = a.IDs[len(a.IDs)-1:]
	return len(a.IDs) < a.limit
}

// Answer answers each conversation greedily with at most maxTokens tokens, and at most what the context leaves.
func (s *Speaker) Answer(ctx context.Context, conversations [][]tokenizer.Message, maxTokens int) ([]Answer, error) {
	all := make([]answering, len(conversations))
	for i, messages := range conversations {
		prompt, err := s.prompt(messages)
		if err != nil {
			return nil, err
		}
		if len(prompt) >= s.manifest.Context {
			return nil, errors.New("a conversation leaves no room for an answer in the context")
		}
		all[i] = answering{prompt: prompt, limit: min(maxTokens, s.manifest.Context-len(prompt))}
	}
	if err := s.answerAll(ctx, all); err != nil {
		return nil, err
	}
	answers := make([]Answer, len(all))
	for i := range all {
		answers[i] = all[i].Answer
		answers[i].Text = s.tok.Decode(all[i].IDs)
	}
	return answers, nil
}

// answerAll computes all answers, up to batch of them together.
func (s *Speaker) answerAll(ctx context.Context, all []answering) error {
	var active []*answering
	defer func() {
		for _, a := range active {
			a.step.Cache.Close()
		}
	}()
	for next := 0; next < len(all) || len(active) > 0; {
		if err := ctx.Err(); err != nil {
			return err
		}
		for len(active) < batch && next < len(all) {
			a := &all[next]
			a.step = shard.Step{Cache: s.shard.NewCache(s.shard.Span()), IDs: a.prompt}
			active = append(active, a)
			next++
		}
		ids, err := s.nextIDs(active)
		if err != nil {
			return err
		}
		still := active[:0]
		for i, a := range active {
			if a.take(s.words, ids[i]) {
				still = append(still, a)
				continue
			}
			a.step.Cache.Close()
		}
		active = still
	}
	return nil
}

// nextIDs computes the steps of the active answers and chooses each one's next token.
func (s *Speaker) nextIDs(active []*answering) ([]uint32, error) {
	steps := make([]*shard.Step, len(active))
	for i, a := range active {
		steps[i] = &a.step
	}
	s.shard.Forward(steps...)
	last := kernels.Rows{N: len(steps), Width: s.manifest.Hidden}
	for _, st := range steps {
		if st.Err != nil {
			return nil, st.Err
		}
		last.Exp = append(last.Exp, st.Out.Exp[st.Out.N-1])
		last.Half = append(last.Half, st.Out.Half[2*(st.Out.N-1)*last.Width:]...)
	}
	logits := make([]float32, len(steps)*s.manifest.Vocab)
	if err := s.shard.Logits(logits, last, 0, last.N); err != nil {
		return nil, err
	}
	ids := make([]uint32, len(steps))
	for i := range ids {
		row := logits[i*s.manifest.Vocab : (i+1)*s.manifest.Vocab]
		ids[i] = sample.Candidates(row, nil, sample.Params{Penalty: 1})[0].ID
	}
	return ids, nil
}

// logits computes a sequence and gives the logits after its tokens from the given one on.
func (s *Speaker) logits(ids []uint32, from int) ([]float32, error) {
	step := shard.Step{Cache: s.shard.NewCache(s.shard.Span()), IDs: ids}
	defer step.Cache.Close()
	s.shard.Forward(&step)
	if step.Err != nil {
		return nil, step.Err
	}
	dst := make([]float32, (len(ids)-from)*s.manifest.Vocab)
	return dst, s.shard.Logits(dst, step.Out, from, len(ids)-from)
}
