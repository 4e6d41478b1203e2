package client

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/baichuan-node/baichuan-node/shard/sample"
	"github.com/baichuan-node/baichuan-node/shard/tokenizer"
)

// The reasons why an answer ends.
const (
	FinishStop   = "stop"   // a stop id or a stop string
	FinishLength = "length" // MaxTokens, or the end of the context
)

// Chunk is a piece of an answer.
type Chunk struct {
	Text    string   // whole characters; may be empty in the last chunk
	Tokens  []Token  // with Options.Logprobs: those whose text ends with the chunk, the stop id excepted
	Prompt  []Token  // with Logprobs.Prompt, in a first chunk that has nothing else: the prompt's tokens
	Outcome *Outcome // in the last chunk alone
	News    News     // since the chunk before
}

// News is what has become of an answer's making.
type News struct {
	Drawn     int        // tokens so far
	Chain     []HopInfo  // who computes what; in the first chunk, and whenever that has changed
	Failovers []Failover // that have been got over
	Steps     []StepTime // that were computed
}

// Outcome is a finished answer, in the form of `generate --json`.
type Outcome struct {
	Text      string   `json:"text"`
	PromptIDs []uint32 `json:"prompt_ids"`
	// IDs are all tokens that were drawn, the stop id that ended the answer included (as in Hugging Face's generate):
	// so there are prompt + len(IDs) - 1 rows of logits. The text may be shorter than they are, by a stop string or
	// the beginning of a last character.
	IDs          []uint32   `json:"ids"`
	FinishReason string     `json:"finish_reason"`
	Cached       int        `json:"cached_tokens"` // of the prompt, that this answer did not have to compute
	Model        string     `json:"model"`
	Chain        []HopInfo  `json:"chain"`
	Timings      Timings    `json:"timings"`
	Failovers    []Failover `json:"failovers"`
	Stats        Stats      `json:"stats"`
}

// Timings say how long an answer took.
type Timings struct {
	FirstToken time.Duration // from the request until the first token was known
	Total      time.Duration
	Tokens     int // of the answer
}

// TokensPerSecond is the pace after the first token, or the whole pace of an answer of one.
func (t Timings) TokensPerSecond() float64 {
	n, d := t.Tokens-1, t.Total-t.FirstToken
	if n < 1 {
		n, d = t.Tokens, t.Total
	}
	if d <= 0 {
		return 0
	}
	return float64(n) / d.Seconds()
}

// MarshalJSON gives {"first_token_ms","total_ms","tokens_per_s"}.
func (t Timings) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		FirstToken float64 `json:"first_token_ms"`
		Total      float64 `json:"total_ms"`
		PerSecond  float64 `json:"tokens_per_s"`
	}{ms(t.FirstToken), ms(t.Total), t.TokensPerSecond()})
}

// Conversation makes answers, one after the other, over a Stepper whose cache they share: of a prompt that begins like
// what was computed before, only the rest is computed. It is used by one goroutine at a time.
type Conversation struct {
	model   *Model
	stepper Stepper
	ids     []uint32 // computed last; the stepper holds the first Len of them
}

// NewConversation begins a conversation. The stepper stays the caller's to close.
func NewConversation(m *Model, s Stepper) *Conversation {
	return &Conversation{model: m, stepper: s}
}

// Generate answers a prompt. The iterator gives the text as it comes and, in its last chunk, the outcome; or one error,
// which ends it: a *PromptTooLongError before anything is computed, a *HopError or *routing.NoChainError from the
// swarm, ctx's. Whoever leaves the iteration, or ends ctx, ends the work at the peers within a step; the conversation
// may go on.
func (c *Conversation) Generate(ctx context.Context, prompt []uint32, o Options) iter.Seq2[Chunk, error] {
	return func(yield func(Chunk, error) bool) {
		g, err := c.begin(prompt, o)
		if err == nil {
			g.yield = yield
			err = g.run(ctx)
		}
		if err != nil && !errors.Is(err, errLeft) {
			yield(Chunk{}, err)
		}
	}
}

// errLeft ends an answer whose reader has left.
var errLeft = errors.New("the reader has left")

