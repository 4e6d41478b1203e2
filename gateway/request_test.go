package gateway

import (
	"strings"
	"testing"
)

func TestRequests_AreRefusedWithTheParameterThatIsWrong(t *testing.T) {
	f := chatFront(t)
	long := `"` + strings.Repeat("你好 ", 3000) + `"`
	chat, plain := "/v1/chat/completions", "/v1/completions"
	hello := `"messages":[{"role":"user","content":"hi"}]`
	tests := []struct {
		path, fields, param, code string
		status                    int
	}{
		{chat, hello + `,"temperature":-0.1`, "temperature", "", 400},
		{chat, hello + `,"temperature":2.01`, "temperature", "", 400},
		{chat, hello + `,"temperature":"hot"`, "temperature", "", 400},
		{chat, hello + `,"temperature":1e999`, "temperature", "", 400},
		{chat, hello + `,"top_p":1.5`, "top_p", "", 400},
		{chat, hello + `,"top_p":-1`, "top_p", "", 400},
		{chat, hello + `,"n":0`, "n", "", 400},
		{chat, hello + `,"n":17`, "n", "", 400},
		{chat, hello + `,"n":1.5`, "n", "", 400},
		{chat, hello + `,"max_tokens":0`, "max_tokens", "", 400},
		{chat, hello + `,"max_completion_tokens":-1`, "max_completion_tokens", "", 400},
		{chat, hello + `,"top_k":-2`, "top_k", "", 400},
		{chat, hello + `,"repetition_penalty":0`, "repetition_penalty", "", 400},
		{chat, hello + `,"repetition_penalty":-1`, "repetition_penalty", "", 400},
		{chat, hello + `,"seed":1.5`, "seed", "", 400},
		{chat, hello + `,"seed":99999999999999999999`, "seed", "", 400},
		{chat, hello + `,"stop":""`, "stop", "", 400},
		{chat, hello + `,"stop":["a",""]`, "stop", "", 400},
		{chat, hello + `,"stop":["a",null]`, "stop", "", 400},
		{chat, hello + `,"stop":7`, "stop", "", 400},
		{chat, hello + `,"stream":"yes"`, "stream", "", 400},
		{chat, hello + `,"stream_options":{"include_usage":true}`, "stream_options", "", 400},
		{chat, hello + `,"stream":true,"stream_options":[]`, "stream_options", "", 400},
		{chat, hello + `,"stream":true,"stream_options":{"include_usage":1}`, "stream_options.include_usage", "", 400},
		{chat, hello + `,"logprobs":3`, "logprobs", "", 400},
		{chat, hello + `,"logprobs":true,"top_logprobs":21`, "top_logprobs", "", 400},
		{chat, hello + `,"logprobs":true,"top_logprobs":-1`, "top_logprobs", "", 400},
		{chat, hello + `,"top_logprobs":2`, "top_logprobs", "", 400},
		{chat, ``, "messages", "", 400},
		{chat, `"messages":null`, "messages", "", 400},
		{chat, `"messages":[]`, "messages", "", 400},
		{chat, `"messages":"hi"`, "messages", "", 400},
		{chat, `"messages":[null]`, "messages[0].role", "", 400},
		{chat, `"messages":["hi"]`, "messages", "", 400},
		{chat, `"messages":[{"role":"tool","content":"x"}]`, "messages[0].role", "", 400},
		{chat, `"messages":[{"role":"user"}]`, "messages[0].content", "", 400},
		{chat, `"messages":[{"role":"user","content":5}]`, "messages[0].content", "", 400},
		{chat, `"messages":[{"role":"user","content":[{"type":"image_url","image_url":{}}]}]`, "messages[0].content", "", 400},
		{chat, `"messages":[{"role":"user","content":"a"},{"role":"system","content":"b"}]`, "messages[1].role", "", 400},
		{chat, `"messages":[{"role":"user","content":` + long + `}]`, "messages", "context_length_exceeded", 400},
		{chat, `"stream":true,"messages":[{"role":"user","content":` + long + `}]`, "messages", "context_length_exceeded", 400},
		{plain, `"max_tokens":5`, "prompt", "", 400},
		{plain, `"prompt":[]`, "prompt", "", 400},
		{plain, `"prompt":""`, "prompt", "", 400},
		{plain, `"prompt":["a",""]`, "prompt", "", 400},
		{plain, `"prompt":5`, "prompt", "", 400},
		{plain, `"prompt":[1,"a"]`, "prompt", "", 400},
		{plain, `"prompt":[[1],5]`, "prompt", "", 400},
		{plain, `"prompt":[99999999]`, "prompt", "", 400},
		{plain, `"prompt":[-1]`, "prompt", "", 400},
		{plain, `"prompt":` + long, "prompt", "context_length_exceeded", 400},
		{plain, `"prompt":"a","max_tokens":0`, "max_tokens", "", 400},
		{plain, `"prompt":"a","logprobs":21`, "logprobs", "", 400},
		{plain, `"prompt":"a","logprobs":-1`, "logprobs", "", 400},
		{plain, `"prompt":"a","echo":1`, "echo", "", 400},
		{plain, `"n":16,"prompt":["a","a","a","a","a","a","a","a","a"]`, "prompt", "", 400},
	}
	for _, tt := range tests {
		r := f.post(tt.path, strings.TrimSuffix(`{"model":"baichuan2-mini-chat",`+tt.fields, ",")+`}`)
		param, code := r.refused(t)
		if r.status != tt.status || param != tt.param || tt.code != "" && code != tt.code {
			t.Errorf("%s %.80s: %d, param %q, code %q; want %d, %q, %q", tt.path, tt.fields, r.status, param, code, tt.status, tt.param, tt.code)
		}
	}
}

