package gateway

import (
	"cmp"
	"slices"
	"time"

	"github.com/baichuan-node/baichuan-node/client"
	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
)

// swarmObject is /api/swarm: what `status --json` tells, and what the map draws beside.
type swarmObject struct {
	Model    string       `json:"model"`
	ModelID  string       `json:"model_id"`
	Models   []string     `json:"models"` // that ?model= may name
	Layers   int          `json:"layers"`
	Peers    []peerObject `json:"peers"`
	Missing  []string     `json:"missing"`
	Coverage []int        `json:"coverage"` // peers for each layer that take new sessions

	Answer  *answerObject `json:"answer,omitempty"` // what an answer would take now; absent: there is no chain
	Join    string        `json:"join,omitempty"`   // address for serve --join; absent: nobody has one
	Private bool          `json:"private"`          // who joins needs the swarm's key
	Version string        `json:"version"`          // of the gateway's program
	Error   string        `json:"error,omitempty"`  // nobody could be asked
	Demo    *demoObject   `json:"demo,omitempty"`   // in a demo alone
}

// peerObject is a peer. Nick, device, version and error are others' words: cleaned, and no more.
type peerObject struct {
	Peer      string   `json:"peer"`
	Nick      string   `json:"nick"`
	Layers    string   `json:"layers"`
	Target    string   `json:"target,omitempty"` // layers that it is going to serve instead
	State     string   `json:"state"`            // joining, online, draining, leaving or unreachable
	Error     string   `json:"error,omitempty"`  // why it is unreachable
	Device    string   `json:"device"`
	Version   string   `json:"version,omitempty"` // absent: it does not say
	Direct    bool     `json:"direct"`            // it is reached without a relay
	Reached   string   `json:"reached,omitempty"` // direct tcp, direct quic ip6, punched quic, relay PEER
	Relay     bool     `json:"relay,omitempty"`   // it passes on bytes of peers that can't reach each other
	Addrs     []string `json:"addrs"`
	CacheFree uint64   `json:"cache_tokens_free"`
	Decode    float64  `json:"decode_tokens_per_s"` // through its layers
	Prefill   float64  `json:"prefill_tokens_per_s"`
	Queue     uint64   `json:"queue"`
	Sessions  *uint64  `json:"sessions,omitempty"` // absent: it does not say
	RTT       *float64 `json:"rtt_ms,omitempty"`   // absent: not measured

	Near []nearObject `json:"near,omitempty"` // round trips to peers that may follow it, as it has measured them

	Age float64 `json:"age_s"` // of the offer
}

// nearObject is a round trip between two peers.
type nearObject struct {
	Peer string  `json:"peer"`
	RTT  float64 `json:"rtt_ms"`
}

// answerObject is the chain that a new answer would take, and its speed.
type answerObject struct {
	TokenMS   float64     `json:"token_ms"`
	PerSecond float64     `json:"tokens_per_s"`
	Chain     []hopObject `json:"chain"`
}

type hopObject struct {
	Peer   string `json:"peer"`
	Layers string `json:"layers"`
}

// demoObject says which peers' processes may be killed.
type demoObject struct {
	Peers []string `json:"peers"`
}

// stateUnreachable is the state of a peer that is offered by others and does not answer.
const stateUnreachable = "unreachable"

