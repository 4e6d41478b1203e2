package quality

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/baichuan-node/baichuan-node/kernels"
	"github.com/baichuan-node/baichuan-node/shard/checkpoint"
	"github.com/baichuan-node/baichuan-node/shard/reference"
	"github.com/baichuan-node/baichuan-node/shard/store"
	"github.com/baichuan-node/baichuan-node/shard/tokenizer"
)

// Format is how a model's weights and cache are stored.
type Format struct{ Weights, KV string }

// Formats gives those that people import, the coarsest first. bf16 is the yardstick among them: it keeps a published
// checkpoint's own values.
func Formats() []Format { return []Format{{"nf4", "int8"}, {"int8", "int8"}, {"bf16", "f16"}} }

// Figures are what a format gives on some questions. The first three are over the tokens of the right answers and
// their ends, each predicted from what is before it.
type Figures struct {
	Weights    string  `json:"weights"` // "float64" is the reference
	KV         string  `json:"kv"`
	Perplexity float64 `json:"perplexity"`
	KL         float64 `json:"kl"`   // mean divergence of the distributions from the reference's, in nats
	Top1       float64 `json:"top1"` // share of the tokens where the first choice is the reference's
	Scores     Scores  `json:"skills"`
}

// Report is what Compare finds. The first figures are the reference's.
type Report struct {
	Questions int       `json:"questions"`
	Tokens    int       `json:"tokens"` // that the distributions were compared at
	Figures   []Figures `json:"formats"`
}

// Compare imports a checkpoint in some formats into a store, which must have no models of the formats' names, and holds
// each against the checkpoint in float64. Questions without a right answer are left out; at least one must have one.
func Compare(
	ctx context.Context, c *checkpoint.Checkpoint, models *store.Store, dev kernels.Device, formats []Format, questions []Question,
) (_ *Report, err error) {
	if questions = answerable(questions); len(questions) == 0 {
		return nil, errors.New("compare formats: no question has a right answer")
	}
	exact, err := reference.New(c)
	if err != nil {
		return nil, fmt.Errorf("compare formats: %w", err)
	}
	r := comparison{exact: exact, means: make([]means, 1+len(formats)), known: make([][]Answer, 1+len(formats))}
	defer func() {
		for _, s := range r.speakers {
			err = errors.Join(err, s.Close())
		}
	}()
	for _, f := range formats {
		m, err := store.Import(ctx, models, c, store.ImportOptions{Name: f.Weights + "-" + f.KV, Weights: f.Weights, KV: f.KV})
		if err != nil {
			return nil, err
		}
		s, err := NewSpeaker(ctx, m, dev)
		if err != nil {
			return nil, err
		}
		r.speakers = append(r.speakers, s)
	}
	return r.run(ctx, formats, questions)
}

// comparison is a run of Compare. Of means and known, the first element is the reference's, the others are the formats'.
type comparison struct {
	exact    *reference.Model
	speakers []*Speaker // one for each format
	means    []means
	// known has an answer for each question: the right one where it is the first choice at every token, as the
	// distributions tell without asking, and else one that has not ended.
	known [][]Answer
}

func (r *comparison) run(ctx context.Context, formats []Format, questions []Question) (*Report, error) {
	for from := 0; from < len(questions); from += batch {
		if err := r.distributions(ctx, questions[from:min(from+batch, len(questions))]); err != nil {
			return nil, err
		}
	}
	report := &Report{Questions: len(questions), Tokens: r.means[0].tokens}
	formats = slices.Concat([]Format{{"float64", "float64"}}, formats)
	for i, f := range formats {
		var open [][]tokenizer.Message
		for j, a := range r.known[i] {
			if !a.Ended {
				open = append(open, questions[j].Messages)
			}
		}
		answers, err := r.ask(ctx, i, open)
		if err != nil {
			return nil, err
		}
		for j, a := range r.known[i] {
			if !a.Ended {
				r.known[i][j], answers = answers[0], answers[1:]
			}
		}
		scores, _ := score(questions, r.known[i])
		report.Figures = append(report.Figures, r.means[i].figures(f, scores))
	}
	return report, nil
}

// ask gives the reference's answers, or those of a format.
func (r *comparison) ask(ctx context.Context, model int, conversations [][]tokenizer.Message) ([]Answer, error) {
	if model > 0 {
		return r.speakers[model-1].Answer(ctx, conversations, answerTokens)
	}
	answers := make([]Answer, len(conversations))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, messages := range conversations {
		group.Go(func() (err error) {
			answers[i], err = exactAnswer(ctx, r.exact.NewSequence(), r.speakers[0].words, messages)
			return err
		})
	}
	return answers, group.Wait()
}

