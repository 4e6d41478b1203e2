package demand

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/baichuan-node/baichuan-node/client"
	"github.com/baichuan-node/baichuan-node/shard/sample"
)

// asker is a client: one that others know nothing of, with a prompt of its own.
type asker struct {
	*client.Client
	number int
	prompt []uint32
	close  func() error
	ids    []uint32 // of its longest answer so far
}

// join connects as many clients as are needed at once.
func (c *course) join(ctx context.Context) error {
	n := slices.Max(c.cfg.Clients)
	if c.cfg.Long > 0 {
		n = max(n, 2)
	}
	for i := range n {
		connected, leave, err := c.cfg.Connect(ctx)
		if err != nil {
			return fmt.Errorf("connect client %d: %w", i+1, err)
		}
		a := &asker{Client: connected, number: i + 1, close: leave}
		c.clients = append(c.clients, a)
		m := a.Model().Manifest
		if most := m.Context - room; c.cfg.Prompt > most || c.cfg.Long > most {
			return fmt.Errorf("model %s has a context of %d tokens: too few for prompts of %d", a.Model().Name, m.Context, max(c.cfg.Prompt, c.cfg.Long))
		}
		a.prompt = someIDs(c.cfg.Prompt, i, m.Vocab)
	}
	return nil
}

func (c *course) leave() error {
	var errs []error
	for _, a := range c.clients {
		errs = append(errs, a.close())
	}
	return errors.Join(errs...)
}

// someIDs makes n ids that look unlike each other, and unlike those of another seed, and are no special tokens.
func someIDs(n, seed, vocab int) []uint32 {
	ids := make([]uint32, n)
	for i := range ids {
		k := uint64(i) + 10007*uint64(seed+1)
		ids[i] = uint32(vocab/8) + uint32((k*k*31+7*k)%uint64(vocab*3/4))
	}
	return ids
}

// longPrompt is like no client's own prompt.
func (c *course) longPrompt(round int) []uint32 {
	return someIDs(c.cfg.Long, 1000+round, c.clients[0].Model().Manifest.Vocab)
}

// answer is one that is being made.
type answer struct {
	client.Stepper
	asker  *asker
	prompt []uint32
	most   int // tokens

	begun time.Time
	mu    sync.Mutex
	at    []time.Time   // guarded by mu while it is made; when each token was known
	ids   []uint32      // that were computed after the prompt
	told  chan struct{} // there are more tokens than there were
	ended chan struct{} // closed after err is set
	err   error
}

// ask has an answer of so many tokens at most made, until ctx ends, in a session that finds nothing of others. The caller
// waits for its end.
func (a *asker) ask(ctx context.Context, prompt []uint32, most int) *answer {
	x := &answer{
		Stepper: a.NewSession(client.SessionConfig{Private: true}), asker: a, prompt: prompt, most: most, begun: time.Now(),
		told: make(chan struct{}, 1), ended: make(chan struct{}),
	}
	go func() {
		defer close(x.ended)
		x.err = x.make(ctx)
	}()
	return x
}

// make draws as the published chat models recommend.
func (x *answer) make(ctx context.Context) error {
	o := client.Options{
		MaxTokens: x.most, Sampling: sample.Params{Temperature: 0.3, TopK: 5, TopP: 0.85, Penalty: 1.05}, Seed: 7, IgnoreEOS: true,
	}
	var err error
	for _, failed := range client.NewConversation(x.asker.Model(), x).Generate(ctx, x.prompt, o) {
		err = failed
	}
	if ctx.Err() != nil {
		err = nil // it was told to end
	}
	return errors.Join(err, x.Close())
}

// Step is part of client.Stepper: it notes when each token is known.
func (x *answer) Step(ctx context.Context, ids []uint32, want client.Want) ([]sample.Candidate, error) {
	found, err := x.Stepper.Step(ctx, ids, want)
	if err != nil {
		return nil, err
	}
	x.mu.Lock()
	if len(x.at) > 0 { // the first step is the prompt
		x.ids = append(x.ids, ids...)
	}
	x.at = append(x.at, time.Now())
	x.mu.Unlock()
	select {
	case x.told <- struct{}{}:
	default:
	}
	return found, nil
}

// awaits waits for so many tokens, or the answer's end.
func (x *answer) awaits(tokens int) {
	for x.tokens() < tokens {
		select {
		case <-x.told:
		case <-x.ended:
			return
		}
	}
}

func (x *answer) tokens() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.at)
}

// end waits for the answer's end and compares it with others to the same question, as far as both go.
func (x *answer) end() error {
	<-x.ended
	a := x.asker
	switch {
	case x.err != nil:
		return fmt.Errorf("client %d: %w", a.number, x.err)
	case len(x.at) == 0:
		return fmt.Errorf("client %d: its answer has no token", a.number)
	case !slices.Equal(x.prompt, a.prompt):
		return nil
	}
	if n := min(len(x.ids), len(a.ids)); !slices.Equal(x.ids[:n], a.ids[:n]) {
		return fmt.Errorf("client %d got another answer to the same question than before: the bits of a step depend on others", a.number)
	}
	if len(x.ids) > len(a.ids) {
		a.ids = x.ids
	}
	return nil
}

// first is the seconds from the request to the first token.
func (x *answer) first() float64 { return x.at[0].Sub(x.begun).Seconds() }

// gaps are the seconds between tokens, of those that came from some time until another.
func (x *answer) gaps(from, until time.Time) (gaps []float64) {
	for i := 1; i < len(x.at); i++ {
		if !x.at[i].Before(from) && !x.at[i-1].After(until) {
			gaps = append(gaps, x.at[i].Sub(x.at[i-1]).Seconds())
		}
	}
	return gaps
}

// window is some answers that were made at once, from when all had a first token until the first of them was ended.
type window struct {
	answers     []*answer
	from, until time.Time
}

// together has some clients decode at once, for at least a time.
func (c *course) together(ctx context.Context, clients []*asker, length time.Duration) (w window, err error) {
	decoding, stop := context.WithCancel(ctx)
	defer stop()
	for _, a := range clients {
		w.answers = append(w.answers, a.ask(decoding, a.prompt, math.MaxInt32))
	}
	for _, x := range w.answers {
		x.awaits(1)
	}
	w.from = time.Now()
	select {
	case <-time.After(length):
	case <-ctx.Done():
	}
	for _, x := range w.answers {
		x.awaits(leastTokens)
	}
	w.until = time.Now()
	stop()
	var errs []error
	for _, x := range w.answers {
		errs = append(errs, x.end())
	}
	return w, errors.Join(append(errs, ctx.Err())...)
}
