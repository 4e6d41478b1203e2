package gateway

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/baichuan-node/baichuan-node/client"
	"github.com/baichuan-node/baichuan-node/shard/bundled"
)

func TestCompletions_ContinueEachPrompt(t *testing.T) {
	f := chatFront(t)
	const path = "/v1/completions"
	one := func(prompt any, more map[string]any) answered {
		t.Helper()
		fields := map[string]any{"prompt": prompt, "temperature": 1, "seed": 5, "max_tokens": 6}
		maps.Copy(fields, more)
		return f.answer(path, fields)
	}
	whole := one([]string{"今天天气", "The capital"}, map[string]any{"n": 2})
	if whole.Object != "text_completion" || !strings.HasPrefix(whole.ID, "cmpl-") || len(whole.Choices) != 4 {
		t.Fatalf("%+v", whole)
	}
	for i, prompt := range []string{"今天天气", "今天天气", "The capital", "The capital"} {
		alone := one(prompt, map[string]any{"seed": 5 + i}).Choices[0]
		if c := whole.Choices[i]; c.Index != i || c.Text != alone.Text || *c.FinishReason != *alone.FinishReason {
			t.Errorf("choice %d is %q, alone %q", i, c.Text, alone.Text)
		}
	}
	if n := len(f.server.models[0].encode("今天天气")) + len(f.server.models[0].encode("The capital")); whole.Usage.PromptTokens != n || whole.Usage.TotalTokens != n+whole.Usage.CompletionTokens {
		t.Errorf("usage %+v, the prompts have %d tokens", whole.Usage, n)
	}
	events := f.stream(path, map[string]any{"prompt": []string{"今天天气", "The capital"}, "n": 2, "temperature": 1, "seed": 5, "max_tokens": 6})
	got, finish := texts(events, 4)
	for i, c := range whole.Choices {
		if got[i] != c.Text || finish[i] != *c.FinishReason {
			t.Errorf("choice %d: %q streamed, %q at once", i, got[i], c.Text)
		}
	}
	ids := f.server.models[0].encode("今天天气")
	for _, prompt := range []any{ids, [][]uint32{ids}} {
		if c := one(prompt, nil).Choices[0]; c.Text != whole.Choices[0].Text {
			t.Errorf("as ids: %q, want %q", c.Text, whole.Choices[0].Text)
		}
	}
	if c := f.answer(path, map[string]any{"prompt": "从前", "temperature": 0, "repetition_penalty": 1, "stop": nil}); c.Usage.CompletionTokens > plainTokens {
		t.Errorf("without a limit %d tokens", c.Usage.CompletionTokens)
	}
}

func TestCompletions_EchoThePrompt(t *testing.T) {
	f := chatFront(t)
	const path, prompt = "/v1/completions", "从前，有一只𠮷 cat"
	tokens := len(f.server.models[0].encode(prompt))
	plain := f.answer(path, map[string]any{"prompt": prompt, "temperature": 0, "max_tokens": 4}).Choices[0].Text
	for _, logprobs := range []any{nil, 0, 2} {
		fields := map[string]any{"prompt": prompt, "temperature": 0, "max_tokens": 4, "echo": true, "logprobs": logprobs}
		a := f.answer(path, fields)
		c := a.Choices[0]
		if c.Text != prompt+plain || a.Usage.PromptTokens != tokens || (c.Logprobs != nil) != (logprobs != nil) {
			t.Errorf("logprobs %v: %+v, usage %+v", logprobs, c, a.Usage)
		}
		if got, _ := texts(f.stream(path, maps.Clone(fields)), 1); got[0] != c.Text {
			t.Errorf("logprobs %v: streamed %q", logprobs, got[0])
		}
		score := maps.Clone(fields)
		score["max_tokens"] = 0
		s := f.answer(path, score)
		x := s.Choices[0]
		if x.Text != prompt || *x.FinishReason != "length" || s.Usage.CompletionTokens != 0 || s.Usage.TotalTokens != tokens {
			t.Errorf("no tokens, logprobs %v: %+v, usage %+v", logprobs, x, s.Usage)
		}
		if got, _ := texts(f.stream(path, score), 1); got[0] != prompt {
			t.Errorf("no tokens, logprobs %v: streamed %q", logprobs, got[0])
		}
		if logprobs == nil {
			continue
		}
		l, n := c.Logprobs, tokens+a.Usage.CompletionTokens
		if *c.FinishReason == "stop" {
			n-- // the token that ended the answer is no part of it
		}
		if len(l.Tokens) != n || len(l.TokenLogprobs) != n || len(l.TextOffset) != n || len(x.Logprobs.Tokens) != tokens {
			t.Fatalf("%d tokens: %+v", n, l)
		}
		if l.TokenLogprobs[0] != nil || l.TokenLogprobs[1] == nil || *l.TokenLogprobs[1] > 0 || *l.TokenLogprobs[1] != *x.Logprobs.TokenLogprobs[1] {
			t.Errorf("%+v", l.TokenLogprobs)
		}
		text := []rune(c.Text)
		for i, token := range l.Tokens {
			if strings.HasPrefix(token, "bytes:") {
				continue
			}
			if at := l.TextOffset[i]; string(text[at:at+utf8.RuneCountInString(token)]) != token {
				t.Errorf("token %d is %q, at %d there is %q", i, token, at, string(text[at:]))
			}
		}
		if logprobs == 2 && (len(l.TopLogprobs) != len(l.Tokens) || l.TopLogprobs[0] != nil || len(l.TopLogprobs[1]) < 2) {
			t.Errorf("%+v", l.TopLogprobs)
		}
	}
}

