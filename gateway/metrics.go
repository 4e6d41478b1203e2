package gateway

import (
	"net/http"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/baichuan-node/baichuan-node/client"
)

// namespace begins the name of each metric of a gateway.
const namespace = "baichuan_gateway_"

// metrics is what a server counts, in a registry of its own. Labels have few values, all of them ours: nothing that a client or
// a peer says, and no peer's id, becomes one.
type metrics struct {
	registry *prometheus.Registry

	requests *prometheus.CounterVec // by path and status
	refused  *prometheus.CounterVec // by the error's code
	running  prometheus.Gauge
	sessions prometheus.Gauge

	promptTokens, cachedTokens, completionTokens          prometheus.Counter
	aborted, failovers, bans, reconnects, noRoom          prometheus.Counter
	stallSeconds, replayedTokens                          prometheus.Counter
	swarmBytes, relayedBytes                              prometheus.Counter
	firstTokenSeconds, answerSeconds, tokenSeconds        prometheus.Histogram
	hopQueueSeconds, hopComputeSeconds, hopNetworkSeconds *prometheus.HistogramVec // by the hop's place
}

// newMetrics takes what is read when somebody asks.
func newMetrics(s *Server) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: namespace + name, Help: help})
	}
	labelled := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: namespace + name, Help: help}, labels)
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: namespace + name, Help: help})
	}
	seconds := func(name, help string) prometheus.HistogramOpts {
		return prometheus.HistogramOpts{Name: namespace + name, Help: help, Buckets: prometheus.ExponentialBuckets(0.001, 2, 18)} // 1 ms to 131 s
	}
	hop := func(name, help string) *prometheus.HistogramVec {
		opts := seconds(name, help)
		opts.Buckets = prometheus.ExponentialBuckets(0.0001, 3, 11) // 0.1 ms to 6 s
		return prometheus.NewHistogramVec(opts, []string{"hop"})
	}
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: labelled("requests_total", "Requests that are done; 499 is a client that left before its answer began.", "path", "status"),
		refused:  labelled("refused_total", "Requests that were refused, by the error's code.", "reason"),
		running:  gauge("requests_in_flight", "Requests that are being answered."),
		sessions: gauge("sessions", "Sessions that are answering."),

		promptTokens:     counter("prompt_tokens_total", "Tokens of prompts that were answered."),
		cachedTokens:     counter("cached_tokens_total", "Of these, tokens that did not have to be computed."),
		completionTokens: counter("completion_tokens_total", "Tokens that were drawn."),
		aborted:          counter("aborted_total", "Answers that did not come to their end: their client left, or the swarm failed."),
		failovers:        counter("failovers_total", "Peers that were replaced during an answer."),
		bans:             counter("bans_total", "Peers that were kept out of chains for a while, because they had failed."),
		reconnects:       counter("reconnects_total", "Streams to peers that lived and had to be opened anew."),
		noRoom:           counter("peers_without_room_total", "Refusals of peers that had no room for a session."),
		stallSeconds:     counter("stall_seconds_total", "Time that answers lost to failures and hand-overs."),
		replayedTokens:   counter("replayed_tokens_total", "Tokens that peers computed again for an answer that had lost one."),
		swarmBytes:       counter("swarm_bytes_total", "Bytes of answers to and from peers."),
		relayedBytes:     counter("relayed_bytes_total", "Of these, rows that two peers could not send to each other."),

		firstTokenSeconds: prometheus.NewHistogram(seconds("first_token_seconds", "From the beginning of an answer to its first token.")),
		answerSeconds:     prometheus.NewHistogram(seconds("answer_seconds", "What a whole answer takes.")),
		tokenSeconds:      prometheus.NewHistogram(seconds("token_seconds", "What a token takes, after the first of an answer.")),
		hopQueueSeconds:   hop("hop_queue_seconds", "Of a token's time, what it waited at a hop, by the hop's place in the chain, as the peer says."),
		hopComputeSeconds: hop("hop_compute_seconds", "Of a token's time, what a hop computed, by the hop's place in the chain, as the peer says."),
		hopNetworkSeconds: hop("hop_network_seconds", "Of a token's time, the way to a hop, by the hop's place in the chain; the way back as well at the last."),
	}
	for _, reason := range []string{
		"invalid_value", "invalid_api_key", "model_not_found", "context_length_exceeded", "rate_limit_exceeded", "service_unavailable",
	} {
		m.refused.WithLabelValues(reason) // a rate needs a series that was there before
	}
	m.registry.MustRegister(
		m.requests, m.refused, m.running, m.sessions, m.promptTokens, m.cachedTokens, m.completionTokens, m.aborted, m.failovers,
		m.bans, m.reconnects, m.noRoom, m.stallSeconds, m.replayedTokens, m.swarmBytes, m.relayedBytes, m.firstTokenSeconds,
		m.answerSeconds, m.tokenSeconds, m.hopQueueSeconds, m.hopComputeSeconds, m.hopNetworkSeconds,
		&observer{s}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
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
	m.firstTokenSeconds.Observe(o.Timings.FirstToken.Seconds())
	m.answerSeconds.Observe(o.Timings.Total.Seconds())
}

// news counts what has become of an answer since the chunk before, of which drawn tokens are known.
func (m *metrics) news(n client.News, drawn int) {
	m.completionTokens.Add(float64(n.Drawn - drawn))
	m.failovers.Add(float64(len(n.Failovers)))
	for _, s := range n.Steps {
		if s.Token == 0 {
			continue // a prompt may be long or short
		}
		m.tokenSeconds.Observe(s.Took.Seconds())
		for i, h := range s.Hops {
			place := placeName(i)
			m.hopQueueSeconds.WithLabelValues(place).Observe(h.Queue.Seconds())
			m.hopComputeSeconds.WithLabelValues(place).Observe(h.Compute.Seconds())
			m.hopNetworkSeconds.WithLabelValues(place).Observe(h.Network.Seconds())
		}
	}
}

// placeName is the label of the i-th hop of a chain.
func placeName(i int) string {
	if i >= maxPlaces {
		return "more"
	}
	return strconv.Itoa(i + 1)
}

// spent counts what an answer has cost, whether it has come to its end or not.
func (m *metrics) spent(s client.Stats) {
	m.bans.Add(float64(s.Bans))
	m.reconnects.Add(float64(s.Reconnects))
	m.noRoom.Add(float64(s.Pauses))
	m.stallSeconds.Add(s.Stall.Seconds())
	m.replayedTokens.Add(float64(s.Replayed))
	m.swarmBytes.Add(float64(s.Bytes))
	m.relayedBytes.Add(float64(s.RelayedBytes))
}