// generation is one answer in the making.
type generation struct {
	*Conversation
	o       Options
	prompt  []uint32
	limit   int // tokens of the answer at most
	yield   func(Chunk, error) bool
	started time.Time
	first   time.Duration

	ids     []uint32 // of the answer
	decoder *tokenizer.Decoder
	stopper stopper
	text    strings.Builder
	row     []float32 // the newest row of logits, where they are asked for
	buffer  []byte
	judged  judged
	cut     bool // by a stop string
	cached  int  // tokens of the prompt that were there

	news  News      // for the next chunk
	chain []HopInfo // that the reader knows
	told  int       // failovers that the reader knows
}

// begin checks what was asked for.
func (c *Conversation) begin(prompt []uint32, o Options) (*generation, error) {
	m := c.model.Manifest
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if len(prompt) == 0 {
		return nil, errors.New("the prompt has no tokens")
	}
	if len(prompt) >= m.Context {
		return nil, &PromptTooLongError{Tokens: len(prompt), Context: m.Context}
	}
	for i, id := range prompt {
		if int64(id) >= int64(m.Vocab) {
			return nil, fmt.Errorf("token %d of the prompt has id %d, outside the model's vocabulary of %d", i, id, m.Vocab)
		}
	}
	g := &generation{
		Conversation: c, o: o, prompt: slices.Clone(prompt), limit: m.Context - len(prompt), started: time.Now(),
		ids: []uint32{}, decoder: c.model.Tokenizer.NewDecoder(), stopper: stopper{stops: o.Stop},
	}
	if o.MaxTokens > 0 {
		g.limit = min(g.limit, o.MaxTokens)
	}
	if o.Logprobs != nil && o.Logprobs.Prompt {
		g.judged.prompt = []Token{{ID: prompt[0]}}
	}
	return g, nil
}

// run draws tokens until the answer ends.
func (g *generation) run(ctx context.Context) error {
	next := g.prompt
	if err := g.open(ctx); err != nil {
		return err
	}
	next = next[g.stepper.Len():]
	for {
		found, err := g.step(ctx, next)
		if err != nil {
			return err
		}
		position := len(g.prompt) + len(g.ids)
		id := sample.Draw(found, g.o.Sampling, g.o.Seed, position)
		g.ids = append(g.ids, id)
		g.look()
		if len(g.ids) == 1 && g.judged.prompt != nil && !g.give(Chunk{Prompt: g.judged.prompt}) {
			return errLeft
		}
		if g.first == 0 {
			g.first = time.Since(g.started)
		}
		if reason, err := g.take(id); err != nil {
			return err
		} else if reason != "" {
			return g.finish(reason)
		}
		next = g.ids[len(g.ids)-1:]
	}
}

// look takes down what has become of the chain, right after a step: later it may be looked after.
func (g *generation) look() {
	g.news.Drawn = len(g.ids)
	if now := g.stepper.Chain(); !slices.Equal(now, g.chain) {
		g.chain, g.news.Chain = now, now
	}
	if all := g.stepper.Failovers(); len(all) > g.told {
		g.news.Failovers = append(g.news.Failovers, all[g.told:]...)
		g.told = len(all)
	}
}

// give gives a chunk to the reader, with what is new.
func (g *generation) give(c Chunk) bool {
	c.News, g.news = g.news, News{Drawn: len(g.ids)}
	return g.yield(c, nil)
}

// open keeps what the prompt has in common with what was computed before, one token less than the prompt at most: the
// answer's first token follows from its last. More of it may be found at peers. Where the logits of all tokens are
// wanted, nothing is kept for them, nor looked for.
func (g *generation) open(ctx context.Context) error {
	keep := 0
	var prompt []uint32
	if !g.wholePrompt() {
		prompt = g.prompt
		most := min(len(g.prompt)-1, len(g.Conversation.ids), g.stepper.Len())
		for keep < most && g.prompt[keep] == g.Conversation.ids[keep] {
			keep++
		}
	}
	err := g.stepper.Begin(ctx, Run{
		Keep: keep, Prompt: prompt, Expect: len(g.prompt) + min(g.limit, expectAnswer), Sampling: g.o.Sampling,
	})
	if err != nil {
		g.Conversation.ids = slices.Clone(g.prompt[:min(keep, g.stepper.Len())])
		return err
	}
	g.cached = g.stepper.Len()
	g.Conversation.ids = slices.Clone(g.prompt[:g.cached])
	return nil
}

