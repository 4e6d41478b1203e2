package gateway

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
)

// swarmView asks who serves, for all who look at it together.
type swarmView struct {
	directory Directory

	mu    sync.Mutex
	asked map[protocol.ModelID]asked // guarded by mu
}

type asked struct {
	at   time.Time
	seen []routing.Seen
}

// offers gives what the directory says of a model, as of swarmEvery ago at most.
func (v *swarmView) offers(ctx context.Context, model protocol.ModelID) ([]routing.Seen, error) {
	if v.directory == nil {
		return nil, nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if a, ok := v.asked[model]; ok && time.Since(a.at) < swarmEvery {
		return a.seen, nil
	}
	ctx, cancel := context.WithTimeout(ctx, swarmTimeout)
	defer cancel()
	seen, err := v.directory.Offers(ctx, model)
	if err != nil && len(seen) == 0 {
		return nil, err
	}
	if v.asked == nil {
		v.asked = make(map[protocol.ModelID]asked)
	}
	v.asked[model] = asked{time.Now(), seen}
	return seen, nil
}

// watch asks now and then until ctx ends: what is known ages, and who knows nobody any more but those that were joined at
// first finds nobody if they are gone.
func (v *swarmView) watch(ctx context.Context, models []*served) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, m := range models {
			_, _ = v.offers(ctx, m.ID) // whoever asks for an answer hears what is wrong
		}
	}
}

// room is the tokens of cache that another session would find free, at the peers that have most of each layer.
func (v *swarmView) room(model protocol.ModelID, layers int) (tokens int, known bool) {
	if v.directory == nil {
		return 0, false
	}
	free := make([]int, layers)
	for _, x := range v.directory.Known(model) {
		if x.Offer.State == protocol.Online {
			for i := max(0, x.Offer.Span.Start); i < min(x.Offer.Span.End, layers); i++ {
				free[i] = max(free[i], int(x.Offer.CacheFree))
			}
		}
	}
	return slices.Min(free), true
}

// swarmObject is /api/swarm: what `status --json` tells, and what the map draws beside.
type swarmObject struct {
	Model    string       `json:"model"`
	ModelID  string       `json:"model_id"`
	Models   []string     `json:"models"` // that ?model= may name
	Layers   int          `json:"layers"`
	Peers    []peerObject `json:"peers"`
	Missing  []string     `json:"missing"`
	Coverage []int        `json:"coverage"` // peers for each layer
}

// peerObject is a peer. Nick and device are the peer's own words.
type peerObject struct {
	Peer      string   `json:"peer"`
	Nick      string   `json:"nick"`
	Layers    string   `json:"layers"`
	Target    string   `json:"target,omitempty"` // layers that it is going to serve instead
	State     string   `json:"state"`
	Device    string   `json:"device"`
	Direct    bool     `json:"direct"`
	Addrs     []string `json:"addrs"`
	CacheFree uint32   `json:"cache_tokens_free"`
	Decode    float64  `json:"decode_tokens_per_s"` // through its layers
	Prefill   float64  `json:"prefill_tokens_per_s"`
	Queue     uint32   `json:"queue"`
	RTT       *float64 `json:"rtt_ms,omitempty"` // absent: not measured
	Age       float64  `json:"age_s"`            // of the offer
}

func (s *Server) showSwarm(c *call) error {
	m := s.models[0]
	if name := c.r.URL.Query().Get("model"); name != "" {
		if m = s.find(name); m == nil {
			return noModel(name)
		}
	}
	seen, err := s.swarm.offers(c.r.Context(), m.ID)
	if err != nil {
		return unavailable("The swarm could not be asked: %v", err)
	}
	var rtt map[protocol.PeerID]time.Duration
	if s.cfg.Directory != nil {
		rtt = s.cfg.Directory.Measures().RTT
	}
	o := swarmObject{
		Model: m.Name, ModelID: m.ID.String(), Layers: m.Manifest.Layers, Peers: []peerObject{},
		Coverage: coverage(seen, m.Manifest.Layers),
	}
	o.Missing = gaps(o.Coverage)
	for _, other := range s.models {
		o.Models = append(o.Models, other.Name)
	}
	seen = slices.Clone(seen) // others look at it, too
	slices.SortFunc(seen, func(a, b routing.Seen) int {
		return cmp.Or(a.Offer.Span.Start-b.Offer.Span.Start, cmp.Compare(a.Offer.Peer, b.Offer.Peer))
	})
	for _, x := range seen {
		o.Peers = append(o.Peers, describe(x, rtt))
	}
	return c.write(o)
}

func describe(x routing.Seen, rtt map[protocol.PeerID]time.Duration) peerObject {
	p := peerObject{
		Peer: x.Offer.Peer.String(), Nick: x.Offer.Nick, Layers: x.Offer.Span.String(), State: x.Offer.State.String(),
		Device: x.Offer.Device, Direct: !x.Offer.Relayed, Addrs: []string{},
		CacheFree: x.Offer.CacheFree, Queue: x.Offer.Queue, Age: x.Age.Seconds(),
	}
	for _, a := range x.Offer.Addrs {
		p.Addrs = append(p.Addrs, a+"/p2p/"+p.Peer)
	}
	if n := x.Offer.Span.Len(); n > 0 {
		p.Decode, p.Prefill = float64(x.Offer.DecodeRate)/float64(n), float64(x.Offer.PrefillRate)/float64(n)
	}
	if t := x.Offer.Target; t.Len() > 0 && t != x.Offer.Span {
		p.Target = x.Offer.Target.String()
	}
	if d, ok := rtt[x.Offer.Peer]; ok {
		ms := float64(d.Microseconds()) / 1000
		p.RTT = &ms
	}
	return p
}

// coverage counts the peers that serve each layer.
func coverage(seen []routing.Seen, layers int) []int {
	counts := make([]int, layers)
	for _, x := range seen {
		if x.Offer.State != protocol.Online {
			continue
		}
		for i := max(0, x.Offer.Span.Start); i < min(x.Offer.Span.End, layers); i++ {
			counts[i]++
		}
	}
	return counts
}

// gaps are the spans that nobody serves.
func gaps(counts []int) []string {
	missing := []string{}
	for i := 0; i < len(counts); i++ {
		start := i
		for i < len(counts) && counts[i] == 0 {
			i++
		}
		if i > start {
			missing = append(missing, protocol.Span{Start: start, End: i}.String())
		}
	}
	return missing
}
