package gateway

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/baichuan-node/baichuan-node/client"
)

// metrics is what a server counts, in a registry of its own.
type metrics struct {
	registry *prometheus.Registry

	requests                                      *prometheus.CounterVec // by path and status
	sessions                                      prometheus.Gauge
	promptTokens, cachedTokens, completionTokens  prometheus.Counter
	aborted, failovers                            prometheus.Counter
	firstTokenSeconds, answerSeconds, stepSeconds prometheus.Histogram
}

func newMetrics(idle func() float64) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "baichuan_gateway_" + name, Help: help})
	}
	seconds := func(name, help string) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "baichuan_gateway_" + name, Help: help, Buckets: prometheus.ExponentialBuckets(0.001, 2, 18), // 1 ms to 131 s
		})
	}
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "baichuan_gateway_requests_total", Help: "Requests that are done; 499 is a client that left before its answer began.",
		}, []string{"path", "status"}),
		sessions:          prometheus.NewGauge(prometheus.GaugeOpts{Name: "baichuan_gateway_sessions", Help: "Sessions that are answering."}),
		promptTokens:      counter("prompt_tokens_total", "Tokens of prompts that were answered."),
		cachedTokens:      counter("cached_tokens_total", "Of these, tokens that did not have to be computed."),
		completionTokens:  counter("completion_tokens_total", "Tokens that were drawn."),
		aborted:           counter("aborted_total", "Answers that did not come to their end: their client left, or the swarm failed."),
		failovers:         counter("failovers_total", "Peers that were replaced during an answer."),
		firstTokenSeconds: seconds("first_token_seconds", "From the beginning of an answer to its first token."),
		answerSeconds:     seconds("answer_seconds", "What a whole answer takes."),
		stepSeconds:       seconds("token_seconds", "Mean time of an answer's tokens after the first."),
	}
	m.registry.MustRegister(
		m.requests, m.sessions, m.promptTokens, m.cachedTokens, m.completionTokens, m.aborted, m.failovers,
		m.firstTokenSeconds, m.answerSeconds, m.stepSeconds,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "baichuan_gateway_idle_sessions", Help: "Sessions that are kept for a conversation's next turn."}, idle),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return m
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// count counts a finished answer.
func (m *metrics) count(o *client.Outcome) {
	m.promptTokens.Add(float64(len(o.PromptIDs)))
	m.cachedTokens.Add(float64(o.Cached))
	m.completionTokens.Add(float64(len(o.IDs)))
	m.failovers.Add(float64(len(o.Failovers)))
	m.firstTokenSeconds.Observe(o.Timings.FirstToken.Seconds())
	m.answerSeconds.Observe(o.Timings.Total.Seconds())
	if n := len(o.IDs); n > 1 {
		m.stepSeconds.Observe((o.Timings.Total - o.Timings.FirstToken).Seconds() / float64(n-1))
	}
}
