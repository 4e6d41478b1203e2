package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
	"github.com/baichuan-node/baichuan-node/routing/placement"
	"github.com/baichuan-node/baichuan-node/shard"
	"github.com/baichuan-node/baichuan-node/shard/store"
)

// hostModel is what must be known of a model to say what a machine would host of it: no weights.
type hostModel struct {
	Name     string
	ID       protocol.ModelID
	Manifest *store.Manifest
}

// stored is the model in the form that serve has it in, without files.
func (m hostModel) stored() *store.Model {
	return &store.Model{Name: m.Name, ID: store.ID(m.ID), Manifest: m.Manifest}
}

// planHost is what this machine would host, and what the swarm would gain.
type planHost struct {
	Layers  string  `json:"layers"` // "": none
	Count   int     `json:"count"`
	Of      int     `json:"of"`
	Weights int64   `json:"weights_bytes"`
	Cache   int     `json:"cache_tokens"`
	Memory  int64   `json:"memory_bytes"`        // that it would take
	Speed   float64 `json:"decode_tokens_per_s"` // through those layers; 0: not known
	Why     string  `json:"why"`

	Before *planScore `json:"before,omitempty"` // what the swarm is without this machine
	After  *planScore `json:"after,omitempty"`  // and with it
}

// planScore is how good a placement is (routing/placement).
type planScore struct {
	Missing []string `json:"missing"`                // layers that nobody serves
	Token   float64  `json:"token_ms,omitempty"`     // of a lone client, on average; unknown while layers are missing
	Through float64  `json:"tokens_per_s,omitempty"` // that the weakest layer lets through
	Singles int      `json:"single_holder_layers"`
	J       float64  `json:"j_ms,omitempty"` // what placements are compared by: the less, the better
}

// wouldHost says what serve would choose on this machine, now, with these flags. It reads no weights: how fast the machine is
// is told by speed, in tokens/s through one layer; 0: unknown.
func (f *serveFlags) wouldHost(s *swarm, p *planning, want wantedLayers, speed func(*store.Model) (int64, error)) (*planHost, error) {
	m := p.model.stored()
	h := &planHost{Of: m.Manifest.Layers}
	budgets, err := f.budgets(m, want, slog.New(slog.DiscardHandler))
	if err != nil {
		h.Why = oneLine(err.Error())
		return h, nil
	}
	rate, err := speed(m)
	if err != nil {
		return nil, err
	}
	view := p.view(s)
	me := placement.Self{ID: string(s.host.ID()), Choices: spansOf(budgets), Rate: rate}
	span := placement.Join(view, me)
	held := budgetOf(budgets, span)
	weights, perToken := shard.Need(m.Manifest, held.span)
	h.Layers, h.Count, h.Weights, h.Cache = span.String(), span.Len(), weights, held.tokens
	h.Memory = weights + int64(held.tokens)*perToken + restBytes
	if rate > 0 {
		h.Speed = float64(rate) / float64(span.Len())
	}
	view.RTT = p.loopback(s, view.RTT)
	with := view
	with.Peers = append(slices.Clone(view.Peers), placement.Peer{ID: me.ID, Held: span, Target: span, Rate: rate})
	h.Before, h.After = scoreOf(view), scoreOf(with)
	h.Why = h.Before.gains(h.After, span, with)
	if !want.auto {
		h.Why = "--layers says so: " + h.Why
	}
	return h, nil
}

// loopback has peers of this machine alone be as near as they are; nobody measures them to each other.
func (p *planning) loopback(s *swarm, rtt func(a, b string) time.Duration) func(a, b string) time.Duration {
	here := map[string]bool{string(s.host.ID()): true}
	for _, o := range p.offers() {
		here[string(o.Peer)] = routing.OnLoopback(&o)
	}
	return func(a, b string) time.Duration {
		if here[a] && here[b] {
			return 0
		}
		return rtt(a, b)
	}
}

// expectedRate is the tokens/s through one layer of a model that is not loaded. The first time a layer that is made up is
// measured.
func (f *serveFlags) expectedRate(ctx context.Context, m *store.Model) (rate int64, err error) {
	device, err := newDevice(f.threads)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, device.Close()) }()
	known, err := openSpeeds()
	if err != nil {
		return 0, err
	}
	if err := known.guess(ctx, m, device); err != nil {
		return 0, err
	}
	return int64(known.expected(m, device).Decode), nil
}

// view is what a newcomer knows of the swarm.
func (p *planning) view(s *swarm) placement.View {
	return placement.FromOffers(p.offers(), p.model.Manifest.Layers, s.host.ID(), s.directory.Measures().RTT)
}

// offers are those of the model. Who does not answer is gone.
func (p *planning) offers() (offers []protocol.Offer) {
	add := func(o protocol.Offer) {
		if _, silent := p.explained.Silent[o.Peer]; !silent && o.Model == p.model.ID {
			offers = append(offers, o)
		}
	}
	for _, h := range p.explained.Chain {
		add(h.Offer)
	}
	for _, o := range p.explained.Others {
		add(o.Offer)
	}
	return offers
}

// holders counts for each layer the peers that have announced to serve it.
func holders(v placement.View) []int {
	all := make([]int, v.Layers)
	for _, p := range v.Peers {
		for i := max(p.Target.Start, 0); i < min(p.Target.End, v.Layers); i++ {
			all[i]++
		}
	}
	return all
}

func scoreOf(v placement.View) *planScore {
	m := placement.Measure(v)
	s := &planScore{Missing: routing.Missing(holders(v)), Singles: m.Singles, Through: float64(m.Lambda) / 1000}
	if len(s.Missing) == 0 {
		s.Token, s.J = inMillis(m.Tau), float64(m.J)/float64(time.Millisecond)
	}
	return s
}

// gains says in words what the swarm has of some layers more.
func (s *planScore) gains(with *planScore, span protocol.Span, v placement.View) string {
	var all []string
	add := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	switch {
	case len(s.Missing) > 0 && len(with.Missing) == 0:
		add("nobody else serves layers %s, and with them the model is complete", strings.Join(s.Missing, ", "))
	case len(s.Missing) > 0 && !slices.Equal(s.Missing, with.Missing):
		add("nobody else serves layers %s; layers %s would still be missing", strings.Join(s.Missing, ", "), strings.Join(with.Missing, ", "))
	case len(s.Missing) > 0:
		add("it closes no gap: layers %s are still missing", strings.Join(s.Missing, ", "))
	default:
		if s.Token-with.Token > s.Token/100 {
			add("a token would take %.1f ms instead of %.1f", with.Token, s.Token)
		}
		if with.Through > s.Through*1.01 {
			add("the weakest layer would let %.0f tokens/s through instead of %.0f", with.Through, s.Through)
		}
	}
	second := 0
	for i, n := range holders(v) {
		if i >= span.Start && i < span.End && n == 2 {
			second++
		}
	}
	if second > 0 {
		add("%s would have a second peer", counted(second, "layer"))
	}
	if len(all) == 0 {
		return "they help hardly less than any others: the swarm has enough of everything"
	}
	return strings.Join(all, "; ")
}