func TestRequests_AreTakenWhereNothingIsWrong(t *testing.T) {
	f := chatFront(t)
	hello := `"messages":[{"role":"user","content":"hi"}],"max_tokens":1`
	for path, list := range map[string][]string{
		"/v1/chat/completions": {
			hello, hello + `,"temperature":2,"top_p":0,"n":1,"top_k":-1,"seed":-5`, hello + `,"temperature":0,"top_p":1,"top_k":0,"seed":18446744073709551615`,
			hello + `,"temperature":null,"stop":null,"n":null,"stream":null,"stream_options":null,"logprobs":null,"seed":null,"max_completion_tokens":null`,
			hello + `,"tools":[],"user":"me","nonsense":{"a":[1]},"Temperature":99`, hello + `,"stop":["a","b","c","d","e"]`,
			hello + `,"logprobs":true,"top_logprobs":20`, hello + `,"logprobs":false,"top_logprobs":0`, hello + `,"max_completion_tokens":1e9,"seed":1e3`,
			`"messages":[{"role":"user","content":"a"},{"role":"assistant","content":null},{"role":"user","content":""}],"max_tokens":1`,
		},
		"/v1/completions": {
			`"prompt":"a","max_tokens":1`, `"prompt":["a"],"max_tokens":1,"echo":true`, `"prompt":[5,6],"max_tokens":1`, `"prompt":[[5,6],[7]],"max_tokens":1`,
			`"prompt":"a","max_tokens":0,"echo":true`, `"prompt":"a","max_tokens":1,"logprobs":true,"top_logprobs":3`, `"prompt":"a","max_tokens":1,"logprobs":0`,
		},
	} {
		for _, fields := range list {
			if r := f.post(path, `{"model":"baichuan2-mini-chat",`+fields+`}`); r.status != 200 {
				t.Errorf("%s %s: %d %s", path, fields, r.status, r.body)
			}
		}
	}
}

func TestRequests_AreRefusedBeforeTheyAreRead(t *testing.T) {
	f := chatFront(t)
	chat := "/v1/chat/completions"
	body := `{"model":"baichuan2-mini-chat","messages":[{"role":"user","content":"hi"}]}`
	tests := []struct {
		name, method, path, body, kind string
		status                         int
		param, code                    string
	}{
		{"no JSON", "POST", chat, "{", "application/json", 400, "", ""},
		{"an empty body", "POST", chat, "", "application/json", 400, "", ""},
		{"a list", "POST", chat, "[]", "application/json", 400, "", ""},
		{"null", "POST", chat, "null", "application/json", 400, "", ""},
		{"something behind it", "POST", chat, body + "x", "application/json", 400, "", ""},
		{"no model", "POST", chat, `{"messages":[]}`, "application/json", 400, "model", ""},
		{"a model that is a number", "POST", chat, `{"model":4}`, "application/json", 400, "model", ""},
		{"another model", "POST", chat, `{"model":"gpt-4o"}`, "application/json", 404, "model", "model_not_found"},
		{"another model's completions", "POST", "/v1/completions", `{"model":"gpt-4o"}`, "application/json", 404, "model", "model_not_found"},
		{"no path", "GET", "/v1/nothing", "", "", 404, "", ""},
		{"no such page", "GET", "/nothing", "", "", 404, "", ""},
		{"no model's name", "GET", "/v1/models/", "", "", 404, "", ""},
		{"GET", "GET", chat, "", "", 405, "", ""},
		{"DELETE", "DELETE", "/v1/models", "", "", 405, "", ""},
		{"POST to models", "POST", "/v1/models", body, "application/json", 405, "", ""},
		{"a form", "POST", chat, body, "application/x-www-form-urlencoded", 415, "", ""},
		{"text", "POST", chat, body, "text/plain; charset=utf-8", 415, "", ""},
		{"no type", "POST", chat, body, "", 415, "", ""},
		{"embeddings", "POST", "/v1/embeddings", `{"model":"x","input":"y"}`, "application/json", 501, "", ""},
	}
	for _, tt := range tests {
		r := f.sendAs(tt.method, tt.path, tt.body, tt.kind)
		param, code := r.refused(t)
		if r.status != tt.status || param != tt.param || tt.code != "" && code != tt.code {
			t.Errorf("%s: %d, param %q, code %q: %s", tt.name, r.status, param, code, r.body)
		}
		if (r.header.Get("Allow") != "") != (tt.status == 405) {
			t.Errorf("%s: Allow is %q", tt.name, r.header.Get("Allow"))
		}
	}
	if r := f.sendAs("POST", chat, body, `Application/JSON; charset="utf-8"`); r.status != 200 {
		t.Errorf("JSON with a charset: %d %s", r.status, r.body)
	}
}
