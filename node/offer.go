package node

import (
	"context"
	"crypto/sha256"
	"time"

	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
	"github.com/baichuan-node/baichuan-node/shard/store"
)

// announce offers the node's span to the swarm; the directory renews the offer. A swarm in which nobody takes it now
// may take it then, and whoever knows the node's address can use it all the same.
func (n *Node) announce(ctx context.Context) {
	if err := n.tellSwarm(ctx); err != nil {
		n.log.Warn("nobody has taken the offer yet", "layers", n.Stats().Layers, "error", err)
	}
}

// tellSwarm offers the node or withdraws its offer, as it takes new sessions or not when its turn comes: so the swarm
// hears last what holds last, whoever calls at the same time.
func (n *Node) tellSwarm(ctx context.Context) error {
	select {
	case n.telling <- struct{}{}:
		defer func() { <-n.telling }()
	case <-ctx.Done():
		return ctx.Err()
	}
	n.mu.Lock()
	draining := n.draining()
	n.mu.Unlock()
	if draining {
		return n.directory.Withdraw(ctx)
	}
	return n.directory.Announce(ctx, n.offer())
}

// refresh brings what the offer says of the node's layers, load and speed up to date, for its next renewal.
func (n *Node) refresh() {
	now := n.offer()
	n.directory.Update(func(o *protocol.Offer) {
		o.Span, o.Target, o.State, o.CacheFree, o.Queue = now.Span, now.Target, now.State, now.CacheFree, now.Queue
		o.Busy = now.Busy
		o.DecodeRate, o.PrefillRate = now.DecodeRate, now.PrefillRate
	})
}

// offer is what the node serves now. The directory adds what it knows itself: version, peer, sequence, life and
// addresses.
func (n *Node) offer() protocol.Offer {
	stats := n.Stats()
	n.mu.Lock()
	span, target, device := n.current().span(), n.target, n.current().shard.Device().Name()
	busy := n.busyNow(time.Now(), nil)
	n.mu.Unlock()
	return protocol.Offer{
		Model: n.limits.Model, ModelName: n.cfg.Model.Name,
		Span: span, Target: target, Capacity: n.cfg.Capacity, Fixed: n.cfg.Fixed, Layers: n.limits.Layers, State: stats.State, Device: device,
		DecodeRate: rate(stats.Speed.Decode), PrefillRate: rate(stats.Speed.Prefill), NetRate: n.cfg.NetRate,
		CacheFree: uint32(stats.CacheFree), Queue: uint32(stats.Queue), Busy: busy, Nick: n.cfg.Nick, Advice: advice(n.cfg.Model),
	}
}

// advice is what the model's generation_config recommends.
func advice(m *store.Model) *protocol.Advice {
	d := m.Local.Generation.Drawing()
	return &protocol.Advice{
		Sampling: protocol.Sampling{
			Temperature: float32(d.Temperature), TopK: int32(d.TopK), TopP: d.TopP, Penalty: float32(d.Penalty),
		},
		MaxTokens: uint32(d.MaxTokens),
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
