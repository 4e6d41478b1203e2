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

// namespace begins the name of each metric of a node.
const namespace = "baichuan_node_"

// metrics is what a node counts, in registries of its own. Labels have few values, all of them ours: nothing that a stranger
// says, and no peer's id, becomes one.
type metrics struct {
	since    time.Time
	registry *prometheus.Registry // of what the node counts
	around   *prometheus.Registry // of what is looked up when somebody asks, and of what the runtime and the system know

	tokens, replayed, prefixHits prometheus.Counter
	steps, ledgerAnswers         prometheus.Counter
	pagesHanded, taken, repairs  prometheus.Counter
	cancelled, moves             prometheus.Counter
	opensRefused, stepsFailed    *prometheus.CounterVec // by code
	pushes                       *prometheus.CounterVec // by way
	cacheBytes                   prometheus.Gauge
	batchRows                    prometheus.Histogram
	passSeconds, stepSeconds     prometheus.Histogram
	queueSeconds, computeSeconds prometheus.Histogram
}

func newMetrics(n *Node) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: namespace + name, Help: help})
	}
	labelled := func(name, label, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: namespace + name, Help: help}, []string{label})
	}
	seconds := func(name, help string) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: namespace + name, Help: help, Buckets: prometheus.ExponentialBuckets(0.0005, 2, 18), // 0.5 ms to 65 s
		})
	}
	m := &metrics{
		since: time.Now(), registry: prometheus.NewRegistry(), around: prometheus.NewRegistry(),
		tokens:        counter("tokens_total", "Tokens computed through this node's layers, replayed ones included."),
		replayed:      counter("replayed_tokens_total", "Of these, tokens computed for a session that had lost a peer."),
		prefixHits:    counter("prefix_hit_tokens_total", "Tokens that were found in the cache and not computed."),
		steps:         counter("steps_total", "Steps computed."),
		ledgerAnswers: counter("ledger_answers_total", "Steps that came again and were answered without computing."),
		pagesHanded:   counter("pages_handed_total", "Pages of cache sent to a node that takes over a session."),
		taken:         counter("handovers_taken_total", "Sessions whose cache was taken over from a node that was leaving."),
		cancelled:     counter("cancelled_tokens_total", "Tokens of steps that were given up before they were computed."),
		moves:         counter("moves_total", "Moves to other layers."),
		opensRefused:  labelled("opens_refused_total", "code", "Opens that were refused, by the reason's code."),
		stepsFailed:   labelled("steps_failed_total", "code", "Steps that were answered by a failure, by its code."),
		repairs:       counter("push_repairs_total", "Push streams that broke and were opened anew, or given up."),
		pushes:        labelled("pushes_total", "way", "Frames of rows sent on: to the next hop directly, or by way of the client."),
		cacheBytes:    prometheus.NewGauge(prometheus.GaugeOpts{Name: namespace + "cache_bytes", Help: "Bytes of cache in use."}),
		batchRows: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: namespace + "batch_rows", Help: "Tokens computed in one pass.", Buckets: prometheus.ExponentialBuckets(1, 2, 10),
		}),
		passSeconds:    seconds("pass_seconds", "What a pass takes."),
		stepSeconds:    seconds("step_seconds", "From a step's arrival to its rows, waiting included."),
		queueSeconds:   seconds("step_queue_seconds", "Of that, waiting for a turn, and for the passes of others."),
		computeSeconds: seconds("step_compute_seconds", "Of that, the passes that the step was part of."),
	}
	for code := protocol.CodeBusy; code <= protocol.CodeBadInput; code++ { // a rate needs a series that was there before
		m.opensRefused.WithLabelValues(code.String())
		m.stepsFailed.WithLabelValues(code.String())
	}
	for _, way := range []string{"direct", "client"} {
		m.pushes.WithLabelValues(way)
	}
	m.registry.MustRegister(
		m.tokens, m.replayed, m.prefixHits, m.steps, m.ledgerAnswers, m.pagesHanded, m.taken, m.repairs, m.pushes,
		m.cancelled, m.moves, m.opensRefused, m.stepsFailed, m.cacheBytes, m.batchRows, m.passSeconds, m.stepSeconds,
		m.queueSeconds, m.computeSeconds,
	)
	m.around.MustRegister(
		&observer{n}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return m
}

// totals gives what has been counted by name: tokens_total, pushes_total/direct, and of a histogram batch_rows/count and
// batch_rows/sum.
func (m *metrics) totals() map[string]uint64 {
	all := make(map[string]uint64)
	families, _ := m.registry.Gather() // nothing in it can fail
	for _, f := range families {
		name := strings.TrimPrefix(f.GetName(), namespace)
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

// failed counts a step that was answered by a failure.
func (m *metrics) failed(code protocol.Code) { m.stepsFailed.WithLabelValues(code.String()).Inc() }

// step counts a step that is done: what it took in all, and the passes that it was part of.
func (m *metrics) step(took, computing time.Duration) {
	m.steps.Inc()
	m.stepSeconds.Observe(took.Seconds())
	m.computeSeconds.Observe(computing.Seconds())
	m.queueSeconds.Observe(max(0, took-computing).Seconds())
}

// Metrics serves what the node counts, in Prometheus' text form.
func (n *Node) Metrics() http.Handler {
	return promhttp.HandlerFor(prometheus.Gatherers{n.metrics.registry, n.metrics.around}, promhttp.HandlerOpts{})
}
