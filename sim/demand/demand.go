// Package demand measures what a swarm gives to clients who want something at the same time: how many tokens a second all
// of them get, beside what the machine could compute at most, and how long one's tokens keep it waiting while another
// has a long prompt computed.
//
// [Start] makes a swarm of real processes with a stored model or one that is made up; [Run] has clients decode, in turns
// with the machine's limits. Every client asks the same again and again, and must get the same ids whoever decodes beside it.
// The package prints nothing, and no figure of it is a pass or fail.
package demand

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/baichuan-node/baichuan-node/client"
	"github.com/baichuan-node/baichuan-node/kernels/probe"
	"github.com/baichuan-node/baichuan-node/shard/measure"
)

// Config says what is measured. DefaultConfig fills in the numbers.
type Config struct {
	// Connect makes a client with a host of its own, and the function that closes it. Required.
	Connect func(ctx context.Context) (*client.Client, func() error, error)
	// Swarm is the swarm on this machine that the clients talk to; nil: it is elsewhere, and neither its limits nor its
	// passes are known.
	Swarm *Swarm
	// Probe finds this machine's limits; nil with a swarm that is elsewhere.
	Probe *probe.Probe

	Clients []int         // that decode at once, one number after the other
	Prompt  int           // tokens of their prompts
	Long    int           // tokens of the prompt that another has computed meanwhile; 0: that is not measured
	Window  time.Duration // for which they decode
	Rounds  int           // that medians are taken of
}

// DefaultConfig measures 1, 2, 4 and 8 clients, and a token's wait beside a prompt of 2,000.
func DefaultConfig() Config {
	return Config{Clients: []int{1, 2, 4, 8}, Prompt: promptTokens, Long: longTokens, Window: windowLength, Rounds: rounds}
}

// Report is what was found.
type Report struct {
	Limits  *probe.Limits `json:"limits,omitempty"`
	Clients []Figure      `json:"clients"`
	Beside  *Beside       `json:"beside_a_prompt,omitempty"`
}

// Figure is what so many clients got: medians over rounds.
type Figure struct {
	Clients int     `json:"clients"`
	Tokens  float64 `json:"tokens_per_s"`        // of all together
	First   float64 `json:"first_token_s"`       // from the request to the first token
	Gap     float64 `json:"gap_s"`               // between two tokens of a client
	Times   float64 `json:"times_first"`         // the tokens/s over those of the first number of clients, in the same rounds
	Limit   float64 `json:"limit,omitempty"`     // tokens/s at most, if all decode in one pass
	By      string  `json:"limit_by,omitempty"`  // memory or arithmetic
	Memory  float64 `json:"by_memory,omitempty"` // tokens/s at most, by the one and by the other
	Compute float64 `json:"by_arithmetic,omitempty"`
	Below   float64 `json:"limit_over_tokens,omitempty"` // the limit over the tokens/s, in the same rounds
	Passes  Passes  `json:"passes"`                      // of all nodes
}

// Beside is how long a client waits for its tokens, alone and while another has a long prompt computed.
type Beside struct {
	Prompt       int     `json:"prompt_tokens"`
	Alone        Spread  `json:"alone"`
	Beside       Spread  `json:"beside"`
	Ratio        float64 `json:"p95_beside_over_median_alone"`
	PromptAlone  float64 `json:"prompt_alone_s"`  // until the prompt's first token, with nobody beside
	PromptBeside float64 `json:"prompt_beside_s"` // the same with somebody who decodes
	Passes       Passes  `json:"passes"`          // of all nodes, while both are computed
}

// Run measures. It fails if a client's answer depends on who decodes beside it.
func Run(ctx context.Context, cfg Config) (_ *Report, err error) {
	c := &course{cfg: cfg}
	defer func() { err = errors.Join(err, c.leave()) }()
	if err := c.join(ctx); err != nil {
		return nil, err
	}
	for _, warm := range []int{1, len(c.clients)} { // connections, and weights that come from the disk
		if _, err := c.decode(ctx, warm, cfg.Window/4); err != nil {
			return nil, err
		}
	}
	report := &Report{}
	turns := make([][]turn, len(cfg.Clients))
	for range cfg.Rounds {
		for i, n := range cfg.Clients {
			s, err := c.decode(ctx, n, cfg.Window)
			if err != nil {
				return nil, err
			}
			turns[i] = append(turns[i], s)
		}
	}
	for i := range cfg.Clients {
		report.Clients = append(report.Clients, c.figure(turns[i], turns[0]))
	}
	if cfg.Probe != nil {
		l := medianLimits(slices.Concat(turns...))
		report.Limits = &l
	}
	if cfg.Long > 0 {
		report.Beside, err = c.beside(ctx)
	}
	return report, err
}

// course is a measurement under way.
type course struct {
	cfg     Config
	clients []*asker
}

// turn is what some clients got in a window.
type turn struct {
	clients int
	tokens  float64 // a second
	first   []float64
	gaps    []float64
	passes  Passes
	limits  probe.Limits // mean of those before and after
}

