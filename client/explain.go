package client

import (
	"context"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
)

// Explanation is what [Client.Explain] says.
type Explanation struct {
	routing.Explanation
	Silent map[peer.ID]string // who can't be called though others offer it, and why
}

// Explain says which chain a session with a prompt of so many tokens would have now, what a token takes through it, and why each
// other peer of the swarm is not in it. Nothing is opened: each peer is asked about itself, and who does not answer is left
// out, as a session would find out that opens its chain. A session whose prompt others have computed may do better.
func (c *Client) Explain(ctx context.Context, prompt int) (*Explanation, error) {
	offers, err := find(ctx, c.directory, protocol.ModelID{})
	if err != nil {
		return nil, err
	}
	room := min(prompt+expectAnswer, c.model.Manifest.Context)
	w := wish{span: protocol.Span{End: c.model.Manifest.Layers}, affinity: routing.Affinity{Room: room}}
	now := time.Now()
	t := c.tiers(c.mine(offers), now, w) // by what is measured now, as a session plans
	e := &Explanation{Silent: c.askAll(ctx, offers)}
	for _, m := range []routing.Measures{t.strict, t.last} {
		for id, why := range e.Silent {
			m.Banned[id], m.Why[id] = true, why
		}
		e.Explanation = routing.Explain(offers, m, c.model.ID, c.model.Manifest.Layers)
		if e.Err == nil {
			break
		}
	}
	e.Reprice(c.asMeasured(c.tiers(c.mine(offers), now, w).strict, offers))
	return e, ctx.Err()
}

// asMeasured has round trips as they are known by now. Who is on this machine counts as far away as it is measured if that is
// more than a busy machine makes of it: something is in between.
func (c *Client) asMeasured(m routing.Measures, offers []protocol.Offer) routing.Measures {
	measured := c.directory.Measures().RTT
	for _, o := range offers {
		if rtt := measured[o.Peer]; routing.OnLoopback(&o) && rtt >= nearRTT {
			m.RTT[o.Peer] = rtt
		}
	}
	return m
}

// mine are the offers of the client's model.
func (c *Client) mine(offers []protocol.Offer) (mine []protocol.Offer) {
	for _, o := range offers {
		if o.Model == c.model.ID {
			mine = append(mine, o)
		}
	}
	return mine
}

// askAll asks the peers of offers what they offer now, and brings the offers up to date. It says of those that can't be
// called why.
func (c *Client) askAll(ctx context.Context, offers []protocol.Offer) (silent map[peer.ID]string) {
	silent = make(map[peer.ID]string)
	asked := make([]peer.ID, len(offers))
	for i, o := range offers {
		asked[i] = o.Peer
	}
	slices.Sort(asked)
	asked = slices.Compact(asked)
	told := make(map[peer.ID]routing.Told, len(asked))
	for i, t := range c.directory.AskPeers(ctx, asked) {
		told[asked[i]] = t
	}
	for i := range offers {
		o := &offers[i]
		switch t := told[o.Peer]; {
		case t.Err != nil:
			silent[o.Peer] = "it did not answer"
		case t.Offer == nil:
			silent[o.Peer] = "it has withdrawn its offer"
		case t.Offer.Model == o.Model:
			*o = *t.Offer
		}
	}
	return silent
}
