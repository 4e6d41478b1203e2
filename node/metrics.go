package node

import (
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// metrics is what a node counts, in registries of its own.
type metrics struct {
	since    time.Time
	registry *prometheus.Registry // of what the node counts
	process  *prometheus.Registry // of what the runtime and the system know

	tokens, replayed, prefixHits prometheus.Counter
	steps, ledgerAnswers         prometheus.Counter
	pagesHanded, taken, repairs  prometheus.Counter
	cancelled                    prometheus.Counter
	opensRefused                 *prometheus.CounterVec // by code
	pushes                       *prometheus.CounterVec // by way
	cacheBytes                   prometheus.Gauge
	batchRows                    prometheus.Histogram
	passSeconds, stepSeconds     prometheus.Histogram
}

// newMetrics takes what is read when somebody asks.
func newMetrics(sessions, streams, evicted func() float64) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "baichuan_node_" + name, Help: help})
	}
	seconds := func(name, help string) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "baichuan_node_" + name, Help: help, Buckets: prometheus.ExponentialBuckets(0.0005, 2, 18), // 0.5 ms to 65 s
		})
	}
	m := &metrics{
		since: time.Now(), registry: prometheus.NewRegistry(), process: prometheus.NewRegistry(),
		tokens:        counter("tokens_total", "Tokens computed through this node's layers, replayed ones included."),
		replayed:      counter("replayed_tokens_total", "Of these, tokens computed for a session that had lost a peer."),
		prefixHits:    counter("prefix_hit_tokens_total", "Tokens that were found in the cache and not computed."),
		steps:         counter("steps_total", "Steps computed."),
		ledgerAnswers: counter("ledger_answers_total", "Steps that came again and were answered without computing."),
		pagesHanded:   counter("pages_handed_total", "Pages of cache sent to a node that takes over a session."),
		taken:         counter("handovers_taken_total", "Sessions whose cache was taken over from a node that was leaving."),
		cancelled:     counter("cancelled_tokens_total", "Tokens of steps that were given up before they were computed."),
		opensRefused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "baichuan_node_opens_refused_total", Help: "Opens that were refused, by the reason's code.",
		}, []string{"code"}),
		repairs: counter("push_repairs_total", "Push streams that broke and were opened anew, or given up."),
		pushes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "baichuan_node_pushes_total", Help: "Frames of rows sent on: to the next hop directly, or by way of the client.",
		}, []string{"way"}),
		cacheBytes: prometheus.NewGauge(prometheus.GaugeOpts{Name: "baichuan_node_cache_bytes", Help: "Bytes of cache in use."}),
		batchRows: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "baichuan_node_batch_rows", Help: "Tokens computed in one pass.", Buckets: prometheus.ExponentialBuckets(1, 2, 10),
		}),
		passSeconds: seconds("pass_seconds", "What a pass takes."),
		stepSeconds: seconds("step_seconds", "From a step's arrival to its rows, waiting included."),
	}
	m.registry.MustRegister(
		m.tokens, m.replayed, m.prefixHits, m.steps, m.ledgerAnswers, m.pagesHanded, m.taken, m.repairs, m.pushes,
		m.cancelled, m.opensRefused, m.cacheBytes, m.batchRows, m.passSeconds, m.stepSeconds,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "baichuan_node_sessions", Help: "Open sessions."}, sessions),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "baichuan_node_streams", Help: "Streams of sessions and pushes that peers have open here."}, streams),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "baichuan_node_evictions_total", Help: "Sessions that had to give way to others."}, evicted),
	)
	m.process.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// totals gives what has been counted by name: tokens_total, pushes_total/direct, and of a histogram batch_rows/count and
// batch_rows/sum.
func (m *metrics) totals() map[string]uint64 {
	all := make(map[string]uint64)
	families, _ := m.registry.Gather() // nothing in it can fail
	for _, f := range families {
		name := strings.TrimPrefix(f.GetName(), "baichuan_node_")
		for _, one := range f.GetMetric() {
			key := name
			for _, label := range one.GetLabel() {
				key += "/" + label.GetValue()
			}
			if c := one.GetCounter(); c != nil {
				all[key] = uint64(c.GetValue())
			}
			if h := one.GetHistogram(); h != nil {
				all[key+"/count"], all[key+"/sum"] = h.GetSampleCount(), uint64(h.GetSampleSum())
			}
		}
	}
	return all
}

// pass counts a pass.
func (m *metrics) pass(rows int, took time.Duration) {
	m.batchRows.Observe(float64(rows))
	m.passSeconds.Observe(took.Seconds())
}

// computed counts tokens.
func (m *metrics) computed(tokens int, replayed bool) {
	m.tokens.Add(float64(tokens))
	if replayed {
		m.replayed.Add(float64(tokens))
	}
}

// refused counts an open that was refused.
func (m *metrics) refused(code protocol.Code) { m.opensRefused.WithLabelValues(code.String()).Inc() }

// step counts a step that is done.
func (m *metrics) step(took time.Duration) {
	m.steps.Inc()
	m.stepSeconds.Observe(took.Seconds())
}

// Metrics serves what the node counts, in Prometheus' text form.
func (n *Node) Metrics() http.Handler {
	return promhttp.HandlerFor(prometheus.Gatherers{n.metrics.registry, n.metrics.process}, promhttp.HandlerOpts{})
}
