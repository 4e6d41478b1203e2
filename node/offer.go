package node

import (
	"context"
	"time"

	"github.com/baichuan-node/baichuan-node/node/parts"
	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/shard/store"
)

// announce offers the node's span to the swarm; the directory renews the offer. A swarm in which nobody takes it now
// may take it then, and whoever knows the node's address can use it all the same.
func (n *Node) announce(ctx context.Context) {
	if err := n.tellSwarm(ctx); err != nil {
		n.log.Warn("nobody has taken the offer yet", "layers", n.Stats().Layers.String(), "error", err)
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
		o.DecodeRate, o.PrefillRate, o.HeadRate = now.DecodeRate, now.PrefillRate, now.HeadRate
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
	head := uint32(0)
	if span.End == n.limits.Layers && stats.Speed.Head > 0 {
		head = rate(stats.Speed.Head)
	}
	return protocol.Offer{
		Model: n.limits.Model, ModelName: n.cfg.Model.Name,
		Span: span, Target: target, Capacity: n.cfg.Capacity, Fixed: n.cfg.Fixed, Layers: n.limits.Layers, State: stats.State, Device: device,
		DecodeRate: rate(stats.Speed.Decode), PrefillRate: rate(stats.Speed.Prefill), HeadRate: head, NetRate: n.cfg.NetRate,
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

// handOut has peers get the model's manifest, its tokenizer and its parts from here, beside sessions that live.
func (n *Node) handOut() (stop func(), err error) {
	server, end := n.cfg.Parts, func() {}
	if server == nil {
		if server, err = parts.Serve(n.host, n.cfg.Model, n.uplink.Uplink); err != nil {
			return nil, err
		}
		end = func() { _ = server.Close() } // of files that were read
	}
	server.Live(n.Live)
	return func() {
		server.Live(func() bool { return false })
		end()
	}, nil
}

// Live says whether there are sessions whose owners may want something at any time.
func (n *Node) Live() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.table.Present(time.Now()) > 0
}
