package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/spf13/cobra"

	"github.com/baichuan-node/baichuan-node/kernels"
	"github.com/baichuan-node/baichuan-node/node"
	"github.com/baichuan-node/baichuan-node/node/auto"
	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing/placement"
	"github.com/baichuan-node/baichuan-node/shard"
	"github.com/baichuan-node/baichuan-node/shard/store"
)

// hosting is the node of a serve process as auto.Driver drives it, with what it is made of.
type hosting struct {
	cmd     *cobra.Command
	log     *slog.Logger
	swarm   *swarm
	supply  *supply
	device  *kernels.CPU
	cfg     node.Config
	budgets []budget
	bounded bool // the owner has said how much memory may be taken
	speeds  *speeds
	moved   func(to string) // told of other layers

	retiring sync.WaitGroup // shards that are being closed

	mu      sync.Mutex // guards the following
	node    *node.Node // nil before the first span is loaded
	loaded  *shard.Shard
	serving *shard.Shard
}

func (h *hosting) model() protocol.ModelID { return protocol.ModelID(h.cfg.Model.ID) }

func (h *hosting) running() *node.Node {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.node
}

// View is part of auto.Host.
func (h *hosting) View() (v placement.View, lasts time.Duration) {
	seen := h.swarm.directory.Known(h.model())
	offers := make([]protocol.Offer, len(seen))
	lasts = time.Hour
	for i, s := range seen {
		offers[i] = s.Offer
		if s.Offer.Peer != h.swarm.host.ID() {
			lasts = min(lasts, time.Duration(s.Offer.LifeMS)*time.Millisecond-s.Age)
		}
	}
	return placement.FromOffers(offers, h.cfg.Model.Manifest.Layers, h.swarm.host.ID(), h.swarm.directory.Measures().RTT), lasts
}

// Changed is part of auto.Host.
func (h *hosting) Changed() <-chan struct{} { return h.swarm.directory.Changed() }

// Rate is part of auto.Host.
func (h *hosting) Rate() int64 {
	if n := h.running(); n != nil {
		return int64(n.Stats().Speed.Decode)
	}
	return int64(h.speeds.expected(h.cfg.Model, h.device).Decode)
}

// Serving is part of auto.Host.
func (h *hosting) Serving() bool {
	n := h.running()
	return n == nil || n.Stats().State == protocol.Online
}

// Aim is part of auto.Host.
func (h *hosting) Aim(ctx context.Context, to protocol.Span) error {
	n := h.running()
	switch {
	case n != nil:
		return n.Aim(ctx, to)
	case to.Len() == 0:
		return h.swarm.directory.Withdraw(ctx)
	}
	return h.swarm.directory.Announce(ctx, h.cfg.Joining(to, h.device.Name(), h.speeds.expected(h.cfg.Model, h.device)))
}

// Load is part of auto.Host: what lacks comes from peers first.
func (h *hosting) Load(ctx context.Context, span protocol.Span) error {
	if err := h.supply.Fetch(ctx, store.Span(span)); err != nil {
		if ctx.Err() == nil {
			err = auto.Later(err)
		}
		return err
	}
	loaded, err := load(ctx, h.cmd, h.supply.Model(), budgetOf(h.budgets, span), h.device)
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.loaded = loaded
	return nil
}

// Drop is part of auto.Host.
func (h *hosting) Drop() {
	h.mu.Lock()
	s := h.loaded
	h.loaded = nil
	h.mu.Unlock()
	h.closeShard(s)
}

func (h *hosting) closeShard(s *shard.Shard) {
	if err := s.Close(); err != nil {
		h.log.Warn("layers that are not served any more are still in memory", "layers", s.Span().String(), "error", err)
	}
}

// Ask is part of auto.Host.
func (h *hosting) Ask(ctx context.Context, p placement.Pledge) bool {
	yes, err := h.swarm.directory.AskPledge(ctx, peer.ID(p.Peer),
		protocol.Pledge{Model: h.model(), Layers: p.Layers, ForMS: uint32(auto.PledgeFor.Milliseconds())})
	if err != nil {
		h.log.Debug("a peer does not say whether it stays", "error", err)
	}
	return yes
}

// Serve is part of auto.Host.
func (h *hosting) Serve(ctx context.Context, why string) error {
	h.mu.Lock()
	n, to := h.node, h.loaded
	h.mu.Unlock()
	h.keepSpeed()
	h.retiring.Add(1)
	err := n.Move(ctx, to, func(old *shard.Shard) {
		defer h.retiring.Done()
		h.closeShard(old)
	})
	if err != nil {
		h.retiring.Done()
		return err
	}
	h.mu.Lock()
	h.loaded, h.serving = nil, to
	h.mu.Unlock()
	span := protocol.Span(to.Span())
	h.bound(span)
	fmt.Fprintf(h.cmd.OutOrStdout(), "moved to layers %v of %s: %s\n", span, h.cfg.Model.Name, why)
	h.moved(span.String())
	return nil
}

// bound holds Go's own memory to what the layers that are served leave of --memory; weights and caches are mapped.
func (h *hosting) bound(span protocol.Span) {
	if h.bounded {
		debug.SetMemoryLimit(budgetOf(h.budgets, span).rest)
	}
}

// first makes the node of the span that the driver has joined with.
func (h *hosting) first(span protocol.Span) (*node.Node, error) {
	h.mu.Lock()
	s := h.loaded
	h.loaded, h.serving = nil, s
	h.mu.Unlock()
	h.bound(span)
	cfg := h.cfg
	cfg.Speed = h.speeds.all()[h.speeds.key(cfg.Model, s.Span(), h.device)]
	n, err := node.New(h.swarm.host, h.swarm.directory, s, cfg)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	h.node = n
	h.mu.Unlock()
	h.keepSpeed()
	return n, nil
}

// keepSpeed keeps what is known of the speed with the layers that are served, as real steps have corrected it.
func (h *hosting) keepSpeed() {
	h.mu.Lock()
	n, s := h.node, h.serving
	h.mu.Unlock()
	if n == nil {
		return
	}
	if err := h.speeds.keep(h.speeds.key(h.cfg.Model, s.Span(), h.device), n.Stats().Speed); err != nil {
		h.log.Warn("the next start will measure the speed again", "error", err)
	}
}

// look asks the swarm who serves what, before anything is chosen. Whoever is alone hears of nobody.
func (h *hosting) look(ctx context.Context) {
	if _, err := h.swarm.directory.Offers(ctx, h.model()); err != nil {
		h.log.Debug("nobody tells who serves what", "error", err)
	}
}

// loading is what loading the longest choice is expected to take, before any was loaded.
func (h *hosting) loading() time.Duration {
	var most int64
	for _, b := range h.budgets {
		weights, _ := shard.Need(h.cfg.Model.Manifest, b.span)
		most = max(most, weights)
	}
	return time.Duration(float64(most) / loadRate * float64(time.Second))
}

// close closes what is served and loaded, when nothing runs any more.
func (h *hosting) close() error {
	h.keepSpeed()
	h.retiring.Wait()
	var errs []error
	for _, s := range []*shard.Shard{h.loaded, h.serving} {
		if s != nil {
			errs = append(errs, s.Close())
		}
	}
	return errors.Join(errs...)
}
