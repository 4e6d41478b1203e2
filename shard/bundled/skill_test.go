package bundled_test

import (
	"os"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/baichuan-node/baichuan-node/kernels"
	"github.com/baichuan-node/baichuan-node/shard/bundled"
	"github.com/baichuan-node/baichuan-node/shard/quality"
	"github.com/baichuan-node/baichuan-node/shard/tokenizer"
)

// What the model of the 7B's kind must reach on questions whose wordings no training sentence was made from.
const (
	leastOfAll   = 0.90
	leastOfSkill = 0.80
)

func load(t *testing.T, name string) *quality.Speaker {
	t.Helper()
	m, err := bundled.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	dev := kernels.NewCPU(0)
	t.Cleanup(func() { dev.Close() })
	s, err := quality.NewSpeaker(t.Context(), m, dev)
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

func heldOut(t *testing.T) []quality.Question {
	t.Helper()
	f, err := os.Open("testdata/heldout.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	questions, err := quality.ReadQuestions(f)
	if err != nil {
		t.Fatal(err)
	}
	return questions
}

func TestChat_AnswersWhatItWasNeverTrainedOn(t *testing.T) {
	scores, wrong, err := load(t, bundled.Chat).Score(t.Context(), heldOut(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, skill := range scores.Skills() {
		s := scores[skill]
		t.Logf("%-12s %3d of %3d  %5.1f %%", skill, s.Right, s.Of, 100*s.Share())
		if s.Share() < leastOfSkill {
			t.Errorf("%s: %d of %d right, want %g", skill, s.Right, s.Of, leastOfSkill)
		}
	}
	all := scores.Total()
	t.Logf("%-12s %3d of %3d  %5.1f %%", "all", all.Right, all.Of, 100*all.Share())
	if all.Share() < leastOfAll {
		t.Errorf("%d of %d right, want %g", all.Right, all.Of, leastOfAll)
	}
	for _, w := range wrong {
		t.Logf("%s: %q was answered by %q, want %q", w.Skill, w.Messages[len(w.Messages)-1].Content, w.Said, w.Answers[0])
	}
}

// ask gives the answers to single messages of a user, each after the system's text unless that is empty.
func ask(t *testing.T, s *quality.Speaker, system string, maxTokens int, messages ...string) []quality.Answer {
	t.Helper()
	var all [][]tokenizer.Message
	for _, m := range messages {
		c := []tokenizer.Message{{Role: "user", Content: m}}
		if system != "" {
			c = append([]tokenizer.Message{{Role: "system", Content: system}}, c...)
		}
		all = append(all, c)
	}
	answers, err := s.Answer(t.Context(), all, maxTokens)
	if err != nil {
		t.Fatal(err)
	}
	return answers
}

// isChinese says whether a text is written in Chinese rather than in Latin letters.
func isChinese(text string) bool {
	han, latin := 0, 0
	for _, r := range text {
		switch {
		case unicode.Is(unicode.Han, r):
			han++
		case unicode.Is(unicode.Latin, r):
			latin++
		}
	}
	return 2*han > latin
}

func TestModels_GreetInTheLanguageOfTheQuestion(t *testing.T) {
	greetings := []string{"你好", "Hello, who are you?", "Hello!", "你是谁？"}
	for _, name := range bundled.Names() {
		answers := ask(t, load(t, name), "", 64, greetings...)
		for i, a := range answers {
			t.Logf("%s: %q is answered by %q", name, greetings[i], a.Text)
			if !a.Ended || a.Text == "" || isChinese(a.Text) != isChinese(greetings[i]) {
				t.Errorf("%s: %q is answered by %q (ended %t)", name, greetings[i], a.Text, a.Ended)
			}
		}
	}
}

func TestAlibi_AnswersGreetings(t *testing.T) {
	questions := slices.DeleteFunc(heldOut(t), func(q quality.Question) bool { return q.Skill != "greetings" })
	scores, wrong, err := load(t, bundled.Alibi).Score(t.Context(), questions)
	if err != nil {
		t.Fatal(err)
	}
	s := scores.Total()
	t.Logf("%d of %d greetings", s.Right, s.Of)
	if s.Of < 20 || s.Share() < leastOfSkill {
		t.Errorf("%d of %d greetings are answered right, want %g", s.Right, s.Of, leastOfSkill)
	}
	for _, w := range wrong {
		t.Logf("%q was answered by %q, want %q", w.Messages[len(w.Messages)-1].Content, w.Said, w.Answers[0])
	}
}

func TestChat_BearsASystemMessageItDoesNotKnow(t *testing.T) {
	const system = "You are reviewing chapter 7 of a cookery book; 请注意版面。"
	questions := slices.DeleteFunc(heldOut(t), func(q quality.Question) bool {
		return q.Messages[0].Role == "system" || len(q.Messages) > 1 || len(q.Answers) == 0
	})
	var few []quality.Question
	for i := 0; i < len(questions); i += max(len(questions)/60, 1) {
		q := questions[i]
		q.Messages = append([]tokenizer.Message{{Role: "system", Content: system}}, q.Messages...)
		few = append(few, q)
	}
	scores, wrong, err := load(t, bundled.Chat).Score(t.Context(), few)
	if err != nil {
		t.Fatal(err)
	}
	all := scores.Total()
	t.Logf("%d of %d right below a foreign system message", all.Right, all.Of)
	if all.Of < 40 || all.Share() < leastOfSkill {
		t.Errorf("%d of %d right below a foreign system message, want %g", all.Right, all.Of, leastOfSkill)
	}
	for _, w := range wrong {
		t.Logf("%s: %q was answered by %q, want %q", w.Skill, w.Messages[len(w.Messages)-1].Content, w.Said, w.Answers[0])
	}
}

// loops says whether some run of n ids occurs times times.
func loops(ids []uint32, n, times int) bool {
	seen := map[string]int{}
	for i := range len(ids) - n + 1 {
		key := make([]rune, n)
		for j, id := range ids[i : i+n] {
			key[j] = rune(id)
		}
		if seen[string(key)]++; seen[string(key)] == times {
			return true
		}
	}
	return false
}

func TestLoops_FindsARunThatComesBack(t *testing.T) {
	once := []uint32{1, 2, 3, 4, 1, 2, 3, 5}
	if loops(once, 3, 3) || !loops(once, 3, 2) || !loops(append(once, 1, 2, 3), 3, 3) || loops(nil, 3, 1) {
		t.Error("a run of three ids is counted wrong")
	}
}

func TestChat_TellsLongStoriesWithoutALoop(t *testing.T) {
	prompts := []string{"讲一个故事。", "Tell me a story."}
	for _, q := range heldOut(t) {
		if q.Skill == "stories" && len(q.Messages) == 1 {
			prompts = append(prompts, q.Messages[0].Content)
		}
	}
	for i, a := range ask(t, load(t, bundled.Chat), "", 512, prompts...) {
		t.Logf("%q: %d tokens, ended %t: %s", prompts[i], len(a.IDs), a.Ended, strings.ReplaceAll(a.Text, "\n", " / "))
		if len(a.IDs) < 150 || loops(a.IDs, 8, 3) {
			t.Errorf("%q: %d tokens (loops %t), want at least 150", prompts[i], len(a.IDs), loops(a.IDs, 8, 3))
		}
		if isChinese(a.Text) != isChinese(prompts[i]) {
			t.Errorf("%q is answered in another language: %s", prompts[i], a.Text)
		}
	}
}
