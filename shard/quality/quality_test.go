package quality

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/baichuan-node/baichuan-node/kernels"
	"github.com/baichuan-node/baichuan-node/shard/checkpoint"
	"github.com/baichuan-node/baichuan-node/shard/checkpoint/synthetic"
	"github.com/baichuan-node/baichuan-node/shard/reference"
	"github.com/baichuan-node/baichuan-node/shard/store"
	"github.com/baichuan-node/baichuan-node/shard/tokenizer"
)

// fixture is a random checkpoint of two layers, a store, and a device.
func fixture(t *testing.T) (*checkpoint.Checkpoint, *store.Store, kernels.Device) {
	t.Helper()
	spec, err := synthetic.Preset("small-7b")
	if err != nil {
		t.Fatal(err)
	}
	spec.Seed, spec.Layers, spec.Hidden, spec.Heads, spec.Intermediate = 3, 2, 64, 2, 128
	spec.Context, spec.Tokenizer = 256, synthetic.Tokenizer()
	dir := t.TempDir()
	if err := synthetic.Write(filepath.Join(dir, "hf"), spec); err != nil {
		t.Fatal(err)
	}
	c, err := checkpoint.Open(filepath.Join(dir, "hf"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	models, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	dev := kernels.NewCPU(0)
	t.Cleanup(func() { dev.Close() })
	return c, models, dev
}

func speaker(t *testing.T, c *checkpoint.Checkpoint, models *store.Store, dev kernels.Device, f Format) *Speaker {
	t.Helper()
	m, err := store.Import(t.Context(), models, c, store.ImportOptions{Name: "m", Weights: f.Weights, KV: f.KV})
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewSpeaker(t.Context(), m, dev)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// conversations makes n conversations of one to three messages.
func conversations(n int) [][]tokenizer.Message {
	all := make([][]tokenizer.Message, n)
	for i := range all {
		all[i] = []tokenizer.Message{{Role: "user", Content: fmt.Sprintf("question %d 你好", i*i)}}
		if i%3 == 0 {
			all[i] = append(all[i], tokenizer.Message{Role: "assistant", Content: "yes"}, tokenizer.Message{Role: "user", Content: strings.Repeat("why ", i%7)})
		}
	}
	return all
}

func TestSpeaker_AnswersManyAsItAnswersEach(t *testing.T) {
	c, models, dev := fixture(t)
	s := speaker(t, c, models, dev, Format{"f16", "f16"})
	asked := conversations(batch + 5)
	together, err := s.Answer(t.Context(), asked, 6)
	if err != nil {
		t.Fatal(err)
	}
	exact, err := reference.New(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range []int{0, 1, 9, batch - 1, batch, batch + 4} {
		alone, err := s.Answer(t.Context(), asked[i:i+1], 6)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(alone[0].IDs, together[i].IDs) || alone[0].Text != together[i].Text || alone[0].Ended != together[i].Ended {
			t.Errorf("conversation %d: %+v alone, %+v among others", i, alone[0], together[i])
		}
		want, err := exactAnswer(t.Context(), exact.NewSequence(), s.words, asked[i])
		if err != nil {
			t.Fatal(err)
		}
		if len(want.IDs) > 0 && (len(alone[0].IDs) == 0 || want.IDs[0] != alone[0].IDs[0]) {
			t.Errorf("conversation %d: begins with %v, in float64 with %d", i, alone[0].IDs, want.IDs[0])
		}
	}
}

func TestSpeaker_StaysInTheContext(t *testing.T) {
	c, models, dev := fixture(t)
	s := speaker(t, c, models, dev, Format{"nf4", "int8"})
	long := []tokenizer.Message{{Role: "user", Content: strings.Repeat("hello ", 80)}}
	answers, err := s.Answer(t.Context(), [][]tokenizer.Message{long}, 1000)
	if err != nil {
		t.Fatal(err)
	}
	prompt, err := s.prompt(long)
	if err != nil {
		t.Fatal(err)
	}
	if a := answers[0]; !a.Ended && len(prompt)+len(a.IDs) != 256 {
		t.Errorf("%d tokens answered %d, the context is 256", len(a.IDs), len(prompt))
	}
	long[0].Content += strings.Repeat("hello ", 200)
	if _, err := s.Answer(t.Context(), [][]tokenizer.Message{long}, 1); err == nil || !strings.Contains(err.Error(), "context") {
		t.Errorf("a prompt beyond the context: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Answer(ctx, conversations(1), 1); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestCompare_TellsCoarseFormatsFromFine(t *testing.T) {
	c, models, dev := fixture(t)
	var questions []Question
	for i, messages := range conversations(3) {
		questions = append(questions, Question{Skill: []string{"a", "b"}[i%2], Messages: messages, Answers: []string{"an answer"}})
	}
	questions = append(questions, Question{Skill: "free", Messages: questions[0].Messages})
	formats := append(Formats(), Format{"f16", "f16"})
	r, err := Compare(t.Context(), c, models, dev, formats, questions)
	if err != nil {
		t.Fatal(err)
	}
	if r.Questions != 3 || r.Tokens < 6 || len(r.Figures) != 1+len(formats) {
		t.Fatalf("%+v", r)
	}
	exact := r.Figures[0]
	if exact.Weights != "float64" || exact.KL != 0 || exact.Top1 != 1 || exact.Perplexity < 2 {
		t.Errorf("the reference: %+v", exact)
	}
	if total := exact.Scores.Total(); total.Of != 3 || !slices.Equal(exact.Scores.Skills(), []string{"a", "b"}) {
		t.Errorf("the reference's scores: %+v", exact.Scores)
	}
	for i, f := range r.Figures[1:] {
		if f.Weights != formats[i].Weights || f.KV != formats[i].KV || f.Scores.Total().Of != 3 {
			t.Errorf("figures %d: %+v", i, f)
		}
		if math.Abs(math.Log(f.Perplexity/exact.Perplexity)) > 0.5 {
			t.Errorf("%s: perplexity %g, the reference's is %g", f.Weights, f.Perplexity, exact.Perplexity)
		}
	}
	nf4, int8, f16 := r.Figures[1], r.Figures[2], r.Figures[4]
	if !(nf4.KL > int8.KL && int8.KL > f16.KL && f16.KL >= 0 && f16.KL < 1e-5) {
		t.Errorf("KL: nf4 %g, int8 %g, f16 %g", nf4.KL, int8.KL, f16.KL)
	}
	if _, err := Compare(t.Context(), c, models, dev, formats, questions[3:]); err == nil {
		t.Error("a comparison on no right answer")
	}
}

func TestMeans_AreThoseOfTheDefinition(t *testing.T) {
	var m means
	even, three := []float64{0, 0}, []float64{math.Log(3), 0}
	m.add(even, even, 0)  // surprise log 2, KL 0
	m.add(even, three, 1) // surprise log 4, KL (log(2/3) + log 2)/2, same first choice
	m.add(three, even, 0) // surprise log 2, KL 3/4 log(3/2) + 1/4 log(1/2), same
	m.add([]float64{0, 1}, three, 0)
	f := m.figures(Format{"nf4", "int8"}, nil)
	if want := math.Pow(2*4*2*4.0/3, 0.25); math.Abs(f.Perplexity-want) > 1e-12 {
		t.Errorf("perplexity %g, want %g", f.Perplexity, want)
	}
	e := math.E / (1 + math.E)
	last := (1-e)*math.Log((1-e)/0.75) + e*math.Log(e/0.25)
	want := (math.Log(4.0/3)/2 + 0.75*math.Log(1.5) - 0.25*math.Log(2) + last) / 4
	if math.Abs(f.KL-want) > 1e-12 || f.Top1 != 0.75 {
		t.Errorf("KL %g and top-1 %g, want %g and 0.75", f.KL, f.Top1, want)
	}
}

func TestReadQuestions_TakesOneOrSeveralAnswers(t *testing.T) {
	const text = `{"skill":"a","lang":"zh","messages":[{"role":"user","content":"你好"}],"answer":"好"}

{"skill":"b","messages":[{"role":"system","content":"x"},{"role":"user","content":"y"}],"answer":["1","2"],"more":0}
{"skill":"c","messages":[{"role":"user","content":"story"}],"answer":""}
`
	all, err := ReadQuestions(strings.NewReader(text))
	if err != nil || len(all) != 3 {
		t.Fatalf("%d questions: %v", len(all), err)
	}
	if q := all[0]; q.Lang != "zh" || !q.right(" 好\n") || q.right("不好") {
		t.Errorf("%+v", q)
	}
	if q := all[1]; len(q.Messages) != 2 || !q.right("2") || q.right("12") {
		t.Errorf("%+v", q)
	}
	if rest := answerable(all); len(rest) != 2 || len(all[2].Answers) != 0 {
		t.Errorf("%d questions have a right answer, want 2", len(rest))
	}
}

func TestReadQuestions_NamesTheLineThatIsNone(t *testing.T) {
	for text, want := range map[string]string{
		"": "there are none",
		"\n{\"skill\":\"a\",\"messages\":[{\"role\":\"user\",\"content\":\"\"}],\"answer\":1}": "line 2: answer",
		`{"skill":"a","messages":[{"role":"user","content":""}]}`:                              "line 1: answer",
		`{"skill":"a","messages":[],"answer":"x"}`:                                             "line 1: want a skill and messages",
		`{"messages":[{"role":"user","content":""}],"answer":"x"}`:                             "line 1: want a skill",
		"[":                            "line 1",
		strings.Repeat("x", maxLine+1): "token too long",
	} {
		if _, err := ReadQuestions(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: %v, want %q", text, err, want)
		}
	}
}

func FuzzReadQuestions(f *testing.F) {
	f.Add([]byte(`{"skill":"a","lang":"zh","messages":[{"role":"user","content":"x"}],"answer":["y",""]}`))
	f.Add([]byte(`{"skill":"a","messages":[{}],"answer":"y"}` + "\n\n"))
	f.Add([]byte(`{"answer":`))
	f.Fuzz(func(t *testing.T, text []byte) {
		all, err := ReadQuestions(strings.NewReader(string(text)))
		for _, q := range all {
			if err != nil || q.Skill == "" || len(q.Messages) == 0 || slices.Contains(q.Answers, "") {
				t.Errorf("%+v (%v)", q, err)
			}
		}
	})
}