func TestOllama_AnswersAtOnceAndByLines(t *testing.T) {
	f := chatFront(t)
	if r := f.send("GET", "/api/tags", "", nil); r.status != 200 || !strings.Contains(string(r.body), `"name":"baichuan2-mini-chat"`) {
		t.Errorf("%d %s", r.status, r.body)
	}
	want := f.answer("/v1/chat/completions", map[string]any{"messages": user("你好"), "temperature": 0}).Choices[0].Message.Content
	greedy := map[string]any{"temperature": 0, "num_predict": -1, "num_ctx": 512}
	for path, fields := range map[string]map[string]any{
		"/api/chat":     {"messages": user("你好")},
		"/api/generate": {"prompt": "你好"},
	} {
		fields["options"] = greedy
		fields["model"] = bundled.Chat + ":latest"
		for _, stream := range []any{nil, true, false} {
			fields["stream"] = stream
			r := f.post(path, f.body(fields))
			lines := decodeLines[ollamaLine](t, r.body)
			got := ""
			for i, l := range lines {
				got += l.Message.Content + l.Response
				if l.Done != (i == len(lines)-1) {
					t.Errorf("%s: line %d of %d says done: %v", path, i, len(lines), l.Done)
				}
			}
			last := lines[len(lines)-1]
			if r.status != 200 || got != want || last.Reason != "stop" || last.Tokens == 0 || (len(lines) == 1) != (stream == false) {
				t.Errorf("%s: %d, %d lines, %q, want %q; %+v", path, r.status, len(lines), got, want, last)
			}
		}
	}
	for body, status := range map[string]int{
		`{"model":"llama3"}`: 404, `{}`: 404, `{"model":"baichuan2-mini-chat","prompt":"a","options":{"temperature":3}}`: 400, "x": 400,
		`{"model":"baichuan2-mini-chat","prompt":"a","options":{"stop":[""]}}`: 400, `{"model":"baichuan2-mini-chat","raw":true}`: 400,
	} {
		r := f.post("/api/generate", body)
		if lines := decodeLines[struct{ Error string }](t, r.body); r.status != status || lines[0].Error == "" {
			t.Errorf("%s: %d %s, want %d", body, r.status, r.body, status)
		}
	}
	raw := f.post("/api/generate", f.body(map[string]any{"prompt": "今天天气", "raw": true, "stream": false, "options": map[string]any{"temperature": 0, "num_predict": 4, "stop": "。"}}))
	plain := f.answer("/v1/completions", map[string]any{"prompt": "今天天气", "temperature": 0, "max_tokens": 4, "stop": "。"}).Choices[0].Text
	if lines := decodeLines[ollamaLine](t, raw.body); lines[0].Response != plain {
		t.Errorf("raw: %s, want %q", raw.body, plain)
	}
}

type ollamaLine struct {
	Message  struct{ Role, Content string }
	Response string
	Done     bool
	Reason   string `json:"done_reason"`
	Tokens   int    `json:"eval_count"`
}

func TestSwarm_TellsWhoServes(t *testing.T) {
	m := bundledModel(t, bundled.Chat)
	d := &directory{}
	f := newFront(t, Config{Models: []Model{m}, Directory: d})
	var o swarmObject
	r := f.send("GET", "/api/swarm", "", nil)
	o = decodeLines[swarmObject](t, r.body)[0]
	if r.status != 200 || o.Layers != 6 || len(o.Peers) != 3 || o.Model != bundled.Chat {
		t.Fatalf("%d %s", r.status, r.body)
	}
	if !slices.Equal(o.Missing, []string{"2:3", "5:6"}) || !slices.Equal(o.Coverage, []int{1, 1, 0, 1, 1, 0}) {
		t.Errorf("missing %v, coverage %v", o.Missing, o.Coverage)
	}
	if p := o.Peers[0]; p.Layers != "0:2" || p.State != "online" || p.Nick != "<b>ann</b>" || !p.Direct || p.RTT == nil || *p.RTT != 1.5 || p.CacheFree != 77 || p.Decode != 50 {
		t.Errorf("%+v", p)
	}
	if p := o.Peers[2]; p.State != "draining" || p.Direct || p.RTT != nil {
		t.Errorf("%+v", p)
	}
	f.send("GET", "/api/swarm?model="+bundled.Chat, "", nil)
	if d.asked != 1 {
		t.Errorf("two who look at once ask the swarm %d times", d.asked)
	}
	r = f.send("GET", "/api/swarm?model=gpt", "", nil)
	if _, code := r.refused(t); r.status != 404 || code != "model_not_found" {
		t.Errorf("%d %s", r.status, r.body)
	}
}

func TestServer_KeepsAnEyeOnTheSwarm(t *testing.T) {
	stored, err := bundled.Open(bundled.Chat)
	if err != nil {
		t.Fatal(err)
	}
	known, err := client.ModelOf(stored)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		d := &directory{}
		s, err := New(Config{Models: []Model{&quiet{inProcess: inProcess{model: known}}}, Directory: d})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(3*watchEvery + time.Second)
		if err := s.Close(); err != nil || d.asked != 3 {
			t.Errorf("the swarm was asked %d times in %v, want 3 times (%v)", d.asked, 3*watchEvery, err)
		}
	})
}
