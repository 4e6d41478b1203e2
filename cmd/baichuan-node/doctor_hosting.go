package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"

	"github.com/baichuan-node/baichuan-node/client"
	"github.com/baichuan-node/baichuan-node/kernels/probe"
	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/shard"
	"github.com/baichuan-node/baichuan-node/shard/bundled"
	"github.com/baichuan-node/baichuan-node/shard/measure"
	"github.com/baichuan-node/baichuan-node/shard/store"
)

// examineHosting tells how many layers of each model that is here would fit, a line for each.
func examineHosting(f *serveFlags, limits probe.Limits) (all []finding) {
	var names []string
	if s, err := openStore(); err == nil {
		entries, _ := s.List() // what is wrong with the store has been told
		for _, e := range entries {
			names = append(names, e.Name)
		}
	}
	for _, name := range append(names, bundled.Names()...) {
		m, _, err := findModel(name)
		if err != nil {
			continue // models verify tells
		}
		all = append(all, finding{Name: "hosting", OK: true, Found: m.Name + ": " + f.couldHost(m, limits)})
	}
	return all
}

// couldHost says in a sentence what of a model fits, and what bounds its speed.
func (f *serveFlags) couldHost(m *store.Model, limits probe.Limits) string {
	budgets, err := f.budgets(m, wantedLayers{auto: true}, slog.New(slog.DiscardHandler))
	if err != nil {
		return oneLine(err.Error())
	}
	most := slices.MaxFunc(budgets, func(a, b budget) int {
		return cmp.Compare(a.span.End-a.span.Start, b.span.End-b.span.Start)
	})
	weights, perToken := shard.Need(m.Manifest, most.span)
	within := "half of this machine's memory"
	if f.memory > 0 {
		within = "--memory " + f.memory.String()
	}
	per := float64(measure.WeightBytes(m.Manifest, most.span)) / limits.Read
	return fmt.Sprintf("%d of %d layers fit into %s (%s of weights, cache of %d tokens, %s): %.1f tokens/s through them at most",
		most.span.End-most.span.Start, m.Manifest.Layers, within, humanBytes(weights), most.tokens, humanBytes(int64(most.tokens)*perToken), 1/per)
}

// examineSwarmHosting tells what this machine would host of each model that a swarm serves, a line for each.
func examineSwarmHosting(ctx context.Context, s *swarm, f *serveFlags) (all []finding) {
	seen, err := s.directory.Offers(ctx, protocol.ModelID{})
	if err != nil {
		return []finding{{Name: "hosting", OK: true, Found: "unknown: nobody tells what the swarm serves: " + oneLine(err.Error())}}
	}
	var models []protocol.ModelID
	for _, x := range seen {
		if !slices.Contains(models, x.Offer.Model) && len(models) < maxDoctorModels {
			models = append(models, x.Offer.Model)
		}
	}
	for _, id := range models {
		p, err := newPlanning(ctx, s, client.Config{Model: id.String()})
		if err != nil {
			all = append(all, finding{Name: "hosting", OK: true, Found: "unknown: " + oneLine(err.Error())})
			continue
		}
		all = append(all, finding{Name: "hosting", OK: true, Found: p.name + ": " + f.couldJoin(s, p)})
	}
	return all
}

// couldJoin says in a sentence what serve would choose here, as far as it is known without measuring anything.
func (f *serveFlags) couldJoin(s *swarm, p *planning) string {
	h, err := f.wouldHost(s, p, wantedLayers{auto: true}, f.knownRate)
	if err != nil {
		return oneLine(err.Error())
	}
	return h.String()
}

// knownRate is what earlier runs have measured; 0: nothing.
func (f *serveFlags) knownRate(m *store.Model) (int64, error) {
	device, err := newDevice(f.threads)
	if err != nil {
		return 0, err
	}
	defer device.Close()
	known, err := openSpeeds()
	if err != nil {
		return 0, err
	}
	return int64(known.expected(m, device).Decode), nil
}