// drawSwarm makes the picture of what a look has found.
func drawSwarm(m *client.Model, s sight, measures routing.Measures) *swarmObject {
	o := &swarmObject{Model: m.Name, ModelID: m.ID.String(), Layers: m.Manifest.Layers, Peers: []peerObject{}}
	ids := make(map[protocol.PeerTail]string, len(s.seen))
	for _, x := range s.seen {
		ids[protocol.TailOf(x.Offer.Peer)] = x.Offer.Peer.String()
	}
	var there []protocol.Offer // who can be reached, as far as is known
	seen := slices.Clone(s.seen)
	slices.SortFunc(seen, func(a, b routing.Seen) int {
		return cmp.Or(a.Offer.Span.Start-b.Offer.Span.Start, a.Offer.Span.End-b.Offer.Span.End, cmp.Compare(a.Offer.Peer, b.Offer.Peer))
	})
	for _, x := range seen {
		told := s.told[x.Offer.Peer] // nothing, of whom was not asked
		if told.Peer != "" && told.Err == nil {
			if told.Offer == nil || told.Offer.Model != x.Offer.Model {
				continue // it has withdrawn the offer meanwhile, or serves something else
			}
			x.Offer = *told.Offer
		}
		if told.Err == nil {
			there = append(there, x.Offer)
		}
		p := describe(x, told, ids)
		if d, ok := measures.RTT[x.Offer.Peer]; ok && told.Err == nil {
			p.RTT = inMS(d)
		}
		o.Peers = append(o.Peers, p)
	}
	o.Coverage = coverage(there, m.Manifest.Layers)
	o.Missing = routing.Missing(o.Coverage)
	o.Answer = foresee(there, measures, m.Manifest.Layers)
	o.Join = routing.Door(there)
	return o
}

// describe makes a peer's line of its offer and of what it has said.
func describe(x routing.Seen, told routing.Told, ids map[protocol.PeerTail]string) peerObject {
	o := x.Offer
	p := peerObject{
		Peer: o.Peer.String(), Nick: o.Nick, Layers: o.Span.String(), State: o.State.String(), Device: o.Device, Version: told.Version,
		Direct: !o.Relayed, Relay: o.Relay, Addrs: []string{}, CacheFree: uint64(o.CacheFree), Queue: uint64(o.Queue), Age: x.Age.Seconds(),
	}
	for _, a := range o.Addrs {
		p.Addrs = append(p.Addrs, a+"/p2p/"+p.Peer)
	}
	if n := o.Span.Len(); n > 0 {
		p.Decode, p.Prefill = float64(o.DecodeRate)/float64(n), float64(o.PrefillRate)/float64(n)
	}
	if o.Target.Len() > 0 && o.Target != o.Span {
		p.Target = o.Target.String()
	}
	for _, n := range o.Near {
		if id, ok := ids[n.Peer]; ok {
			p.Near = append(p.Near, nearObject{id, *inMS(n.RTT)})
		}
	}
	switch {
	case told.Err != nil:
		p.State, p.Error = stateUnreachable, protocol.CleanText(told.Err.Error(), protocol.MaxTextBytes)
	case told.Peer != "":
		p.Direct, p.Reached = !told.Relayed, told.Way
	}
	if l := told.Load; l != nil {
		p.CacheFree, p.Queue, p.Sessions = l.CacheFree, l.Queue, &l.Sessions
	}
	return p
}

// inMS gives a time in milliseconds, to the microsecond.
func inMS(d time.Duration) *float64 {
	ms := float64(d.Microseconds()) / 1000
	return &ms
}

// foresee says what an answer would take that began now; nil: there is no chain.
func foresee(there []protocol.Offer, measures routing.Measures, layers int) *answerObject {
	hops, err := routing.Plan(there, measures, layers)
	if err != nil {
		return nil
	}
	token := routing.Predict(hops, measures).Total()
	a := &answerObject{TokenMS: *inMS(token), PerSecond: 1 / max(token, time.Microsecond).Seconds()}
	for _, h := range hops {
		a.Chain = append(a.Chain, hopObject{h.Peer.String(), h.Span.String()})
	}
	return a
}

// coverage counts the peers that take new sessions for each layer.
func coverage(offers []protocol.Offer, layers int) []int {
	counts := make([]int, layers)
	for _, o := range offers {
		if o.State != protocol.Online {
			continue
		}
		for i := max(0, o.Span.Start); i < min(o.Span.End, layers); i++ {
			counts[i]++
		}
	}
	return counts
}
