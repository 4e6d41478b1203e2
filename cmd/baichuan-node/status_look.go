package main

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
	"github.com/baichuan-node/baichuan-node/shard/store"
)

// swarmStatus is what status shows of one model, as --json has it.
type swarmStatus struct {
	Model   string       `json:"model"` // what its peers call it, or else its id
	ModelID string       `json:"model_id"`
	Layers  int          `json:"layers"`
	Peers   []peerStatus `json:"peers"`
	Missing []string     `json:"missing"` // layers that nobody offers to new sessions
}

// stateUnreachable is the state of a peer that is offered by others and does not answer.
const stateUnreachable = "unreachable"

// peerStatus is one peer of a model.
type peerStatus struct {
	Peer      string   `json:"peer"`
	Nick      string   `json:"nick"`
	Layers    string   `json:"layers"`
	Target    string   `json:"target,omitempty"` // layers that it is going to serve instead
	State     string   `json:"state"`            // joining, online, draining, leaving or unreachable
	Error     string   `json:"error,omitempty"`  // why it is unreachable
	Device    string   `json:"device"`
	Direct    bool     `json:"direct"`            // it is reached without a relay
	Reached   string   `json:"reached,omitempty"` // direct tcp, direct quic ip6, punched quic, relay PEER
	Addrs     []string `json:"addrs"`
	RTT       float64  `json:"rtt_ms,omitempty"`
	Decode    float64  `json:"decode_tokens_per_s"` // through its layers
	Prefill   float64  `json:"prefill_tokens_per_s"`
	CacheFree uint64   `json:"cache_tokens_free"`
	Queue     uint64   `json:"queue"`

	Sessions  *uint64         `json:"sessions,omitempty"` // of older peers it is not known, nor the following
	CacheUsed *uint64         `json:"cache_tokens_used,omitempty"`
	Counters  *statusCounters `json:"counters,omitempty"`

	serves bool          // new sessions are taken
	span   protocol.Span // for sorting and for coverage
}

// statusCounters is what a peer has counted since its start, under the names of its metrics.
type statusCounters struct {
	Uptime        float64 `json:"uptime_s"`
	Tokens        uint64  `json:"tokens"`
	Replayed      uint64  `json:"replayed_tokens"`
	PrefixHits    uint64  `json:"prefix_hit_tokens"`
	Steps         uint64  `json:"steps"`
	LedgerAnswers uint64  `json:"ledger_answers"`
	PagesHanded   uint64  `json:"pages_handed"`
	Repairs       uint64  `json:"push_repairs"`
	DirectPushes  uint64  `json:"pushes_direct"`
	ClientPushes  uint64  `json:"pushes_by_client"`
	BatchRows     float64 `json:"batch_rows_mean"`
}

// lookout looks at a swarm, or at one model of it.
type lookout struct {
	swarm  *swarm
	want   string
	stored *store.Model // what want means in the store; nil: nothing
}

func newLookout(s *swarm, want string) *lookout {
	return &lookout{swarm: s, want: want, stored: knownModel(want)}
}

// look asks who serves what, and each of those peers how it is doing. Models are sorted by name. None means that nobody
// serves anything.
func (l *lookout) look(ctx context.Context) ([]swarmStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	models, err := l.models(ctx)
	if err != nil {
		return nil, err
	}
	var all []swarmStatus
	for _, m := range models {
		seen, err := l.swarm.directory.Offers(ctx, m)
		if err != nil {
			return nil, err
		}
		offers := make([]protocol.Offer, len(seen))
		asked := make([]peer.ID, len(seen))
		for i, s := range seen {
			offers[i], asked[i] = s.Offer, s.Offer.Peer
		}
		s := statusOf(m, offers, l.swarm.directory.AskPeers(ctx, asked), l.layers(m))
		if len(s.Peers) == 0 && l.stored != nil {
			s.Model = l.stored.Name
		}
		if len(s.Peers) > 0 || l.stored != nil {
			all = append(all, s)
		}
	}
	slices.SortFunc(all, func(a, b swarmStatus) int {
		return cmp.Or(strings.Compare(a.Model, b.Model), strings.Compare(a.ModelID, b.ModelID))
	})
	return all, nil
}

// models finds which models to look at. A name that the store knows stands for that model's id, whether it is served or
// not: then all of its layers are missing.
func (l *lookout) models(ctx context.Context) ([]protocol.ModelID, error) {
	if l.stored != nil {
		return []protocol.ModelID{protocol.ModelID(l.stored.ID)}, nil
	}
	seen, err := l.swarm.directory.Offers(ctx, protocol.ModelID{})
	if err != nil {
		return nil, err
	}
	var offers []protocol.Offer
	var models []protocol.ModelID
	for _, s := range seen {
		offers = append(offers, s.Offer)
		if !slices.Contains(models, s.Offer.Model) {
			models = append(models, s.Offer.Model)
		}
	}
	if l.want == "" {
		return models, nil
	}
	o, err := routing.PickModel(offers, l.want)
	return []protocol.ModelID{o.Model}, err
}

