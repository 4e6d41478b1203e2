package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"github.com/baichuan-node/baichuan-node/shard/bundled"
)

// startGateway runs a gateway in this process until the test ends and gives its URL.
func startGateway(t *testing.T, args ...string) string {
	t.Helper()
	ready := filepath.Join(t.TempDir(), "ready.json")
	args = append([]string{"gateway", "--listen", "127.0.0.1:0", "--ready-file", ready}, args...)
	ctx, stop := context.WithCancel(t.Context())
	exit := make(chan int, 1)
	var errOut bytes.Buffer
	go func() { exit <- run(ctx, args, strings.NewReader(""), io.Discard, &errOut) }()
	t.Cleanup(func() {
		stop()
		if code := <-exit; code != 0 {
			t.Errorf("gateway: exit code %d: %s", code, errOut.String())
		}
		if _, err := os.Stat(ready); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the ready file outlives the gateway: %v", err)
		}
	})
	for range 1200 {
		if data, err := os.ReadFile(ready); err == nil {
			var r gatewayReady
			if err := json.Unmarshal(data, &r); err != nil || r.PID != os.Getpid() || len(r.Nodes) == 0 {
				t.Fatalf("the ready file holds %s (%v)", data, err)
			}
			return r.URL
		}
		select {
		case code := <-exit:
			exit <- code
			t.Fatalf("gateway: exit code %d: %s", code, errOut.String())
		case <-time.After(50 * time.Millisecond):
		}
	}
	t.Fatal("no gateway after a minute")
	return ""
}

// openSwarmOfThree starts three processes that serve the bundled chat model, and gives the address of one and all
// addresses of their metrics.
func openSwarmOfThree(t *testing.T) (join string, metrics []string) {
	t.Helper()
	home := newHome(t)
	p := newProcesses(t)
	for i := range 3 {
		args := []string{"--metrics", "127.0.0.1:0"}
		if i > 0 {
			args = append(args, "--join", join)
		}
		_, r := p.serve(home, bundled.Chat, cut(6, 3, i).String(), args...)
		if i == 0 {
			join = r.Addrs[0]
		}
		metrics = append(metrics, r.Metrics)
	}
	return join, metrics
}

// metric reads a number from a page of metrics.
func metric(t *testing.T, url, name string) float64 {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	page, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	var value float64
	for line := range strings.Lines(string(page)) {
		if n, _ := fmt.Sscanf(line, name+" %g", &value); n == 1 {
			return value
		}
	}
	t.Fatalf("%s has no %s", url, name)
	return 0
}

