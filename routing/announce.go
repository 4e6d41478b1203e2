package routing

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// errNotServing is a promise of the caller's broken.
var errNotServing = errors.New("announce: this directory was not made for serving")

// Announce tells the swarm what this process serves, and renews it each 8 s until Withdraw or Close. Version, Peer,
// Sequence, Boot and LifeMS of o are set here, and Addrs if there are none. It returns when everyone who is to be told has
// been asked; it is an error if there are such peers and none took the offer, which is renewed all the same. Called again,
// it replaces the offer.
func (d *Directory) Announce(ctx context.Context, o protocol.Offer) error {
	if d.server == nil {
		return errNotServing
	}
	d.announcing.Lock()
	sealed, err := d.seal(o, offerLife)
	d.announcing.Unlock()
	if err == nil {
		d.nudge()
		err = d.put(ctx, o.Model, sealed)
	}
	if err != nil {
		return fmt.Errorf("announce: %w", err)
	}
	return nil
}

// Update changes what the next renewal says, for numbers that move all the time: load, free cache.
func (d *Directory) Update(change func(o *protocol.Offer)) {
	d.announcing.Lock()
	defer d.announcing.Unlock()
	if d.own != nil {
		change(d.own)
	}
}

// Withdraw tells the swarm that this process leaves: its last offer says so and lives 5 s. Without an announcement it
// does nothing.
func (d *Directory) Withdraw(ctx context.Context) error {
	d.announcing.Lock()
	if d.own == nil {
		d.announcing.Unlock()
		return nil
	}
	o := *d.own
	o.State = protocol.Leaving
	sealed, err := d.seal(o, leavingLife)
	d.own = nil
	d.announcing.Unlock()
	if err == nil {
		err = d.put(ctx, o.Model, sealed)
	}
	if err != nil {
		return fmt.Errorf("withdraw: %w", err)
	}
	return nil
}

// seal makes o the own offer, with the next sequence, and keeps it. The caller holds announcing, and lets it go before
// it tells anybody: a slow peer must hold up no later offer, and whatever arrives first, the highest sequence counts.
func (d *Directory) seal(o protocol.Offer, life time.Duration) (sealed []byte, err error) {
	now := time.Now()
	d.mu.Lock()
	earlier, reach := d.earlier, d.reach
	d.mu.Unlock()
	d.sequence = max(d.sequence+1, uint64(max(d.wall().UnixMilli(), 1)), earlier+1)
	o.Version, o.Peer, o.Sequence, o.LifeMS = protocol.OfferVersion, d.host.ID(), d.sequence, uint32(life.Milliseconds())
	o.Boot, o.Relayed, o.Relay = d.boot, reach.relayed(), reach.relays()
	kept := o
	o.Near = d.near(o)
	if len(o.Addrs) == 0 {
		o.Addrs = offerAddrs(d.host.Addrs())
	}
	if sealed, err = protocol.Seal(o, d.host.Peerstore().PrivKey(d.host.ID())); err != nil {
		return nil, err
	}
	if _, err := d.book.add(&o, sealed, 0, now); err != nil {
		return nil, err
	}
	d.own = &kept
	return sealed, nil
}

// nudge lets the renewal count its 8 s from now.
func (d *Directory) nudge() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// hurry lets the renewal happen now.
func (d *Directory) hurry() {
	select {
	case d.behind <- struct{}{}:
	default:
	}
}

// put hands an offer to the model's keepers. While the swarm is small, all that are known and the peers that were joined
// are told as well: so a client that asks any of them sees it at once.
func (d *Directory) put(ctx context.Context, model protocol.ModelID, sealed []byte) error {
	keepers := d.keepers.of(ctx, model)
	targets := keepers
	if near, small := d.neighbours(); small || len(keepers) == 0 {
		targets = slices.Concat(keepers, d.joinedIDs(), near)
	}
	targets = slices.DeleteFunc(d.others(targets), d.book.leaving)
	var mu sync.Mutex // guards faults
	var faults []string
	each(targets, func(id peer.ID) {
		err := d.putTo(ctx, id, sealed)
		if err == nil {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		faults = append(faults, err.Error())
		if slices.Contains(keepers, id) {
			d.keepers.stale(model)
		}
	})
	if len(targets) > 0 && len(faults) == len(targets) {
		return errors.New(strings.Join(faults, "; "))
	}
	return nil
}

func (d *Directory) putTo(ctx context.Context, id peer.ID, sealed []byte) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	answer, rtt, err := d.ask(ctx, id, protocol.Put{Offer: sealed})
	if err != nil {
		d.doubts(id)
		return err
	}
	done, ok := answer.(protocol.PutDone)
	if !ok {
		return fmt.Errorf("peer %s: it answers with %T", id, answer)
	}
	d.record.measured(id, rtt)
	if done.Newest > 0 {
		d.overtaken(done.Newest)
	}
	return nil
}