// wholePrompt says whether rows of logits are wanted of every token of the prompt.
func (g *generation) wholePrompt() bool {
	return g.o.Logits != nil || g.o.Logprobs != nil && g.o.Logprobs.Prompt
}

// step computes ids and gives the candidates for the token after them.
func (g *generation) step(ctx context.Context, ids []uint32) ([]sample.Candidate, error) {
	want := Want{Candidates: true, Timed: g.timed}
	rows := g.o.Logits != nil || g.o.Logprobs != nil
	if rows {
		want = Want{Rows: g.receive, Timed: g.timed}
	}
	if last := len(ids) - 1; rows && last > 0 && !g.wholePrompt() { // rows are large: only the last one matters
		if _, err := g.stepper.Step(ctx, ids[:last], Want{Timed: g.timed}); err != nil {
			return nil, err
		}
		g.Conversation.ids = append(g.Conversation.ids, ids[:last]...)
		ids = ids[last:]
	}
	found, err := g.stepper.Step(ctx, ids, want)
	if err != nil {
		return nil, err
	}
	g.Conversation.ids = append(g.Conversation.ids, ids...)
	if rows {
		found = sample.Candidates(g.row, g.Conversation.ids, g.o.Sampling)
	}
	return found, nil
}

// timed takes down how long a step took.
func (g *generation) timed(sent time.Time, t StepTime) {
	t.Token, t.At = len(g.ids), sent.Sub(g.started)
	g.news.Steps = append(g.news.Steps, t)
}

// receive takes the row of logits after a token.
func (g *generation) receive(position int, logits []float32) error {
	g.row = append(g.row[:0], logits...)
	if p := g.o.Logprobs; p != nil && p.Prompt && position+1 < len(g.prompt) {
		g.judged.ofPrompt(g.prompt[position+1], logits, p.Top)
	}
	if g.o.Logits == nil {
		return nil
	}
	return g.write(position, logits)
}

// write writes a row of logits.
func (g *generation) write(position int, logits []float32) error {
	g.buffer = g.buffer[:0]
	for _, l := range logits {
		g.buffer = binary.LittleEndian.AppendUint32(g.buffer, math.Float32bits(l))
	}
	switch n, err := g.o.Logits.Write(g.buffer); {
	case err != nil:
		return fmt.Errorf("write the logits after token %d: %w", position, err)
	case n != len(g.buffer):
		return fmt.Errorf("write the logits after token %d: %w", position, io.ErrShortWrite)
	}
	return nil
}

// take adds a token's text to the answer and says why the answer ends with it, if it does.
func (g *generation) take(id uint32) (reason string, err error) {
	if !g.o.IgnoreEOS && slices.Contains(g.model.Manifest.Stop, int(id)) {
		return FinishStop, nil
	}
	piece := g.decoder.Push(id)
	if p := g.o.Logprobs; p != nil {
		g.judged.drawn(id, g.row, p.Top, len(piece))
	}
	text, stopped := g.stopper.push(piece)
	g.cut = stopped
	if err := g.emit(text); err != nil {
		return "", err
	}
	switch {
	case stopped:
		return FinishStop, nil
	case len(g.ids) == g.limit:
		return FinishLength, nil
	}
	return "", nil
}

// emit gives text to the reader.
func (g *generation) emit(text string) error {
	g.text.WriteString(text)
	if text != "" && !g.give(Chunk{Text: text, Tokens: g.judged.until(g.text.Len())}) {
		return errLeft
	}
	return nil
}

// finish gives out what was held back, and the outcome. What the decoder still holds is the beginning of a character
// that will not come: it is dropped.
func (g *generation) finish(reason string) error {
	rest, stopped := g.stopper.flush()
	if stopped {
		reason = FinishStop
	}
	g.text.WriteString(rest)
	tokens := g.judged.rest(g.text.Len(), stopped || g.cut)
	total := time.Since(g.started)
	out := &Outcome{
		Text: g.text.String(), PromptIDs: g.prompt, IDs: g.ids, FinishReason: reason, Cached: g.cached, Model: g.model.Name,
		Chain: g.stepper.Chain(), Timings: Timings{FirstToken: g.first, Total: total, Tokens: len(g.ids)},
		Failovers: append([]Failover{}, g.stepper.Failovers()...), Stats: g.stepper.Stats(),
	}
	g.give(Chunk{Text: rest, Tokens: tokens, Outcome: out})
	return nil
}