// becomes waits until a metric has a value.
func becomes(t *testing.T, url, name string, want float64) {
	t.Helper()
	got := math.NaN()
	for range 600 {
		if got = metric(t, url, name); got == want {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Errorf("%s at %s is %v, want %v", name, url, got, want)
}

// official is OpenAI's own client.
type official struct {
	*testing.T
	openai.Client
}

func newOfficial(t *testing.T, url, key string) official {
	return official{t, openai.NewClient(option.WithBaseURL(url+"/v1"), option.WithAPIKey(key), option.WithMaxRetries(0))}
}

func ask(text string) openai.ChatCompletionNewParams {
	return openai.ChatCompletionNewParams{Model: bundled.Chat, Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage(text)}}
}

func (o official) chat(p openai.ChatCompletionNewParams) *openai.ChatCompletion {
	o.Helper()
	a, err := o.Chat.Completions.New(o.Context(), p)
	if err != nil {
		o.Fatal(err)
	}
	return a
}

// stream gives an answer that was put together from its chunks.
func (o official) stream(p openai.ChatCompletionNewParams) openai.ChatCompletion {
	o.Helper()
	s := o.Chat.Completions.NewStreaming(o.Context(), p)
	defer s.Close()
	var whole openai.ChatCompletionAccumulator
	for s.Next() {
		chunk := s.Current()
		for _, c := range chunk.Choices {
			if !utf8.ValidString(c.Delta.Content) || strings.ContainsRune(c.Delta.Content, utf8.RuneError) {
				o.Errorf("a chunk has %q", c.Delta.Content)
			}
		}
		if !whole.AddChunk(chunk) {
			o.Fatalf("the chunk %s does not fit what came before", chunk.RawJSON())
		}
	}
	if err := s.Err(); err != nil {
		o.Fatal(err)
	}
	return whole.ChatCompletion
}

func TestGateway_SpeaksWithOpenAIsClient(t *testing.T) {
	if apart(t) {
		return
	}
	join, metrics := openSwarmOfThree(t)
	url := startGateway(t, "--join", join)
	o := newOfficial(t, url, "none")
	t.Run("models", func(t *testing.T) { official{t, o.Client}.models() })
	t.Run("chat is what generate says", func(t *testing.T) { official{t, o.Client}.sameAsGenerate(join) })
	t.Run("stream", func(t *testing.T) { official{t, o.Client}.streams() })
	t.Run("stop, seed, logprobs", func(t *testing.T) { official{t, o.Client}.options() })
	t.Run("logprobs are those of the raw logits", func(t *testing.T) { official{t, o.Client}.sameAsLogits(join) })
	t.Run("completions", func(t *testing.T) { official{t, o.Client}.completes() })
	t.Run("errors", func(t *testing.T) { official{t, o.Client}.errors() })
	t.Run("next turn", func(t *testing.T) { official{t, o.Client}.nextTurn() })
	t.Run("16 at once", func(t *testing.T) { official{t, o.Client}.atOnce(16) })
	t.Run("abort", func(t *testing.T) { official{t, o.Client}.aborts(url, metrics) })
	t.Run("OpenAI's client for Node", func(t *testing.T) { speakNode(t, url) })
	becomes(t, url+"/metrics", "baichuan_gateway_sessions", 0)
	t.Run("dashboards", func(t *testing.T) { dashboards(t, map[string]string{"node": metrics[1], "gateway": url + "/metrics"}) })
}

func (o official) models() {
	list, err := o.Models.List(o.Context())
	if err != nil || len(list.Data) != 1 || list.Data[0].ID != bundled.Chat {
		o.Errorf("%+v, %v", list, err)
	}
	if m, err := o.Models.Get(o.Context(), bundled.Chat); err != nil || m.ID != bundled.Chat {
		o.Errorf("%+v, %v", m, err)
	}
}

func (o official) sameAsGenerate(join string) {
	const prompt = "讲个故事"
	want := generate(o.T, "--join", join, "-p", prompt, "--seed", "7", "--temperature", "1.1", "--max-tokens", "40")
	p := ask(prompt)
	p.Seed, p.Temperature, p.MaxTokens = openai.Int(7), openai.Float(1.1), openai.Int(40)
	a := o.chat(p)
	c := a.Choices[0]
	if c.Message.Content != want.Text || string(c.FinishReason) != want.Reason || int(a.Usage.CompletionTokens) != len(want.IDs) {
		o.Errorf("%q (%s), %d tokens; generate says %q (%s), %d", c.Message.Content, c.FinishReason, a.Usage.CompletionTokens, want.Text, want.Reason, len(want.IDs))
	}
	if c.Message.Role != "assistant" || !strings.HasPrefix(a.ID, "chatcmpl-") || a.Created == 0 || a.Model != bundled.Chat {
		o.Errorf("%s", a.RawJSON())
	}
}

// sameAsLogits computes the first token's log-softmax from what generate writes.
func (o official) sameAsLogits(join string) {
	const prompt = "讲个故事"
	file := filepath.Join(o.TempDir(), "logits")
	first := generate(o.T, "--join", join, "-p", prompt, "--temperature", "0", "--max-tokens", "1", "--logits", file)
	data, err := os.ReadFile(file)
	if err != nil {
		o.Fatal(err)
	}
	logits := make([]float32, len(data)/4)
	if _, err := binary.Decode(data, binary.LittleEndian, logits); err != nil {
		o.Fatal(err)
	}
	p := ask(prompt)
	p.Temperature, p.MaxTokens, p.Logprobs = openai.Float(0.7), openai.Int(1), openai.Bool(true)
	p.TopLogprobs, p.Seed = openai.Int(1), openai.Int(1)
	a := o.chat(p)
	row := logits[len(logits)-len(logits)/int(a.Usage.PromptTokens):] // of the prompt's last token
	highest, sum := float64(slices.Max(row)), 0.0
	for _, l := range row {
		sum += math.Exp(float64(l) - highest)
	}
	want := -math.Log(sum) // of the likeliest, which generate has taken
	top := a.Choices[0].Logprobs.Content[0].TopLogprobs[0]
	if math.Abs(top.Logprob-want) > 1e-9 || top.Token != first.Text {
		o.Errorf("the likeliest token is %q with %v, generate says %q with %v", top.Token, top.Logprob, first.Text, want)
	}
}

func (o official) streams() {
	p := ask("你好，你是谁？")
	p.Seed, p.N, p.Temperature = openai.Int(5), openai.Int(3), openai.Float(1.5)
	p.StreamOptions.IncludeUsage = openai.Bool(true)
	got := o.stream(p)
	p.StreamOptions = openai.ChatCompletionStreamOptionsParam{}
	want := o.chat(p)
	for i, c := range want.Choices {
		if s := got.Choices[i]; s.Message.Content != c.Message.Content || s.FinishReason != c.FinishReason {
			o.Errorf("choice %d: %q (%s) streamed, %q (%s) at once", i, s.Message.Content, s.FinishReason, c.Message.Content, c.FinishReason)
		}
	}
	if got.Usage.CompletionTokens != want.Usage.CompletionTokens || got.Usage.PromptTokens != want.Usage.PromptTokens {
		o.Errorf("usage %+v streamed, %+v at once", got.Usage, want.Usage)
	}
}

func (o official) options() {
	p := ask("讲个故事")
	p.Temperature, p.MaxCompletionTokens = openai.Float(0), openai.Int(40)
	plain := o.chat(p).Choices[0].Message.Content
	characters := []rune(plain)
	stop := string(characters[5:8])
	want, _, _ := strings.Cut(plain, stop)
	p.Stop = openai.ChatCompletionNewParamsStopUnion{OfStringArray: []string{"XYZ", stop}}
	if c := o.chat(p).Choices[0]; c.Message.Content != want || c.FinishReason != "stop" {
		o.Errorf("stopped before %q: %q (%s), want %q", stop, c.Message.Content, c.FinishReason, want)
	}
	if c := o.stream(p).Choices[0]; c.Message.Content != want || c.FinishReason != "stop" {
		o.Errorf("streamed and stopped before %q: %q (%s), want %q", stop, c.Message.Content, c.FinishReason, want)
	}
	p.Stop = openai.ChatCompletionNewParamsStopUnion{}
	p.Logprobs, p.TopLogprobs = openai.Bool(true), openai.Int(3)
	judged := o.chat(p)
	tokens := judged.Choices[0].Logprobs.Content
	text := ""
	for _, token := range tokens {
		for _, b := range token.Bytes {
			text += string([]byte{byte(b)})
		}
		if token.Logprob > 0 || len(token.TopLogprobs) != 3 || token.TopLogprobs[0].Logprob < token.TopLogprobs[2].Logprob {
			o.Errorf("%s", token.RawJSON())
		}
	}
	if judged.Choices[0].Message.Content != plain || text != plain {
		o.Errorf("with logprobs %q, of tokens %q, want %q", judged.Choices[0].Message.Content, text, plain)
	}
	if streamed := o.stream(p).Choices[0].Logprobs.Content; len(streamed) != len(tokens) || streamed[len(tokens)-1].Logprob != tokens[len(tokens)-1].Logprob {
		o.Errorf("%d tokens streamed, %d at once", len(streamed), len(tokens))
	}
	hot := ask("讲个故事")
	hot.Temperature, hot.MaxTokens = openai.Float(2), openai.Int(10)
	said := make(map[string]bool)
	for range 4 {
		said[o.chat(hot).Choices[0].Message.Content] = true
	}
	if len(said) == 1 {
		o.Error("without a seed each answer is the same")
	}
}

func (o official) completes() {
	p := openai.CompletionNewParams{
		Model: bundled.Chat, Prompt: openai.CompletionNewParamsPromptUnion{OfArrayOfStrings: []string{"今天天气", "Once upon"}},
		Temperature: openai.Float(0), MaxTokens: openai.Int(5), Echo: openai.Bool(true), Logprobs: openai.Int(1),
	}
	a, err := o.Completions.New(o.Context(), p)
	if err != nil || len(a.Choices) != 2 || !strings.HasPrefix(a.Choices[1].Text, "Once upon") || len(a.Choices[0].Logprobs.Tokens) < 2 {
		o.Fatalf("%+v, %v", a, err)
	}
	s := o.Completions.NewStreaming(o.Context(), p)
	var texts [2]string
	for s.Next() {
		for _, c := range s.Current().Choices {
			texts[c.Index] += c.Text
		}
	}
	if s.Err() != nil || texts[0] != a.Choices[0].Text || texts[1] != a.Choices[1].Text {
		o.Errorf("streamed %q, %v", texts, s.Err())
	}
	p.MaxTokens = openai.Int(0)
	a, err = o.Completions.New(o.Context(), p)
	if err != nil || a.Choices[0].Text != "今天天气" || a.Usage.CompletionTokens != 0 {
		o.Errorf("%+v, %v", a, err)
	}
}

func (o official) errors() {
	other := ask("hi")
	other.Model = "gpt-4o"
	hot := ask("hi")
	hot.Temperature = openai.Float(3)
	for _, tt := range []struct {
		name        string
		p           openai.ChatCompletionNewParams
		status      int
		param, code string
	}{
		{"another model", other, 404, "model", "model_not_found"},
		{"too hot", hot, 400, "temperature", "invalid_value"},
		{"too long", ask(strings.Repeat("你好 hello ", 2000)), 400, "messages", "context_length_exceeded"},
	} {
		var e *openai.Error
		if _, err := o.Chat.Completions.New(o.Context(), tt.p); !errors.As(err, &e) || e.StatusCode != tt.status || e.Param != tt.param || e.Code != tt.code {
			o.Errorf("%s: %v", tt.name, err)
		}
		s := o.Chat.Completions.NewStreaming(o.Context(), tt.p)
		if s.Next() || !errors.As(s.Err(), &e) || e.StatusCode != tt.status {
			o.Errorf("%s, streamed: %v", tt.name, s.Err())
		}
	}
	_, err := o.Embeddings.New(o.Context(), openai.EmbeddingNewParams{Model: bundled.Chat, Input: openai.EmbeddingNewParamsInputUnion{OfString: openai.String("x")}})
	if e := (*openai.Error)(nil); !errors.As(err, &e) || e.StatusCode != 501 {
		o.Errorf("embeddings: %v", err)
	}
}

// atOnce asks n questions at once and wants the answers that it gets to each alone.
func (o official) atOnce(n int) {
	params := func(i int) openai.ChatCompletionNewParams {
		p := ask(fmt.Sprintf("讲个故事 %d", i%4))
		p.Seed, p.Temperature, p.MaxTokens = openai.Int(int64(i)), openai.Float(1), openai.Int(30)
		return p
	}
	got := make([]string, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			a, err := o.Chat.Completions.New(o.Context(), params(i))
			if err != nil {
				o.Error(err)
				return
			}
			got[i] = a.Choices[0].Message.Content
		})
	}
	wg.Wait()
	for i := range n {
		if want := o.chat(params(i)).Choices[0].Message.Content; got[i] != want {
			o.Errorf("question %d: %q among others, %q alone", i, got[i], want)
		}
	}
}