// overtaken sees to it that the next offers are above one that a process before this one has made, and that the next comes
// at once. A peer may lie about that, but not beyond what leaves room for ever, and it makes an offer come early a few times
// at most.
func (d *Directory) overtaken(by uint64) {
	d.announcing.Lock()
	behind := d.own != nil && by > d.sequence && by <= maxSequence
	early := false
	if behind {
		d.sequence = by
		if early = d.hurries < maxHurries; early {
			d.hurries++
		}
	}
	d.announcing.Unlock()
	if early {
		d.hurry()
	}
}

// neighbours returns the peers with a live offer of any model if they are few, this one included.
func (d *Directory) neighbours() (all []peer.ID, small bool) {
	known := d.Known(protocol.ModelID{})
	if len(known) > smallSwarm {
		return nil, false
	}
	for _, s := range known {
		all = append(all, s.Offer.Peer)
	}
	return all, true
}

// run renews the own offer, until Close. The 8 s count from one offer to the next, however long the telling takes.
func (d *Directory) run() {
	next := time.NewTimer(jitter(renewEvery))
	defer next.Stop()
	for {
		renew := true
		select {
		case <-d.ctx.Done():
			return
		case <-d.wake: // an offer was made just now
			renew = false
		case <-d.behind:
		case <-next.C:
			d.unhurried()
		}
		next.Reset(jitter(renewEvery))
		if renew {
			d.renew()
		}
		d.measureNear()
	}
}

// unhurried lets offers come early again.
func (d *Directory) unhurried() {
	d.announcing.Lock()
	defer d.announcing.Unlock()
	d.hurries = 0
}

// renew sends the own offer again. A renewal that nobody took is tried again in 8 s; three fit into an offer's life.
func (d *Directory) renew() {
	d.announcing.Lock()
	if d.own == nil {
		d.announcing.Unlock()
		return
	}
	model := d.own.Model
	sealed, err := d.seal(*d.own, offerLife)
	d.announcing.Unlock()
	if err == nil {
		_ = d.put(d.ctx, model, sealed)
	}
}

// readOn reads what keepers know, and asks who is late, until Close.
func (d *Directory) readOn() {
	every, late := time.NewTicker(rereadEvery), time.NewTicker(lateEvery)
	defer every.Stop()
	defer late.Stop()
	var silent map[peer.ID]uint64
	for {
		select {
		case <-d.ctx.Done():
			return
		case <-every.C:
			d.reread()
		case <-late.C:
			silent = d.askLate(silent)
		}
	}
}

// reread asks a keeper of the own model what it knows, and further ones if it does not answer, or if somebody's offer would
// end before the next look: that peer is gone, or the one asked has not heard of it for a while. Where no keeper answers
// others may; what they have read themselves is nearly over.
func (d *Directory) reread() {
	model := d.ownModel()
	near, _ := d.neighbours()
	for _, some := range [][]peer.ID{d.keepers.known(model), slices.Concat(d.joinedIDs(), near, d.someKnown(model))} {
		some = d.others(some)
		rand.Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
		answered := false
		for _, id := range some[:min(len(some), keeperCount)] {
			if err := d.question(d.ctx, id, protocol.List{Model: model, Limit: protocol.MaxListOffers}, nil); err != nil {
				continue
			}
			if answered = true; !d.book.endsWithin(model, rereadEvery, time.Now()) {
				break
			}
		}
		if answered {
			return
		}
	}
}

func (d *Directory) ownModel() protocol.ModelID {
	d.announcing.Lock()
	defer d.announcing.Unlock()
	if d.own == nil {
		return protocol.ModelID{}
	}
	return d.own.Model
}

// jitter is t, up to a tenth more or less.
func jitter(t time.Duration) time.Duration {
	return t - t/10 + rand.N(t/5)
}

// offerAddrs chooses the addresses for an offer: public ones first, then relays, then private, then loopback, TCP first in
// each.
func offerAddrs(addrs []ma.Multiaddr) []string {
	rank := func(a ma.Multiaddr) int {
		n := 0
		switch {
		case isCircuit(a):
			n = 2
		case manet.IsIPLoopback(a):
			n = 6
		case !manet.IsPublicAddr(a):
			n = 4
		}
		if _, err := a.ValueForProtocol(ma.P_TCP); err != nil {
			n++
		}
		return n
	}
	sorted := slices.Clone(addrs)
	slices.SortStableFunc(sorted, func(a, b ma.Multiaddr) int { return rank(a) - rank(b) })
	var out []string
	for _, a := range sorted {
		if len(out) < protocol.MaxAddrs && len(a.Bytes()) <= protocol.MaxAddrBytes {
			out = append(out, a.String())
		}
	}
	return out
}
