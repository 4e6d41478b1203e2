package gateway

import (
	"runtime"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
)

// Process is what a process knows that runs a Server, for its metrics.
type Process struct {
	Version, Commit string           // of the program
	Traffic         *routing.Traffic // of the host; nil: it is not counted
}

// observer is a prometheus.Collector of what is looked up when somebody asks.
type observer struct{ server *Server }

func description(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(namespace+name, help, labels, nil)
}

// What an observer tells. Models are those that the server answers with.
var (
	infoDesc     = description("build_info", "1, labelled with what runs here.", "version", "commit", "go_version")
	idleDesc     = description("idle_sessions", "Sessions that are kept for a conversation's next turn.")
	sentDesc     = description("sent_bytes_total", "Bytes sent to peers, by what they are for.", "protocol")
	receivedDesc = description("received_bytes_total", "Bytes received from peers, by what they are for.", "protocol")
	peersDesc    = description("peers", "Peers that serve a model, as far as the gateway knows.", "model", "state")
	gapsDesc     = description("uncovered_layers", "Layers of a model that no peer serves, as far as the gateway knows.", "model")
)

// Describe is part of prometheus.Collector.
func (o *observer) Describe(all chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{infoDesc, idleDesc, sentDesc, receivedDesc, peersDesc, gapsDesc} {
		all <- d
	}
}

// Collect is part of prometheus.Collector.
func (o *observer) Collect(all chan<- prometheus.Metric) {
	give := func(kind prometheus.ValueType, d *prometheus.Desc, value float64, labels ...string) {
		all <- prometheus.MustNewConstMetric(d, kind, value, labels...)
	}
	p := o.server.cfg.Process
	give(prometheus.GaugeValue, infoDesc, 1, p.Version, p.Commit, runtime.Version())
	if p.Traffic != nil {
		p.Traffic.Each(func(kind string, sent, received int64) {
			give(prometheus.CounterValue, sentDesc, float64(sent), kind)
			give(prometheus.CounterValue, receivedDesc, float64(received), kind)
		})
	}
	idle := 0
	for _, m := range o.server.models {
		idle += m.pool.idleSessions()
	}
	give(prometheus.GaugeValue, idleDesc, float64(idle))
	if o.server.cfg.Directory == nil {
		return
	}
	for _, m := range o.server.models {
		seen := o.server.cfg.Directory.Known(m.ID)
		states := make(map[protocol.State]int)
		offers := make([]protocol.Offer, len(seen))
		for i, x := range seen {
			offers[i] = x.Offer
			states[x.Offer.State]++
		}
		for _, state := range []protocol.State{protocol.Joining, protocol.Online, protocol.Draining, protocol.Leaving} {
			give(prometheus.GaugeValue, peersDesc, float64(states[state]), m.Name, state.String())
		}
		gaps := 0
		for _, peers := range coverage(offers, m.Manifest.Layers) {
			if peers == 0 {
				gaps++
			}
		}
		give(prometheus.GaugeValue, gapsDesc, float64(gaps), m.Name)
	}
}
