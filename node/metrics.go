package node

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics is what a node counts, in a registry of its own.
type metrics struct {
	registry    *prometheus.Registry
	tokens      prometheus.Counter
	steps       prometheus.Counter
	cacheBytes  prometheus.Gauge
	stepSeconds prometheus.Histogram
}

func newMetrics(sessions func() float64) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	m := &metrics{
		registry:   prometheus.NewRegistry(),
		tokens:     counter("baichuan_node_tokens_total", "Tokens that went through this node's layers, replays included."),
		steps:      counter("baichuan_node_steps_total", "Steps computed."),
		cacheBytes: prometheus.NewGauge(prometheus.GaugeOpts{Name: "baichuan_node_cache_bytes", Help: "Bytes of cache in use."}),
		stepSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "baichuan_node_step_seconds", Help: "From a step's arrival to its rows, waiting included.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 18), // 0.5 ms to 65 s
		}),
	}
	m.registry.MustRegister(
		m.tokens, m.steps, m.cacheBytes, m.stepSeconds,
		// These two stay 0: a client does not say that it replays, and sessions share no prefix.
		counter("baichuan_node_replayed_tokens_total", "Tokens computed again for a session that lost a peer."),
		counter("baichuan_node_prefix_hit_tokens_total", "Tokens that were found in the cache and not computed."),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "baichuan_node_sessions", Help: "Open sessions."}, sessions),
	)
	return m
}

// step counts a computed step.
func (m *metrics) step(tokens int, took time.Duration) {
	m.tokens.Add(float64(tokens))
	m.steps.Inc()
	m.stepSeconds.Observe(took.Seconds())
}

// Metrics serves what the node counts, in Prometheus' text form.
func (n *Node) Metrics() http.Handler {
	return promhttp.HandlerFor(n.metrics.registry, promhttp.HandlerOpts{})
}
