package client

import (
	"math"
	"slices"
)

// Logprobs ask how likely tokens were.
type Logprobs struct {
	Top    int  // beside each token, the likeliest ones at its place; at most 32
	Prompt bool // of the prompt's tokens too, all of which are computed for it
}

// Token is a token and how likely it was where it stands: the log-softmax of the raw logits, before temperature,
// penalty, top-k and top-p.
type Token struct {
	ID      uint32
	Logprob float64  // 0 for the first token of a prompt, which follows from nothing
	Top     []Likely // the likeliest first, of equal ones the lower id
}

// Likely is a token that might have stood in another's place.
type Likely struct {
	ID      uint32
	Logprob float64
}

// judge tells how likely a token was after which the model gave these logits.
func judge(id uint32, logits []float32, top int) Token {
	highest := slices.Max(logits)
	var sum float64
	for _, l := range logits {
		sum += math.Exp(float64(l) - float64(highest))
	}
	whole := float64(highest) + math.Log(sum)
	t := Token{ID: id, Logprob: float64(logits[id]) - whole, Top: make([]Likely, 0, top)}
	for _, best := range likeliest(logits, top) {
		t.Top = append(t.Top, Likely{ID: best, Logprob: float64(logits[best]) - whole})
	}
	return t
}

// likeliest gives the ids of the n highest logits, the highest first.
func likeliest(logits []float32, n int) []uint32 {
	best := make([]uint32, 0, n+1)
	for id, l := range logits {
		if len(best) == n && (n == 0 || l <= logits[best[n-1]]) {
			continue
		}
		at := len(best)
		for at > 0 && logits[best[at-1]] < l {
			at--
		}
		best = slices.Insert(best, at, uint32(id))
		best = best[:min(len(best), n)]
	}
	return best
}

// judged are tokens whose text has not been given out yet: a token goes out with the chunk that completes its text.
type judged struct {
	prompt  []Token
	waiting []placed
	length  int // of the text of all tokens so far
}

// placed is a token and where its text lies in the answer's.
type placed struct {
	Token
	start, end int
}

// ofPrompt takes down the prompt's next token.
func (j *judged) ofPrompt(id uint32, logits []float32, top int) {
	j.prompt = append(j.prompt, judge(id, logits, top))
}

// drawn takes down a token of the answer that has added n bytes to its text.
func (j *judged) drawn(id uint32, logits []float32, top, n int) {
	j.waiting = append(j.waiting, placed{judge(id, logits, top), j.length, j.length + n})
	j.length += n
}

// until gives the tokens whose text has gone out with the answer's first n bytes.
func (j *judged) until(n int) []Token {
	return j.take(func(p placed) bool { return p.end <= n })
}

// rest gives what is left when the answer has ended with n bytes: of one that a stop string has cut, only those that have
// text before the cut.
func (j *judged) rest(n int, cut bool) []Token {
	return j.take(func(p placed) bool { return !cut || p.start < n })
}

func (j *judged) take(out func(placed) bool) []Token {
	var tokens []Token
	for len(j.waiting) > 0 && out(j.waiting[0]) {
		tokens = append(tokens, j.waiting[0].Token)
		j.waiting = j.waiting[1:]
	}
	return tokens
}
