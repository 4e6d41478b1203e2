package client

import (
	"math"
	"slices"
	"testing"

	"github.com/baichuan-node/baichuan-node/shard/sample"
)

// tokensOf reads an answer's chunks.
func tokensOf(t *testing.T, c *Conversation, prompt []uint32, o Options) (tokens, ofPrompt []Token, out *Outcome) {
	t.Helper()
	for chunk, err := range c.Generate(t.Context(), prompt, o) {
		if err != nil {
			t.Fatal(err)
		}
		tokens, ofPrompt = append(tokens, chunk.Tokens...), append(ofPrompt, chunk.Prompt...)
		out = chunk.Outcome
	}
	return tokens, ofPrompt, out
}

func ids(tokens []Token) []uint32 {
	list := make([]uint32, len(tokens))
	for i, t := range tokens {
		list[i] = t.ID
	}
	return list
}

func TestJudge_IsTheLogSoftmax(t *testing.T) {
	// softmax of 0, ln 2, ln 1, ln 4: 1/8, 2/8, 1/8, 4/8
	logits := []float32{0, float32(math.Log(2)), 0, float32(math.Log(4))}
	got := judge(2, logits, 3)
	near := func(a, b float64) bool { return math.Abs(a-b) < 1e-6 }
	if !near(got.Logprob, math.Log(1.0/8)) || len(got.Top) != 3 {
		t.Fatalf("%+v", got)
	}
	for i, want := range []Likely{{3, math.Log(4.0 / 8)}, {1, math.Log(2.0 / 8)}, {0, math.Log(1.0 / 8)}} { // of equal ones the lower id
		if got.Top[i].ID != want.ID || !near(got.Top[i].Logprob, want.Logprob) {
			t.Errorf("place %d: %+v, want %+v", i, got.Top[i], want)
		}
	}
	if far := judge(0, []float32{-3e38, 3e38}, 1); math.IsNaN(far.Logprob) || far.Top[0].Logprob != 0 {
		t.Errorf("far apart: %+v", far)
	}
}

func TestGenerate_TellsHowLikelyTokensAreAndDrawsTheSame(t *testing.T) {
	o := Options{MaxTokens: 12, Sampling: seeded, Seed: 3, IgnoreEOS: true}
	_, plain, err := answer(t, NewConversation(toyModel(), newToyStepper()).Generate(t.Context(), prompt(9), o))
	if err != nil {
		t.Fatal(err)
	}
	s := newToyStepper()
	o.Logprobs = &Logprobs{Top: 4}
	tokens, ofPrompt, out := tokensOf(t, NewConversation(toyModel(), s), prompt(9), o)
	if !slices.Equal(out.IDs, plain.IDs) || !slices.Equal(ids(tokens), out.IDs) || len(ofPrompt) != 0 {
		t.Errorf("drew %v and told of %v; without logprobs %v", out.IDs, ids(tokens), plain.IDs)
	}
	if !slices.Equal(s.steps[:2], []int{8, 1}) {
		t.Errorf("steps of %v tokens: rows of the whole prompt were asked for", s.steps)
	}
	for i, token := range tokens {
		if len(token.Top) != 4 || token.Logprob > token.Top[0].Logprob || token.Logprob > 0 {
			t.Errorf("token %d: %+v", i, token)
		}
	}
	o.Logprobs = &Logprobs{Prompt: true}
	more, ofPrompt, out := tokensOf(t, NewConversation(toyModel(), newToyStepper()), prompt(9), o)
	if !slices.Equal(ids(ofPrompt), prompt(9)) || !slices.Equal(out.IDs, plain.IDs) || more[0].Logprob != tokens[0].Logprob {
		t.Errorf("of the prompt %v, of the answer %v", ids(ofPrompt), ids(more))
	}
	if ofPrompt[0].Logprob != 0 || ofPrompt[8].Logprob >= 0 {
		t.Errorf("%+v", ofPrompt)
	}
}

func TestGenerate_TellsOnlyOfTokensBeforeAStopString(t *testing.T) {
	tok := toyModel().Tokenizer
	s := newToyStepper()
	s.forced = tok.Encode("one, two, three")
	o := Options{Sampling: sample.Params{Penalty: 1}, Logprobs: &Logprobs{}, Stop: []string{", t"}}
	tokens, _, out := tokensOf(t, NewConversation(toyModel(), s), prompt(2), o)
	if out.Text != "one" || tok.Decode(ids(tokens)) != "one" || len(out.IDs) <= len(tokens) {
		t.Errorf("%q, told of %q, %d ids drawn", out.Text, tok.Decode(ids(tokens)), len(out.IDs))
	}
}
