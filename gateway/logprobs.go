package gateway

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/baichuan-node/baichuan-node/client"
	"github.com/baichuan-node/baichuan-node/shard/tokenizer"
)

// spell gives a token's text, and its bytes where it has any. Half a character is spelled with \x.
func spell(t *tokenizer.Tokenizer, id uint32) (text string, list []int) {
	b := t.Bytes(id)
	if b == nil {
		return t.Piece(id), nil
	}
	for _, x := range b {
		list = append(list, int(x))
	}
	if utf8.Valid(b) {
		return string(b), list
	}
	var escaped strings.Builder
	for _, x := range b {
		fmt.Fprintf(&escaped, `\x%02x`, x)
	}
	return escaped.String(), list
}

// chatLogprobs are tokens in the form of chat completions.
type chatLogprobs struct {
	Content []chatToken `json:"content"`
	Refusal *string     `json:"refusal"`
}

type chatToken struct {
	likelyToken
	Top []likelyToken `json:"top_logprobs"`
}

type likelyToken struct {
	Token   string  `json:"token"`
	Logprob float64 `json:"logprob"`
	Bytes   []int   `json:"bytes"`
}

// chatLogprobs gives nil where none were asked for.
func (a *ask) chatLogprobs(tokens []client.Token) *chatLogprobs {
	if a.options.Logprobs == nil {
		return nil
	}
	likely := func(id uint32, logprob float64) likelyToken {
		text, b := spell(a.model.Tokenizer, id)
		return likelyToken{text, logprob, b}
	}
	l := &chatLogprobs{Content: []chatToken{}}
	for _, t := range tokens {
		x := chatToken{likely(t.ID, t.Logprob), []likelyToken{}}
		for _, other := range t.Top {
			x.Top = append(x.Top, likely(other.ID, other.Logprob))
		}
		l.Content = append(l.Content, x)
	}
	return l
}

// plainLogprobs are tokens in the form of completions.
type plainLogprobs struct {
	Tokens   []string             `json:"tokens"`
	Logprobs []*float64           `json:"token_logprobs"`
	Top      []map[string]float64 `json:"top_logprobs"`
	Offsets  []int                `json:"text_offset"`
}

// offsets counts where in a choice's text, in characters, each token begins.
type offsets struct {
	decoder *tokenizer.Decoder
	at      int
}

// plainLogprobs gives nil where none were asked for. prompt says that the tokens begin a prompt, whose first one follows
// from nothing.
func (a *ask) plainLogprobs(tokens []client.Token, prompt bool, o *offsets) *plainLogprobs {
	if a.options.Logprobs == nil {
		return nil
	}
	l := &plainLogprobs{Tokens: []string{}, Logprobs: []*float64{}, Offsets: []int{}}
	if a.options.Logprobs.Top > 0 {
		l.Top = []map[string]float64{}
	}
	for i, t := range tokens {
		text := a.plainSpelling(t.ID)
		l.Tokens = append(l.Tokens, text)
		l.Offsets = append(l.Offsets, o.at)
		o.at += utf8.RuneCountInString(o.decoder.Push(t.ID))
		first := prompt && i == 0
		var logprob *float64
		if !first {
			logprob = &t.Logprob
		}
		l.Logprobs = append(l.Logprobs, logprob)
		if l.Top == nil {
			continue
		}
		var top map[string]float64
		if !first {
			top = map[string]float64{text: t.Logprob} // the token itself is always among them
			for _, other := range t.Top {
				top[a.plainSpelling(other.ID)] = other.Logprob
			}
		}
		l.Top = append(l.Top, top)
	}
	return l
}

func (a *ask) plainSpelling(id uint32) string {
	text, b := spell(a.model.Tokenizer, id)
	if b != nil && strings.HasPrefix(text, `\x`) && len(text) == 4*len(b) {
		return "bytes:" + text
	}
	return text
}

// join puts what follows behind what is there.
func (l *plainLogprobs) join(next *plainLogprobs) *plainLogprobs {
	if l == nil || next == nil {
		return next
	}
	l.Tokens, l.Logprobs = append(l.Tokens, next.Tokens...), append(l.Logprobs, next.Logprobs...)
	l.Top, l.Offsets = append(l.Top, next.Top...), append(l.Offsets, next.Offsets...)
	return l
}