// text is a question with its right answer.
type text struct {
	ids, targets []uint32 // what is read, and what each of the last tokens should be followed by
	want         [][]float64
	answer       string
}

// distributions compares what the reference and the formats expect at each token of the right answers.
func (r *comparison) distributions(ctx context.Context, questions []Question) error {
	texts := make([]text, len(questions))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, q := range questions {
		t := &texts[i]
		t.answer = q.Answers[0]
		var err error
		if t.ids, t.targets, err = r.speakers[0].answered(q); err != nil {
			return err
		}
		group.Go(func() error {
			t.want = r.exact.NewSequence().Append(t.ids...)[len(t.ids)-len(t.targets):]
			return ctx.Err()
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for _, t := range texts {
		r.note(0, t, t.want)
		for n, s := range r.speakers {
			got, err := s.logits(t.ids, len(t.ids)-len(t.targets))
			if err != nil {
				return err
			}
			r.note(n+1, t, widen(got, s.manifest.Vocab))
		}
	}
	return nil
}

// note adds a model's logits at the targets of a text to its means, and notes whether the right answer is what it would
// say: at every target the first choice.
func (r *comparison) note(model int, t text, got [][]float64) {
	says := true
	for i, target := range t.targets {
		r.means[model].add(t.want[i], got[i], target)
		says = says && highest(got[i]) == int(target)
	}
	answer := Answer{}
	if says {
		answer = Answer{Text: t.answer, IDs: t.targets[:len(t.targets)-1], Ended: true}
	}
	r.known[model] = append(r.known[model], answer)
}

// widen gives the rows of vocab logits each.
func widen(logits []float32, vocab int) [][]float64 {
	rows := make([][]float64, len(logits)/vocab)
	for i := range rows {
		rows[i] = make([]float64, vocab)
		for j, v := range logits[i*vocab : (i+1)*vocab] {
			rows[i][j] = float64(v)
		}
	}
	return rows
}

// answered gives the ids of a question and its right answer, and the ids that follow each of the last of them: the
// answer's, and the one that ends it.
func (w words) answered(q Question) (ids, targets []uint32, err error) {
	prompt, err := w.prompt(q.Messages)
	if err != nil {
		return nil, nil, err
	}
	answer := w.tok.Encode(q.Answers[0])
	if n := len(prompt) + len(answer); n > w.manifest.Context {
		return nil, nil, fmt.Errorf("a question and its answer have %d tokens, more than the context", n)
	}
	return append(prompt, answer...), append(answer, uint32(w.manifest.EOS)), nil
}

// exactAnswer is Speaker.Answer for the reference.
func exactAnswer(ctx context.Context, s *reference.Sequence, w words, messages []tokenizer.Message) (Answer, error) {
	prompt, err := w.prompt(messages)
	if err != nil {
		return Answer{}, err
	}
	a := answering{limit: min(answerTokens, w.manifest.Context-len(prompt))}
	rows := s.Append(prompt...)
	for a.take(w, uint32(highest(rows[len(rows)-1]))) {
		if err := ctx.Err(); err != nil {
			return Answer{}, err
		}
		rows = s.Append(a.IDs[len(a.IDs)-1])
	}
	a.Text = w.tok.Decode(a.IDs)
	return a.Answer, nil
}

// means are the sums of which figures are made.
type means struct {
	tokens, same int
	surprise, kl float64
}

// add notes one token: the reference's logits, the format's, and which token is right.
func (m *means) add(want, got []float64, target uint32) {
	wantSum, gotSum := logSumExp(want), logSumExp(got)
	for i, l := range want {
		p := l - wantSum
		m.kl += math.Exp(p) * (p - (got[i] - gotSum))
	}
	m.surprise -= got[target] - gotSum
	m.tokens++
	if highest(want) == highest(got) {
		m.same++
	}
}

func (m *means) figures(f Format, scores Scores) Figures {
	n := float64(m.tokens)
	return Figures{
		Weights: f.Weights, KV: f.KV, Perplexity: math.Exp(m.surprise / n), KL: m.kl / n, Top1: float64(m.same) / n, Scores: scores,
	}
}

// highest gives the first of the highest logits.
func highest(logits []float64) int {
	best := 0
	for i, l := range logits {
		if l > logits[best] {
			best = i
		}
	}
	return best
}

func logSumExp(logits []float64) float64 {
	top := logits[highest(logits)]
	sum := 0.0
	for _, l := range logits {
		sum += math.Exp(l - top)
	}
	return top + math.Log(sum)
}
