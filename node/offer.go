package node

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
)

// announce offers the node's span until ctx ends, again and again with its load as it is then. ready is called after
// the first time.
func (n *Node) announce(ctx context.Context, ready func()) error {
	if err := n.directory.Announce(ctx, n.offer()); err != nil {
		return fmt.Errorf("announce layers %v: %w", n.shard.Span(), err)
	}
	ready()
	for {
		// +-10 %, so that nodes which were started together do not announce themselves together for ever.
		wait := time.NewTimer(time.Duration(float64(announceEvery) * (0.9 + 0.2*rand.Float64())))
		select {
		case <-ctx.Done():
			wait.Stop()
			return nil
		case <-wait.C:
		}
		if err := n.directory.Announce(ctx, n.offer()); err != nil && ctx.Err() == nil {
			n.log.Warn("the offer could not be renewed", "error", err)
		}
	}
}

// offer is what the node serves now. The directory adds what it knows itself: sequence, life and addresses.
func (n *Node) offer() protocol.Offer {
	stats := n.Stats()
	span := protocol.Span(n.shard.Span())
	return protocol.Offer{
		Version: protocol.OfferVersion, Model: n.limits.Model, ModelName: n.cfg.Model.Name, Peer: n.host.ID(),
		Span: span, Target: span, Layers: n.limits.Layers, State: stats.State, Device: n.shard.Device().Name(),
		DecodeRate: n.speed.Decode, PrefillRate: n.speed.Prefill, NetRate: n.cfg.NetRate,
		CacheFree: uint32(stats.CacheFree), Queue: uint32(stats.Queue), Nick: n.cfg.Nick,
	}
}

// serveBlobs answers requests for the model's manifest and tokenizer, which are all that a client needs of it.
func (n *Node) serveBlobs() (stop func()) {
	tokenizer := protocol.Digest(sha256.Sum256(n.tokenizer))
	return routing.ServeBlobs(n.host, func(hash protocol.Digest) ([]byte, bool) {
		switch hash {
		case n.limits.Model:
			return n.cfg.Model.Raw, true
		case tokenizer:
			return n.tokenizer, true
		}
		return nil, false
	})
}
