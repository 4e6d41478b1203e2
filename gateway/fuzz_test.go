package gateway

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/baichuan-node/baichuan-node/shard/bundled"
)

// FuzzRequest sends any body everywhere: whatever it is, the answer is one of those that the API knows, and nothing is
// computed for what is refused.
func FuzzRequest(f *testing.F) {
	m := bundledModel(f, bundled.Chat)
	s, err := New(Config{Models: []Model{m}})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { s.Close() })
	for _, seed := range []string{
		`{"model":"baichuan2-mini-chat","messages":[{"role":"user","content":"你好"}],"max_tokens":1}`,
		`{"model":"baichuan2-mini-chat","messages":[{"role":"developer","content":[{"type":"text","text":"a"}]},{"role":"user","content":""}],"max_tokens":2,"logprobs":true,"top_logprobs":2,"n":2}`,
		`{"model":"baichuan2-mini-chat","prompt":["a",[1,2]],"max_tokens":1,"echo":true,"logprobs":1,"stream":true,"stream_options":{"include_usage":true}}`,
		`{"model":"baichuan2-mini-chat","prompt":[5],"max_tokens":0,"echo":true,"seed":-1,"stop":["x"]}`,
		`{"model":"baichuan2-mini-chat","prompt":"a","options":{"num_predict":1,"temperature":0,"stop":"a"},"stream":false,"raw":true}`,
		`{"model":null}`, `[]`, `{"a":`, `{"model":"8d9442de","messages":[{}]}`,
	} {
		for path := range uint8(4) {
			f.Add(path, seed)
		}
	}
	paths := []string{"/v1/chat/completions", "/v1/completions", "/api/chat", "/api/generate"}
	f.Fuzz(func(t *testing.T, path uint8, body string) {
		r := httptest.NewRequest(http.MethodPost, paths[int(path)%len(paths)], strings.NewReader(body))
		r.Host = "localhost"
		r.Header.Set("Content-Type", "application/json")
		m.steps = 0
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		switch w.Code {
		case 200:
		case 400, 404, 413:
			if m.steps > 0 {
				t.Errorf("%d after %d steps: %s", w.Code, m.steps, w.Body)
			}
		default:
			t.Errorf("%d: %s", w.Code, w.Body)
		}
	})
}

// FuzzKeys reads any file of keys.
func FuzzKeys(f *testing.F) {
	_, line, err := NewKey("ann")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(line + " 1 2\n# x\n\nbob")
	f.Fuzz(func(t *testing.T, file string) {
		lines, err := parseKeys(strings.NewReader(file))
		if err != nil && lines != nil {
			t.Errorf("%v beside %v", lines, err)
		}
		for _, l := range lines {
			if !keyName.MatchString(l.name) || l.perSecond < 0 || l.concurrent < 0 {
				t.Errorf("%+v", l)
			}
		}
	})
}