// nextTurn goes on with a conversation and finds its cache.
func (o official) nextTurn() {
	p := ask("请告诉我，什么是节点？")
	p.Temperature = openai.Float(0)
	first := o.chat(p)
	p.Messages = append(p.Messages, openai.AssistantMessage(first.Choices[0].Message.Content), openai.UserMessage("谢谢"))
	next := o.chat(p)
	if u := next.Usage; u.PromptTokensDetails.CachedTokens < first.Usage.PromptTokens {
		o.Errorf("the next turn finds %d tokens of %d, the first prompt had %d", u.PromptTokensDetails.CachedTokens, u.PromptTokens, first.Usage.PromptTokens)
	}
}

// aborts leaves in the middle of answers. Every peer hears of it.
func (o official) aborts(url string, metrics []string) {
	for range 3 {
		ctx, leave := context.WithCancel(o.Context())
		p := ask("讲个故事")
		p.N, p.Temperature = openai.Int(4), openai.Float(1)
		s := o.Chat.Completions.NewStreaming(ctx, p)
		if !s.Next() {
			o.Fatal(s.Err())
		}
		leave()
		for s.Next() {
		}
		s.Close()
	}
	becomes(o.T, url+"/metrics", "baichuan_gateway_sessions", 0)
	idle := metric(o.T, url+"/metrics", "baichuan_gateway_idle_sessions")
	for _, m := range metrics {
		becomes(o.T, m, "baichuan_node_sessions", idle)
	}
}

