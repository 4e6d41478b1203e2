package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/baichuan-node/baichuan-node/shard/sample"
	"github.com/baichuan-node/baichuan-node/shard/tokenizer"
)

// prompt is n ids that are no stop ids.
func prompt(n int) []uint32 {
	ids := make([]uint32, n)
	for i := range ids {
		ids[i] = uint32(300 + mix(uint64(i))%1000)
	}
	return ids
}

var seeded = sample.Params{Temperature: 0.8, TopK: 20, TopP: 0.9, Penalty: 1.1}

func TestGenerate_SameSeedSameIDs(t *testing.T) {
	run := func(seed uint64, p sample.Params) []uint32 {
		c := NewConversation(toyModel(), newToyStepper())
		_, out, err := answer(t, c.Generate(t.Context(), prompt(5), Options{MaxTokens: 30, Sampling: p, Seed: seed, IgnoreEOS: true}))
		if err != nil {
			t.Fatal(err)
		}
		return out.IDs
	}
	first := run(1, seeded)
	if !slices.Equal(first, run(1, seeded)) {
		t.Error("the same seed gives other ids")
	}
	if slices.Equal(first, run(2, seeded)) {
		t.Error("another seed gives the same ids")
	}
	if greedy := (sample.Params{Penalty: 1}); !slices.Equal(run(1, greedy), run(2, greedy)) {
		t.Error("the seed changes a greedy answer")
	}
}

func TestGenerate_EndsWhereItMust(t *testing.T) {
	tok := toyModel().Tokenizer
	text := func(s string) []uint32 { return tok.Encode(s) }
	until := func(s, stop string) (n int) { // tokens, with the one that completes the stop string
		for n = 1; !strings.Contains(tok.Decode(text(s)[:n]), stop); n++ {
		}
		return n
	}
	tests := []struct {
		name   string
		forced []uint32
		o      Options
		text   string
		ids    int
		reason string
	}{
		{"stop id, which counts as an id and has no text", append(text("hello"), 2, 300), Options{}, "hello", len(text("hello")) + 1, FinishStop},
		{"the user's role id", append(text("hello"), 195, 300), Options{}, "hello", len(text("hello")) + 1, FinishStop},
		{"stop id at once", []uint32{2}, Options{}, "", 1, FinishStop},
		{"stop ids are passed over", append(text("ab"), 2, 2), Options{IgnoreEOS: true, MaxTokens: len(text("ab")) + 2}, "ab", len(text("ab")) + 2, FinishLength},
		{"length", text("hello world, it is late"), Options{MaxTokens: 2}, tok.Decode(text("hello world, it is late")[:2]), 2, FinishLength},
		{"stop string", text("one, two, three"), Options{Stop: []string{", t"}}, "one", until("one, two, three", ", t"), FinishStop},
		{"held-back text is given at a stop id", append(text("one, "), 2), Options{Stop: []string{", two"}}, "one, ", len(text("one, ")) + 1, FinishStop},
		{"held-back text is given at the limit", text("one, t"), Options{Stop: []string{", two"}, MaxTokens: len(text("one, t"))}, "one, t", len(text("one, t")), FinishLength},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newToyStepper()
			s.forced = slices.Clone(tt.forced)
			tt.o.Sampling.Penalty = 1
			text, out, err := answer(t, NewConversation(toyModel(), s).Generate(t.Context(), prompt(3), tt.o))
			if err != nil {
				t.Fatal(err)
			}
			if text != tt.text || len(out.IDs) != tt.ids || out.FinishReason != tt.reason {
				t.Errorf("%q, %d ids, %s; want %q, %d ids, %s", text, len(out.IDs), out.FinishReason, tt.text, tt.ids, tt.reason)
			}
		})
	}
}

func TestGenerate_DropsAnIncompleteLastCharacter(t *testing.T) {
	s := newToyStepper()
	s.forced = toyModel().Tokenizer.Encode("a𠮷")
	if len(s.forced) < 4 {
		t.Fatalf("%v: the test wants a character of several bytes", s.forced)
	}
	o := Options{MaxTokens: len(s.forced) - 1, Sampling: sample.Params{Penalty: 1}}
	text, _, err := answer(t, NewConversation(toyModel(), s).Generate(t.Context(), prompt(3), o))
	if err != nil || text != "a" {
		t.Errorf("%q, %v; want %q", text, err, "a")
	}
}

func TestGenerate_ReachesTheEndOfTheContext(t *testing.T) {
	m := toyModel().Manifest
	o := Options{MaxTokens: 50, Sampling: seeded, IgnoreEOS: true}
	s := newToyStepper()
	_, out, err := answer(t, NewConversation(toyModel(), s).Generate(t.Context(), prompt(m.Context-2), o))
	if err != nil || len(out.IDs) != 2 || out.FinishReason != FinishLength {
		t.Errorf("%+v, %v; want 2 ids and %q", out, err, FinishLength)
	}
	if got := s.begun[0].Expect; got != m.Context {
		t.Errorf("the sequence is expected to reach %d, want %d", got, m.Context)
	}
	_, _, err = answer(t, NewConversation(toyModel(), s).Generate(t.Context(), prompt(m.Context), o))
	if long := (*PromptTooLongError)(nil); !errors.As(err, &long) || long.Tokens != m.Context || long.Context != m.Context {
		t.Errorf("a prompt of the whole context gives %v", err)
	}
}

