package quality

import (
	"context"
	"maps"
	"slices"

	"github.com/baichuan-node/baichuan-node/shard/tokenizer"
)

// Score is how many of some questions were answered right.
type Score struct {
	Right int `json:"right"`
	Of    int `json:"of"`
}

// Share is the part that was right, from 0 to 1.
func (s Score) Share() float64 { return float64(s.Right) / float64(max(s.Of, 1)) }

// Scores are those of each skill.
type Scores map[string]Score

// Skills lists the skills, sorted.
func (s Scores) Skills() []string { return slices.Sorted(maps.Keys(s)) }

// Total adds up the skills.
func (s Scores) Total() (all Score) {
	for _, skill := range s {
		all.Right, all.Of = all.Right+skill.Right, all.Of+skill.Of
	}
	return all
}

// Wrong is a question and what was said to it instead.
type Wrong struct {
	Question
	Said string
}

// Score asks the questions and compares the answers word for word. Those without a right answer are not asked.
func (s *Speaker) Score(ctx context.Context, questions []Question) (Scores, []Wrong, error) {
	questions = answerable(questions)
	conversations := make([][]tokenizer.Message, len(questions))
	for i, q := range questions {
		conversations[i] = q.Messages
	}
	answers, err := s.Answer(ctx, conversations, answerTokens)
	if err != nil {
		return nil, nil, err
	}
	scores, wrong := score(questions, answers)
	return scores, wrong, nil
}

// answerable gives the questions that have a right answer.
func answerable(questions []Question) []Question {
	return slices.DeleteFunc(slices.Clone(questions), func(q Question) bool { return len(q.Answers) == 0 })
}

func score(questions []Question, answers []Answer) (Scores, []Wrong) {
	scores := Scores{}
	var wrong []Wrong
	for i, q := range questions {
		skill := scores[q.Skill]
		skill.Of++
		if answers[i].Ended && q.right(answers[i].Text) {
			skill.Right++
		} else {
			wrong = append(wrong, Wrong{q, answers[i].Text})
		}
		scores[q.Skill] = skill
	}
	return scores, wrong
}
