package routing

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/holepunch"

	wire "github.com/baichuan-node/baichuan-node/protocol"
)

// punches says when holes are tried again: with pauses that grow.
type punches map[peer.ID]*punch

// punch is a hole that is tried again.
type punch struct {
	due   time.Time
	pause time.Duration // before the next try, if this one fails
	under bool          // it is under way
}

// begin returns the peers to whom holes are to be tried now, of those that need one.
func (t punches) begin(now time.Time, needed []peer.ID) (due []peer.ID) {
	for id, p := range t {
		if !p.under && !slices.Contains(needed, id) {
			delete(t, id)
		}
	}
	for _, id := range needed {
		if t[id] == nil {
			t[id] = &punch{due: now, pause: punchFirst}
		}
		if p := t[id]; !p.under && !now.Before(p.due) {
			p.under = true
			due = append(due, id)
		}
	}
	return due
}

// ended takes the end of a try.
func (t punches) ended(now time.Time, id peer.ID, err error) {
	p := t[id]
	p.under = false
	if !errors.Is(err, holepunch.ErrHolePunchActive) { // else it is looked at again when that has ended
		p.due, p.pause = now.Add(p.pause), min(2*p.pause, punchLongest)
	}
}

// startPunching has holes punched into NATs: where another peer has come in over a relay, both dial each other at once.
func (r *Reach) startPunching() error {
	ids, ok := r.host.(interface{ IDService() identifier })
	if !ok {
		return nil // a simulated host
	}
	service, err := holepunch.NewService(r.host, ids.IDService(), r.punchAddrs, holepunch.DirectDialTimeout(punchTimeout), holepunch.WithAddrFilter((*holes)(r)),
		holepunch.WithTracer((*punchLog)(r)))
	if err != nil {
		return fmt.Errorf("punch holes into NATs: %w", err)
	}
	r.ends = append(r.ends, service)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.punch = service.DirectConnect
	return nil
}

// punchAgain has holes tried again to the peers that need one. libp2p tries when a peer comes in, and then never again,
// though a busy machine, or a relay that was slow to answer, may have been all that was in the way.
func (r *Reach) punchAgain(now time.Time) {
	needed := r.lackHoles()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.punch == nil {
		return
	}
	for _, id := range r.punches.begin(now, needed) {
		punch := r.punch
		r.done.Go(func() { r.punched(id, punch(id)) })
	}
}

// punched takes the end of a try.
func (r *Reach) punched(id peer.ID, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.punches.ended(time.Now(), id, err)
}

// punchLog tells what comes of holes, whoever began.
type punchLog Reach

// Trace is part of libp2p's holepunch.EventTracer.
func (l *punchLog) Trace(e *holepunch.Event) {
	switch what := e.Evt.(type) {
	case *holepunch.ProtocolErrorEvt:
		l.cfg.Log.Debug("no hole was punched", "peer", e.Remote, "error", what.Error)
	case *holepunch.EndHolePunchEvt:
		if what.Success {
			l.cfg.Log.Debug("a hole was punched", "peer", e.Remote, "took", what.EllapsedTime)
		} else {
			l.cfg.Log.Debug("no hole was punched", "peer", e.Remote, "error", what.Error)
		}
	}
}

// lackHoles returns the peers that have come in over a relay, have a conversation or parts of a model under way with this
// process, and no direct connection: it is for this side to begin the punching.
func (r *Reach) lackHoles() (all []peer.ID) {
	for _, c := range r.host.Network().Conns() {
		id := c.RemotePeer()
		if c.Stat().Direction == network.DirInbound && ByRelay(c) && inUse(c) && !Direct(r.host, id) && !slices.Contains(all, id) {
			all = append(all, id)
		}
	}
	slices.Sort(all)
	return all[:min(len(all), maxPunches)]
}

// inUse says whether a connection carries what would go faster without a relay.
func inUse(c network.Conn) bool {
	return slices.ContainsFunc(c.GetStreams(), func(s network.Stream) bool {
		return slices.Contains([]wireID{wire.SessionID, wire.PushID, wire.PartsID}, s.Protocol())
	})
}

// cutPunches ends what the two sides of a hole say to each other, until the result is called: libp2p waits a minute for the
// other side's word, and whoever closes it waits with it.
func (r *Reach) cutPunches() (stop func()) {
	if r.host == nil {
		return func() {} // it was never started
	}
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		poll := time.NewTicker(cutEvery)
		defer poll.Stop()
		for {
			for _, c := range r.host.Network().Conns() {
				for _, s := range c.GetStreams() {
					if s.Protocol() == holepunch.Protocol {
						_ = s.Reset()
					}
				}
			}
			select {
			case <-poll.C:
			case <-done:
				return
			}
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}
