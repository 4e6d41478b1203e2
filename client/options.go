package client

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"unicode/utf8"

	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/shard/sample"
)

// Options say how one answer is made.
type Options struct {
	// MaxTokens ends the answer with "length" after as many tokens; it is lowered to what is left of the context, and 0
	// asks for all of that.
	MaxTokens int

	// Sampling has no default: sample.Params{Penalty: 1} is greedy and without a penalty.
	Sampling sample.Params

	// Seed decides every draw, together with the token's position: the same prompt, options and seed give the same ids.
	Seed uint64

	// Stop ends the answer before the earliest occurrence of one of these texts, which is not part of the answer. None
	// may be empty; at most 64 of 4,096 bytes.
	Stop []string

	// IgnoreEOS goes on to the limit where the model would end its answer.
	IgnoreEOS bool

	// Logits, if not nil, is written the raw logits after each token of prompt and answer but the last, before penalty
	// and temperature: little-endian float32, rows of the vocabulary. The whole prompt is computed for it, and tokens
	// are chosen here from these rows, by the code that a last hop chooses candidates with.
	Logits io.Writer

	// Logprobs, if not nil, has chunks tell how likely each token was. Each costs a row of logits on the way from the last
	// peer.
	Logprobs *Logprobs
}

// Validate reports everything that is wrong with o.
func (o *Options) Validate() error {
	errs := []error{o.Sampling.Validate()}
	if o.MaxTokens < 0 {
		errs = append(errs, fmt.Errorf("max tokens %d, want 0 (no limit but the context) or more", o.MaxTokens))
	}
	if o.Sampling.Temperature > protocol.MaxTemperature {
		errs = append(errs, fmt.Errorf("temperature %v, want at most %d", o.Sampling.Temperature, protocol.MaxTemperature))
	}
	if p := o.Sampling.Penalty; p > 0 && p < protocol.MinPenalty || p > protocol.MaxPenalty {
		errs = append(errs, fmt.Errorf("repetition penalty %v, want %v to %v", p, protocol.MinPenalty, protocol.MaxPenalty))
	}
	if len(o.Stop) > maxStops {
		errs = append(errs, fmt.Errorf("%d stop strings, want at most %d", len(o.Stop), maxStops))
	}
	if slices.ContainsFunc(o.Stop, func(s string) bool { return s == "" || len(s) > maxStopBytes || !utf8.ValidString(s) }) {
		errs = append(errs, fmt.Errorf("a stop string is empty, no UTF-8, or longer than %d bytes", maxStopBytes))
	}
	if p := o.Logprobs; p != nil && (p.Top < 0 || p.Top > maxTop) {
		errs = append(errs, fmt.Errorf("the %d likeliest tokens, want 0 to %d", p.Top, maxTop))
	}
	return errors.Join(errs...)
}

// PromptTooLongError says that a prompt leaves no room for an answer.
type PromptTooLongError struct {
	Tokens, Context int
}

func (e *PromptTooLongError) Error() string {
	return fmt.Sprintf("the prompt has %d tokens, the model's context of %d must hold it and an answer: shorten it", e.Tokens, e.Context)
}
