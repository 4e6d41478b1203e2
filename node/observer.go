package node

import (
	"runtime"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
)

// observer is a prometheus.Collector of what is looked up when somebody asks: what the node holds now, and what others count.
type observer struct{ node *Node }

func description(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(namespace+name, help, labels, nil)
}

// What an observer tells.
var (
	infoDesc = description("build_info", "1, labelled with what runs here.", "version", "commit", "go_version", "device")

	sessionsDesc   = description("sessions", "Open sessions.")
	streamsDesc    = description("streams", "Streams of sessions and pushes that peers have open here.")
	evictionsDesc  = description("evictions_total", "Sessions that had to give way to others.")
	queueDesc      = description("queued_steps", "Steps that wait for the device.")
	limitDesc      = description("cache_limit_bytes", "Bytes of cache that sessions may use.")
	freeDesc       = description("cache_free_tokens", "Tokens that a new session may be promised.")
	busyDesc       = description("busy_ratio", "The part of a newcomer's time here that would be other sessions'.")
	stateDesc      = description("state", "1 of the state that the node is in.", "state")
	firstLayerDesc = description("layers_start", "The first layer that is served.")
	endLayerDesc   = description("layers_end", "The layer behind the last one that is served.")
	speedDesc      = description("layer_tokens_per_second", "Tokens a second through one layer, as the node offers it.", "kind")

	connectionsDesc = description("connections", "Connections to peers.", "way")
	sentDesc        = description("sent_bytes_total", "Bytes sent to peers, by what they are for.", "protocol")
	receivedDesc    = description("received_bytes_total", "Bytes received from peers, by what they are for.", "protocol")
	partsSentDesc   = description("parts_sent_bytes_total", "Bytes of the model's parts that were handed out.")
	partsBytesDesc  = description("parts_fetched_bytes_total", "Bytes of the model's parts that came from peers.")
	partsDesc       = description("parts_fetched_total", "Parts of the model that came from peers and are whole.")
	liarsDesc       = description("parts_liars_total", "Peers that sent something else than the part they were asked for; nothing more is asked of them.")

	askedDesc    = description("directory_asked_total", "Questions that peers were asked for the directory.", "kind")
	answeredDesc = description("directory_answered_total", "Questions of peers for the directory that were answered.", "kind")
	pledgesDesc  = description("pledges_total", "Answers to peers who asked this node to go on serving its layers.", "answer")
	peersDesc    = description("peers", "Peers that serve the model, as far as this node knows, itself included.", "state")
	gapsDesc     = description("uncovered_layers", "Layers of the model that no peer serves, as far as this node knows.")
)

// Describe is part of prometheus.Collector.
func (o *observer) Describe(all chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		infoDesc, sessionsDesc, streamsDesc, evictionsDesc, queueDesc, limitDesc, freeDesc, busyDesc, stateDesc, firstLayerDesc,
		endLayerDesc, speedDesc, connectionsDesc, sentDesc, receivedDesc, partsSentDesc, partsBytesDesc, partsDesc, liarsDesc,
		askedDesc, answeredDesc, pledgesDesc, peersDesc, gapsDesc,
	} {
		all <- d
	}
}

// Collect is part of prometheus.Collector.
func (o *observer) Collect(all chan<- prometheus.Metric) {
	give := func(kind prometheus.ValueType) func(*prometheus.Desc, float64, ...string) {
		return func(d *prometheus.Desc, value float64, labels ...string) {
			all <- prometheus.MustNewConstMetric(d, kind, value, labels...)
		}
	}
	gauge, count := give(prometheus.GaugeValue), give(prometheus.CounterValue)
	o.holds(gauge, count)
	o.network(gauge, count)
	o.directory(gauge, count)
}

type giver func(d *prometheus.Desc, value float64, labels ...string)

// holds tells what the node holds now.
func (o *observer) holds(gauge, count giver) {
	n := o.node
	s := n.Stats()
	n.mu.Lock()
	device, limit := n.current().shard.Device().Name(), int64(0)
	for _, b := range n.berths {
		limit += b.shard.CacheLimit()
	}
	busy := n.busyNow(time.Now(), nil)
	n.mu.Unlock()
	p := n.cfg.Process
	gauge(infoDesc, 1, p.Version, p.Commit, runtime.Version(), device)
	gauge(sessionsDesc, float64(s.Sessions))
	gauge(streamsDesc, float64(n.openStreams()))
	count(evictionsDesc, float64(n.evicted()))
	gauge(queueDesc, float64(s.Queue))
	gauge(limitDesc, float64(limit))
	gauge(freeDesc, float64(s.CacheFree))
	gauge(busyDesc, float64(busy)/protocol.MaxBusy)
	for _, state := range []protocol.State{protocol.Online, protocol.Draining} {
		gauge(stateDesc, oneIf(state == s.State), state.String())
	}
	gauge(firstLayerDesc, float64(s.Layers.Start))
	gauge(endLayerDesc, float64(s.Layers.End))
	gauge(speedDesc, s.Speed.Decode, "decode")
	gauge(speedDesc, s.Speed.Prefill, "prefill")
}

// network tells of connections and bytes.
func (o *observer) network(gauge, count giver) {
	n := o.node
	ways := make(map[bool]int)
	for _, c := range n.host.Network().Conns() {
		ways[routing.ByRelay(c)]++
	}
	gauge(connectionsDesc, float64(ways[false]), "direct")
	gauge(connectionsDesc, float64(ways[true]), "relayed")
	p := n.cfg.Process
	if p.Traffic != nil {
		p.Traffic.Each(func(kind string, sent, received int64) {
			count(sentDesc, float64(sent), kind)
			count(receivedDesc, float64(received), kind)
		})
	}
	if n.cfg.Parts != nil {
		count(partsSentDesc, float64(n.cfg.Parts.Sent()))
	}
	if p.Fetcher != nil {
		f := p.Fetcher.Fetched()
		count(partsBytesDesc, float64(f.Bytes))
		count(partsDesc, float64(f.Parts))
		count(liarsDesc, float64(f.Liars))
	}
}

// directory tells what is asked and known of others.
func (o *observer) directory(gauge, count giver) {
	n := o.node
	n.directory.Messages(func(kind string, asked, answered uint64) {
		count(askedDesc, float64(asked), kind)
		count(answeredDesc, float64(answered), kind)
	})
	given, declined := n.directory.Pledged()
	count(pledgesDesc, float64(given), "given")
	count(pledgesDesc, float64(declined), "declined")
	states := make(map[protocol.State]int)
	covered := make([]bool, n.limits.Layers)
	for _, s := range n.directory.Known(n.limits.Model) {
		states[s.Offer.State]++
		if s.Offer.State != protocol.Online {
			continue
		}
		for layer := s.Offer.Span.Start; layer < min(s.Offer.Span.End, n.limits.Layers); layer++ {
			covered[layer] = true
		}
	}
	for _, state := range []protocol.State{protocol.Joining, protocol.Online, protocol.Draining, protocol.Leaving} {
		gauge(peersDesc, float64(states[state]), state.String())
	}
	gaps := len(slices.DeleteFunc(covered, func(is bool) bool { return is }))
	gauge(gapsDesc, float64(gaps))
}

func oneIf(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
