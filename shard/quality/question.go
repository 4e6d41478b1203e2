package quality

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/baichuan-node/baichuan-node/shard/tokenizer"
)

// Question is a conversation that waits for an answer.
type Question struct {
	Skill    string
	Lang     string // zh or en
	Messages []tokenizer.Message
	Answers  []string // each of them is right; none where no answer is the one, as with a story
}

// right says whether an answer is one of the right ones, but for space around it.
func (q *Question) right(answer string) bool {
	return slices.ContainsFunc(q.Answers, func(a string) bool { return strings.TrimSpace(a) == strings.TrimSpace(answer) })
}

// ReadQuestions reads a JSON object per line: {"skill","lang","messages":[{"role","content"}],"answer"}, where answer is
// a string or a list of strings, and "" says that there is no one answer. Empty lines are passed over.
func ReadQuestions(r io.Reader) ([]Question, error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	var all []Question
	for n := 1; lines.Scan(); n++ {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		q, err := parseQuestion(lines.Bytes())
		if err != nil {
			return nil, fmt.Errorf("read questions: line %d: %w", n, err)
		}
		all = append(all, q)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read questions: %w", err)
	}
	if len(all) == 0 {
		return nil, errors.New("read questions: there are none")
	}
	return all, nil
}

func parseQuestion(line []byte) (Question, error) {
	var raw struct {
		Skill    string              `json:"skill"`
		Lang     string              `json:"lang"`
		Messages []tokenizer.Message `json:"messages"`
		Answer   json.RawMessage     `json:"answer"`
	}
	if err := json.Unmarshal(line, &raw); err != nil {
		return Question{}, err
	}
	q := Question{Skill: raw.Skill, Lang: raw.Lang, Messages: raw.Messages}
	if len(raw.Answer) > 0 && raw.Answer[0] == '"' {
		raw.Answer = slices.Concat([]byte("["), raw.Answer, []byte("]"))
	}
	if err := json.Unmarshal(raw.Answer, &q.Answers); err != nil {
		return Question{}, fmt.Errorf("answer: want a string or a list of them: %w", err)
	}
	if q.Skill == "" || len(q.Messages) == 0 {
		return Question{}, errors.New("want a skill and messages")
	}
	q.Answers = slices.DeleteFunc(q.Answers, func(a string) bool { return a == "" })
	return q, nil
}
