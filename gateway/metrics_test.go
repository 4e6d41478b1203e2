package gateway

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/baichuan-node/baichuan-node/client"
	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
	"github.com/baichuan-node/baichuan-node/shard/bundled"
)

// scrape gives what is ours of the metrics.
func (f *front) scrape() string {
	f.Helper()
	var own []string
	for line := range strings.Lines(string(f.send("GET", "/metrics", "", nil).body)) {
		if strings.Contains(line, namespace) {
			own = append(own, line)
		}
	}
	return strings.Join(own, "")
}

// TestMetrics_TellWhatTheGatewayDoes asks, is refused, and reads the metrics. Prometheus' own linter looks at names and help texts.
func TestMetrics_TellWhatTheGatewayDoes(t *testing.T) {
	f := newFront(t, Config{
		Models: []Model{mortal{bundledModel(t, bundled.Chat)}}, Directory: &directory{},
		Process: Process{Version: "v1", Commit: "abc", Traffic: &routing.Traffic{}},
	})
	r := f.post("/v1/chat/completions", f.body(map[string]any{"messages": user("你好"), "temperature": 0, "max_tokens": 6}))
	if r.status != 200 {
		t.Fatalf("%d: %s", r.status, r.body)
	}
	f.post("/v1/chat/completions", f.body(map[string]any{"messages": user("你好"), "temperature": 9}))
	f.post("/v1/chat/completions", f.body(map[string]any{"messages": user("你好"), "model": "nobody's"}))
	f.send("GET", "/nothing/at/all", "", nil)
	for name, want := range map[string]string{
		"sessions": "0", "requests_in_flight": "1", "idle_sessions": "0", // it has no room for one
		`requests_total{path="/v1/chat/completions",status="200"}`: "1",
		`requests_total{path="/v1/chat/completions",status="400"}`: "1",
		`requests_total{path="/v1/chat/completions",status="404"}`: "1",
		`requests_total{path="other",status="404"}`:                "1",
		`refused_total{reason="invalid_value"}`:                    "1",
		`refused_total{reason="model_not_found"}`:                  "1",
		`refused_total{reason="not_found"}`:                        "1",
		"completion_tokens_total":                                  "6",
		"failovers_total":                                          "1",
		"first_token_seconds_count":                                "1",
		"answer_seconds_count":                                     "1",
		"token_seconds_count":                                      "5",
		`hop_compute_seconds_count{hop="1"}`:                       "5",
		`hop_queue_seconds_count{hop="1"}`:                         "5",
		`hop_network_seconds_sum{hop="1"}`:                         "0",
		`peers{model="baichuan2-mini-chat",state="online"}`:        "0",
		`uncovered_layers{model="baichuan2-mini-chat"}`:            "6",
		`sent_bytes_total{protocol="session"}`:                     "0",
	} {
		if got := f.gauge(namespace + name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	if sum := f.gauge(namespace + "token_seconds_sum"); sum == "0" {
		t.Error("tokens take no time")
	}
	problems, err := promlint.New(strings.NewReader(f.scrape())).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("%v (%v)", problems, err)
	}
}

// TestMetrics_HaveFewLabels has strangers ask for what they like: a scrape must not grow with it.
func TestMetrics_HaveFewLabels(t *testing.T) {
	f := newFront(t, Config{Models: []Model{bundledModel(t, bundled.Chat)}})
	names := func() (all []string) {
		for line := range strings.Lines(f.scrape()) {
			all = append(all, line[:strings.LastIndex(line, " ")])
		}
		return all
	}
	ask := func(i int) {
		f.send("GET", fmt.Sprintf("/nothing/%d", i), "", nil)
		f.send(fmt.Sprintf("METHOD%d", i), "/v1/models", "", nil)
		f.post("/v1/chat/completions", f.body(map[string]any{"messages": user("你好"), "model": fmt.Sprint("model", i)}))
	}
	ask(0)
	f.scrape() // counts itself
	before := names()
	for i := range 10 {
		ask(i + 1)
	}
	if after := names(); !slices.Equal(before, after) {
		t.Errorf("10 requests have made\n%v\nof\n%v", after, before)
	}
}

func TestMetrics_CountLongChainsTogether(t *testing.T) {
	s := &Server{}
	m := newMetrics(s)
	step := client.StepTime{Token: 1, Took: time.Second}
	for i := range protocol.MaxHops {
		step.Hops = append(step.Hops, client.HopTime{Layers: protocol.Span{Start: i, End: i + 1}, Compute: time.Millisecond})
	}
	m.news(client.News{Steps: []client.StepTime{step}}, 0)
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == namespace+"hop_compute_seconds" && len(f.GetMetric()) != maxPlaces+1 {
			t.Errorf("a chain of %d hops has %d series, want %d", protocol.MaxHops, len(f.GetMetric()), maxPlaces+1)
		}
	}
}