func TestGenerate_RefusesWhatMakesNoSense(t *testing.T) {
	good := sample.Params{Penalty: 1}
	tests := []struct {
		name   string
		prompt []uint32
		o      Options
	}{
		{"no prompt", nil, Options{Sampling: good}},
		{"an id beyond the vocabulary", []uint32{toyVocab}, Options{Sampling: good}},
		{"no penalty given", prompt(1), Options{}},
		{"a negative limit", prompt(1), Options{Sampling: good, MaxTokens: -1}},
		{"an empty stop string", prompt(1), Options{Sampling: good, Stop: []string{""}}},
		{"a broken stop string", prompt(1), Options{Sampling: good, Stop: []string{"\xff"}}},
		{"too many stop strings", prompt(1), Options{Sampling: good, Stop: slices.Repeat([]string{"x"}, maxStops+1)}},
		{"too hot", prompt(1), Options{Sampling: sample.Params{Penalty: 1, Temperature: 101}}},
		{"a penalty out of range", prompt(1), Options{Sampling: sample.Params{Penalty: 1e5}}},
		{"not a number", prompt(1), Options{Sampling: sample.Params{Penalty: 1, TopP: math.NaN()}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newToyStepper()
			if _, _, err := answer(t, NewConversation(toyModel(), s).Generate(t.Context(), tt.prompt, tt.o)); err == nil {
				t.Error("no error")
			}
			if len(s.begun) > 0 {
				t.Error("the stepper was asked")
			}
		})
	}
}