// speakNode runs the script that drives the gateway with OpenAI's client for Node.
func speakNode(t *testing.T, url string) {
	const dir = "testdata/openai"
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("this machine lacks node")
	}
	if _, err := os.Stat(filepath.Join(dir, "node_modules", "openai")); err != nil {
		t.Skip("this machine lacks OpenAI's client for Node: npm ci --prefix cmd/baichuan-node/" + dir)
	}
	cmd := exec.CommandContext(t.Context(), node, "--test", "gateway.test.mjs")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GATEWAY_URL="+url, "GATEWAY_MODEL="+bundled.Chat)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestGateway_AsksForKeys(t *testing.T) {
	home := newHome(t)
	join := newProcesses(t).swarm(home, bundled.Chat, 6, 1)
	secret := strings.TrimSpace(mustCLI(t, "key", "api", "ann", "--rate", "100", "--concurrent", "4"))
	if code, _, errOut := cli(t, "key", "api", "ann"); code == 0 || !strings.Contains(errOut, "ann") {
		t.Errorf("a second key of the same name: %d %s", code, errOut)
	}
	file := filepath.Join(home, "api-keys")
	url := startGateway(t, "--join", join, "--api-key-file", file)
	ann, nobody := newOfficial(t, url, secret), newOfficial(t, url, "sk-wrong")
	if _, err := ann.Models.List(t.Context()); err != nil {
		t.Error(err)
	}
	_, err := nobody.Models.List(t.Context())
	if e := (*openai.Error)(nil); !errors.As(err, &e) || e.StatusCode != 401 || e.Code != "invalid_api_key" {
		t.Errorf("a wrong key: %v", err)
	}
	data, err := os.ReadFile(file)
	if err != nil || strings.Contains(string(data), secret) || !strings.HasSuffix(string(data), " 100 4\n") {
		t.Errorf("the file of keys holds %q (%v)", data, err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("others may read it: %v, %v", info.Mode(), err)
	}
}

func TestGateway_OfAFullSwarmSaysWhenToComeAgain(t *testing.T) {
	if apart(t) {
		return
	}
	home := newHome(t)
	_, r := newProcesses(t).serve(home, bundled.Chat, "auto", "--kv-tokens", "128")
	url := startGateway(t, "--join", r.Addrs[0])
	body := `{"model":"` + bundled.Chat + `","messages":[{"role":"user","content":"hi"}],"stream":true}`
	a, err := http.Post(url+"/v1/chat/completions", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	text, err := io.ReadAll(a.Body)
	if err != nil || a.StatusCode != 503 || a.Header.Get("Retry-After") == "" || !strings.Contains(string(text), "no room") {
		t.Errorf("%d, Retry-After %q: %s (%v)", a.StatusCode, a.Header.Get("Retry-After"), text, err)
	}
	small := strings.Replace(body, "}],", `}],"max_tokens":8,`, 1)
	b, err := http.Post(url+"/v1/chat/completions", "application/json", strings.NewReader(small))
	if err != nil {
		t.Fatal(err)
	}
	b.Body.Close()
	if b.StatusCode != 200 {
		t.Errorf("an answer that fits: %d", b.StatusCode)
	}
}
