package routing

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// measureNear measures the round trips that others plan by: those to peers that may compute what comes after this one's
// layers. Each announcement some are asked, those first of whom nothing is known or the least lately.
func (d *Directory) measureNear() {
	d.announcing.Lock()
	if d.own == nil {
		d.announcing.Unlock()
		return
	}
	own := *d.own
	d.announcing.Unlock()
	begin, hold := d.after(own)
	d.measure(d.ctx, slices.Concat(d.record.due(begin, nearEach), d.record.due(hold, nearEach)))
}

// after lists the peers whose layers begin where those of an offer end, and the others that hold the next layer.
func (d *Directory) after(own protocol.Offer) (begin, hold []peer.ID) {
	for _, s := range d.Known(own.Model) {
		switch o := s.Offer; {
		case o.Peer == own.Peer || o.State != protocol.Online || o.Layers != own.Layers:
		case o.Span.Start == own.Span.End:
			begin = append(begin, o.Peer)
		case o.Span.Start < own.Span.End && own.Span.End < o.Span.End:
			hold = append(hold, o.Peer)
		}
	}
	return begin, hold
}

// MeasureEnds measures the round trips to some of the peers that begin a model's chains, and to some that end them, unless
// they are known. It takes a second at most.
func (d *Directory) MeasureEnds(ctx context.Context, model protocol.ModelID) {
	ctx, cancel := context.WithTimeout(ctx, endsTimeout)
	defer cancel()
	var first, last []peer.ID
	for _, s := range d.Known(model) {
		o := s.Offer
		if o.State != protocol.Online {
			continue
		}
		if o.Span.Start == 0 {
			first = append(first, o.Peer)
		}
		if o.Span.End == o.Layers {
			last = append(last, o.Peer)
		}
	}
	d.measure(ctx, slices.Concat(d.record.due(first, endsEach), d.record.due(last, endsEach)))
}

// measure asks peers about themselves, for the sake of the time that it takes.
func (d *Directory) measure(ctx context.Context, peers []peer.ID) {
	slices.Sort(peers)
	each(slices.Compact(peers), func(id peer.ID) {
		d.record.tried(id, time.Now())
		_ = d.askPeer(ctx, id) // who does not answer is asked another time
	})
}

// near is what an offer tells of round trips: the shortest, for who is far will be nobody's next hop.
func (d *Directory) near(own protocol.Offer) []protocol.Near {
	begin, hold := d.after(own)
	var all []protocol.Near
	for _, id := range slices.Concat(begin, hold) {
		if rtt, fresh := d.record.fresh(id, time.Now()); fresh {
			rtt = min(rtt, protocol.MaxNearRTT).Truncate(time.Microsecond)
			all = append(all, protocol.Near{Peer: protocol.TailOf(id), RTT: rtt})
		}
	}
	slices.SortFunc(all, func(a, b protocol.Near) int {
		return cmp.Or(cmp.Compare(a.RTT, b.RTT), slices.Compare(a.Peer[:], b.Peer[:]))
	})
	return all[:min(len(all), protocol.MaxNear)]
}