func TestGenerate_WritesLogitsAndDrawsTheSame(t *testing.T) {
	o := Options{MaxTokens: 12, Sampling: seeded, Seed: 5, IgnoreEOS: true}
	ids := prompt(20)
	_, without, err := answer(t, NewConversation(toyModel(), newToyStepper()).Generate(t.Context(), ids, o))
	if err != nil {
		t.Fatal(err)
	}
	var rows bytes.Buffer
	o.Logits = &rows
	c := NewConversation(toyModel(), newToyStepper())
	for range 2 { // the second time nothing may be kept
		rows.Reset()
		_, with, err := answer(t, c.Generate(t.Context(), ids, o))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(with.IDs, without.IDs) {
			t.Errorf("with logits %v, without %v", with.IDs, without.IDs)
		}
		var want bytes.Buffer
		cache := newToyStepper().cache
		for _, id := range slices.Concat(ids, with.IDs[:len(with.IDs)-1]) {
			want.Write(floats(toyLogits(cache.push(uint64(id)))))
		}
		if !bytes.Equal(rows.Bytes(), want.Bytes()) {
			t.Errorf("%d bytes of logits are not the %d of every token but the last", rows.Len(), want.Len())
		}
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestGenerate_EndsWhenLogitsCannotBeWritten(t *testing.T) {
	c := NewConversation(toyModel(), newToyStepper())
	_, _, err := answer(t, c.Generate(t.Context(), prompt(2), Options{Sampling: seeded, Logits: fullDisk{}}))
	if err == nil || !strings.Contains(err.Error(), "disk full") {
		t.Errorf("the error is %v", err)
	}
}

func TestConversation_ComputesOnlyWhatIsNew(t *testing.T) {
	s := newToyStepper()
	c := NewConversation(toyModel(), s)
	o := Options{MaxTokens: 4, Sampling: seeded, IgnoreEOS: true}
	_, first, err := answer(t, c.Generate(t.Context(), prompt(10), o))
	if err != nil {
		t.Fatal(err)
	}
	next := slices.Concat(prompt(10), first.IDs, []uint32{301, 302})
	again := func(ids []uint32, keep, steps int) {
		t.Helper()
		s.steps = nil
		_, out, err := answer(t, c.Generate(t.Context(), ids, o))
		if err != nil {
			t.Fatal(err)
		}
		if got := s.begun[len(s.begun)-1].Keep; got != keep || s.steps[0] != steps {
			t.Errorf("kept %d and computed %d tokens, want %d and %d", got, s.steps[0], keep, steps)
		}
		_, want, err := answer(t, NewConversation(toyModel(), newToyStepper()).Generate(t.Context(), ids, o))
		if err != nil || !slices.Equal(out.IDs, want.IDs) {
			t.Errorf("%v, alone %v (%v)", out.IDs, want.IDs, err)
		}
	}
	again(next, 13, 3) // the last token of an answer is never computed
	again(next, 15, 1) // the same again: one token is always computed
	other := slices.Clone(next)
	other[4]++
	again(other, 4, 12)
	again(prompt(1), 0, 1)
}

func TestConversation_GoesOnAfterAnError(t *testing.T) {
	s := newToyStepper()
	c := NewConversation(toyModel(), s)
	o := Options{MaxTokens: 4, Sampling: seeded, IgnoreEOS: true}
	broken := errors.New("broken")
	s.fail = broken
	if _, _, err := answer(t, c.Generate(t.Context(), prompt(9), o)); !errors.Is(err, broken) {
		t.Errorf("the error is %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for range c.Generate(ctx, prompt(9), Options{Sampling: seeded, IgnoreEOS: true}) {
		cancel()
	}
	for range c.Generate(t.Context(), prompt(9), Options{Sampling: seeded, IgnoreEOS: true}) {
		break // the reader leaves
	}
	_, out, err := answer(t, c.Generate(t.Context(), prompt(9), o))
	if err != nil {
		t.Fatal(err)
	}
	_, want, err := answer(t, NewConversation(toyModel(), newToyStepper()).Generate(t.Context(), prompt(9), o))
	if err != nil || !slices.Equal(out.IDs, want.IDs) {
		t.Errorf("%v, alone %v (%v)", out.IDs, want.IDs, err)
	}
}

func TestGenerate_CancelledContextIsItsError(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err := answer(t, NewConversation(toyModel(), newToyStepper()).Generate(ctx, prompt(9), Options{Sampling: seeded}))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
}

func TestChat_DropsTheOldestRounds(t *testing.T) {
	m := toyModel()
	text := func(tokens int) string {
		unit := "very long "
		return strings.Repeat(unit, tokens/len(m.Tokenizer.Encode(unit)))
	}
	long := text(500)
	messages := []tokenizer.Message{
		{Role: "user", Content: long}, {Role: "assistant", Content: "yes"},
		{Role: "user", Content: long}, {Role: "assistant", Content: "no"},
		{Role: "user", Content: "and now?"},
	}
	whole, err := m.Tokenizer.Chat(messages, m.Roles())
	if err != nil {
		t.Fatal(err)
	}
	ask := func(messages []tokenizer.Message, room int) (*Outcome, int, error) {
		c := NewConversation(m, newToyStepper())
		seq, dropped, err := c.Chat(t.Context(), messages, Options{MaxTokens: room, Sampling: seeded})
		if err != nil {
			return nil, 0, err
		}
		_, out, err := answer(t, seq)
		return out, dropped, err
	}
	out, dropped, err := ask(messages, 10)
	if err != nil || dropped != 0 || !slices.Equal(out.PromptIDs, whole) {
		t.Errorf("of %d tokens %d rounds were dropped (%v), want none", len(whole), dropped, err)
	}
	messages[0].Content = text(1000)
	if out, dropped, err = ask(messages, 10); err != nil || dropped != 1 || len(out.PromptIDs) > m.Manifest.Context-10 {
		t.Errorf("%d rounds were dropped (%v), want 1", dropped, err)
	}
	if _, dropped, err = ask(messages[:1], 0); err != nil || dropped != 0 {
		t.Errorf("one round of more than half of the context: dropped %d, %v", dropped, err)
	}
	messages[0].Content = text(2000)
	if _, _, err = ask(messages[:1], 10); !errors.As(err, new(*PromptTooLongError)) {
		t.Errorf("one round beyond the context gives %v", err)
	}
	if _, _, err = ask(nil, 10); err == nil {
		t.Error("no messages, no error")
	}
}

func TestOutcome_JSON(t *testing.T) {
	s := newToyStepper()
	s.forced = []uint32{2}
	_, out, err := answer(t, NewConversation(toyModel(), s).Generate(t.Context(), []uint32{300}, Options{Sampling: sample.Params{Penalty: 1}}))
	if err != nil {
		t.Fatal(err)
	}
	out.Timings = Timings{FirstToken: 1500e6, Total: 2500e6, Tokens: 11}
	out.Failovers = []Failover{{Peer: "a", Reason: errors.New("silent"), Stall: 3e9, Replayed: 2}}
	got, err := json.Marshal(out)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"text":"","prompt_ids":[300],"ids":[2],"finish_reason":"stop","cached_tokens":0,"model":"toy",` +
		`"chain":[{"peer":"","nick":"","layers":"0:0","device":"toy"}],` +
		`"timings":{"first_token_ms":1500,"total_ms":2500,"tokens_per_s":10},` +
		`"failovers":[{"layers":"0:0","peer":"2g","reason":"silent","successors":[],"stall_ms":3000,"replayed_tokens":2,"handed_over_tokens":0}],` +
		`"stats":{"hops":0,"client_bytes":0,"relayed_bytes":0,"prefix_hit_tokens":0,"cached_tokens":0,"replayed_tokens":0,"reconnects":0,"bans":0,"pauses":0,"stall_ms":0}}`
	if string(got) != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}