// decode has so many clients decode at once for a time.
func (c *course) decode(ctx context.Context, n int, length time.Duration) (s turn, err error) {
	s.clients = n
	before := c.limits(ctx)
	begun, err := c.passes(ctx)
	if err != nil {
		return s, err
	}
	w, err := c.together(ctx, c.clients[:n], length)
	if err != nil {
		return s, err
	}
	ended, err := c.passes(ctx)
	if err != nil {
		return s, err
	}
	s.passes = ended.since(begun)
	s.limits = mean(before, c.limits(ctx))
	for _, x := range w.answers {
		gaps := x.gaps(w.from, w.until)
		s.tokens += pace(gaps)
		s.first = append(s.first, x.first())
		s.gaps = append(s.gaps, gaps...)
	}
	return s, nil
}

// limits looks what the machine can do when the nodes are done with what they were at last.
func (c *course) limits(ctx context.Context) probe.Limits {
	if c.cfg.Probe == nil {
		return probe.Limits{}
	}
	select {
	case <-time.After(restTime):
	case <-ctx.Done():
	}
	return c.cfg.Probe.Limits()
}

// passes reads what all nodes have counted.
func (c *course) passes(ctx context.Context) (sum Passes, err error) {
	if c.cfg.Swarm == nil {
		return sum, nil
	}
	for _, n := range c.cfg.Swarm.Nodes {
		p, err := countedBy(ctx, n.Metrics)
		if err != nil {
			return sum, fmt.Errorf("read the counters of the node of layers %s: %w", n.Layers, err)
		}
		sum = sum.plus(p)
	}
	return sum, nil
}

// figure makes a figure of a number's turns; first are those of the first number, of the same rounds.
func (c *course) figure(turns, first []turn) Figure {
	n := turns[0].clients
	f := Figure{
		Clients: n,
		Tokens:  medianOf(turns, func(s turn) float64 { return s.tokens }),
		First:   medianOf(turns, func(s turn) float64 { return quantile(s.first, 0.5) }),
		Gap:     medianOf(turns, func(s turn) float64 { return quantile(s.gaps, 0.5) }),
	}
	var times, below []float64
	for i, s := range turns {
		times = append(times, s.tokens/first[i].tokens)
		f.Passes = f.Passes.plus(s.passes)
	}
	f.Times = quantile(times, 0.5)
	if c.cfg.Probe == nil || c.cfg.Swarm == nil {
		return f
	}
	work := measure.DecodeWork(c.cfg.Swarm.Model.Manifest, n)
	for _, s := range turns {
		below = append(below, float64(n)/work.Least(s.limits)/s.tokens)
	}
	l := medianLimits(turns)
	f.Limit, f.By, f.Below = float64(n)/work.Least(l), work.Bound(l), quantile(below, 0.5)
	f.Memory = float64(n) / measure.Work{Bytes: work.Bytes}.Least(l)
	f.Compute = float64(n) / measure.Work{Integer: work.Integer, Float: work.Float}.Least(l)
	return f
}

// beside measures one client's waits alone and beside another's prompt, in turns.
func (c *course) beside(ctx context.Context) (*Beside, error) {
	b := &Beside{Prompt: c.cfg.Long}
	var alone, beside, promptsAlone, promptsBeside []float64
	for round := range c.cfg.Rounds {
		gaps, err := c.alone(ctx)
		if err != nil {
			return nil, err
		}
		alone = append(alone, gaps...)
		took, err := c.prompt(ctx, round)
		if err != nil {
			return nil, err
		}
		promptsAlone = append(promptsAlone, took)
		if gaps, took, err = c.besidePrompt(ctx, b, round); err != nil {
			return nil, err
		}
		beside = append(beside, gaps...)
		promptsBeside = append(promptsBeside, took)
	}
	b.Alone, b.Beside = spreadOf(alone), spreadOf(beside)
	b.Ratio = b.Beside.P95 / b.Alone.P50
	b.PromptAlone, b.PromptBeside = quantile(promptsAlone, 0.5), quantile(promptsBeside, 0.5)
	return b, nil
}

func (c *course) alone(ctx context.Context) ([]float64, error) {
	w, err := c.together(ctx, c.clients[:1], c.cfg.Window)
	if err != nil {
		return nil, err
	}
	return w.answers[0].gaps(w.from, w.until), nil
}

// prompt has the second client's long prompt computed and gives the time until its first token.
func (c *course) prompt(ctx context.Context, number int) (float64, error) {
	x := c.clients[1].ask(ctx, c.longPrompt(number), 1)
	if err := x.end(); err != nil {
		return 0, err
	}
	return x.first(), nil
}

// besidePrompt has the first client decode while the second has a long prompt computed, and gives the gaps of the first
// from when the prompt was asked for until it was done, and the seconds that this took.
func (c *course) besidePrompt(ctx context.Context, b *Beside, round int) (gaps []float64, took float64, err error) {
	decoding, stop := context.WithCancel(ctx)
	defer stop()
	x := c.clients[0].ask(decoding, c.clients[0].prompt, math.MaxInt32)
	x.awaits(leastTokens)
	from := time.Now()
	before, err := c.passes(ctx)
	if err == nil {
		took, err = c.prompt(ctx, c.cfg.Rounds+round)
	}
	until := time.Now()
	stop()
	after, counted := c.passes(ctx)
	if err := errors.Join(err, counted, x.end()); err != nil {
		return nil, 0, err
	}
	b.Passes = b.Passes.plus(after.since(before))
	return x.gaps(from, until), took, nil
}