// layers is how many layers a model has, if the store knows; else 0.
func (l *lookout) layers(m protocol.ModelID) int {
	known := l.stored
	if known == nil {
		known = knownModel(m.String())
	}
	if known == nil {
		return 0
	}
	return known.Manifest.Layers
}

// statusOf puts together what offers say of a model and what their peers have told when they were asked. layers is how
// many the model has; 0: what most of the peers say.
func statusOf(model protocol.ModelID, offers []protocol.Offer, told []routing.Told, layers int) swarmStatus {
	s := swarmStatus{ModelID: model.String(), Layers: layers, Peers: []peerStatus{}}
	names := make(map[string]int)
	counts := make(map[int]int)
	for i, o := range offers {
		t := told[i]
		if t.Err == nil && t.Offer == nil || t.Offer != nil && t.Offer.Model != model {
			continue // it has withdrawn the offer meanwhile, or serves something else
		}
		if t.Offer != nil {
			o = *t.Offer
		}
		names[o.ModelName]++
		counts[o.Layers]++
		s.Peers = append(s.Peers, peerOf(o, t))
	}
	if s.Layers == 0 {
		s.Layers = mostOften(counts)
	}
	s.Model = cmp.Or(mostOften(names), s.ModelID)
	slices.SortStableFunc(s.Peers, func(a, b peerStatus) int {
		return cmp.Or(cmp.Compare(a.span.Start, b.span.Start), cmp.Compare(a.span.End, b.span.End), strings.Compare(a.Peer, b.Peer))
	})
	s.Missing = routing.Missing(s.hosts())
	return s
}

// mostOften gives the key with the highest count, the smallest of several.
func mostOften[K cmp.Ordered](counts map[K]int) (best K) {
	for k, n := range counts {
		if n > counts[best] || n == counts[best] && k < best {
			best = k
		}
	}
	return best
}

// peerOf makes a peer's line of its offer and its answer.
func peerOf(o protocol.Offer, t routing.Told) peerStatus {
	p := peerStatus{
		Peer: o.Peer.String(), Nick: o.Nick, Layers: o.Span.String(), State: o.State.String(), Device: o.Device,
		Direct: !o.Relayed, Addrs: []string{}, CacheFree: uint64(o.CacheFree), Queue: uint64(o.Queue),
		Decode: float64(o.DecodeRate) / float64(o.Span.Len()), Prefill: float64(o.PrefillRate) / float64(o.Span.Len()),
		serves: o.State == protocol.Online, span: o.Span,
	}
	for _, a := range o.Addrs {
		p.Addrs = append(p.Addrs, a+"/p2p/"+p.Peer)
	}
	if o.Target != o.Span {
		p.Target = o.Target.String()
	}
	if t.Err != nil {
		p.State, p.serves = stateUnreachable, false
		p.Error = protocol.CleanText(t.Err.Error(), protocol.MaxTextBytes)
		return p
	}
	p.Direct, p.Reached = !t.Relayed, t.Way
	p.RTT = float64(t.RTT.Microseconds()) / 1000
	if l := t.Load; l != nil {
		p.CacheFree, p.Queue, p.Sessions, p.CacheUsed = l.CacheFree, l.Queue, &l.Sessions, &l.CacheUsed
		p.Counters = &statusCounters{
			Uptime: (time.Duration(l.UptimeMS) * time.Millisecond).Seconds(), Tokens: l.Tokens, Replayed: l.Replayed, PrefixHits: l.PrefixHits,
			Steps: l.Steps, LedgerAnswers: l.LedgerAnswers, PagesHanded: l.PagesHanded, Repairs: l.Repairs,
			DirectPushes: l.DirectPushes, ClientPushes: l.ClientPushes, BatchRows: l.BatchRows(),
		}
	}
	return p
}

// relayed counts the peers that are reached over a relay.
func (s *swarmStatus) relayed() (n int) {
	for _, p := range s.Peers {
		if !p.Direct && p.State != stateUnreachable {
			n++
		}
	}
	return n
}

// hosts counts for each layer the peers that take new sessions for it.
func (s *swarmStatus) hosts() []int {
	hosts := make([]int, s.Layers)
	for _, p := range s.Peers {
		for i := p.span.Start; p.serves && i < min(p.span.End, s.Layers); i++ {
			hosts[i]++
		}
	}
	return hosts
}
