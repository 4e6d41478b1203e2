package client

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/client/chain"
	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
	"github.com/baichuan-node/baichuan-node/shard/sample"
)

// HopError is a failure of one hop of a chain that could not be mended.
type HopError struct {
	Peer   peer.ID
	Layers protocol.Span
	Class  protocol.Class
	Err    error
}

func (e *HopError) Error() string {
	return fmt.Sprintf("peer %s (layers %v): %v", e.Peer, e.Layers, e.Err)
}

// Unwrap gives what the hop said, or what became of it.
func (e *HopError) Unwrap() error { return e.Err }

// session is the Stepper over a chain of peers. The truth is ids: whatever the peers lose is computed again from them.
type session struct {
	client *Client
	run    Run
	ids    []uint32

	link      *link         // nil: a chain has to be chosen
	hops      []routing.Hop // of link
	behind    bool          // link has to be opened at len(ids) before its next step
	failovers []Failover
	open      []time.Time // when each of the last failovers began, those that no step has followed yet
}

// NewSession makes a Stepper over the swarm. It talks to nobody until its first Begin.
func (c *Client) NewSession() Stepper { return &session{client: c} }

func (s *session) Len() int { return len(s.ids) }

func (s *session) Failovers() []Failover { return s.failovers }

func (s *session) Chain() []HopInfo {
	infos := make([]HopInfo, len(s.hops))
	for i, h := range s.hops {
		infos[i] = HopInfo{Peer: h.Peer, Layers: h.Span, Device: h.Offer.Device}
	}
	return infos
}

func (s *session) Close() error {
	s.hangUp(-1)
	return nil
}

// Begin reopens the session at its peers, or opens it at new ones: these hold nothing yet.
func (s *session) Begin(ctx context.Context, r Run) error {
	s.run = r
	s.ids = s.ids[:min(r.Keep, len(s.ids))]
	s.failovers, s.open = nil, nil
	return s.persist(ctx, func() error {
		if s.link == nil {
			s.replayed(len(s.ids))
			s.ids = s.ids[:0]
		}
		if err := s.reach(ctx); err != nil {
			return err
		}
		s.ids = s.ids[:s.link.chain.Position()]
		return nil
	})
}

// Step computes the ids, on another chain if it must; those of before are then computed again first.
func (s *session) Step(ctx context.Context, ids []uint32, want Want) ([]sample.Candidate, error) {
	if len(ids) == 0 {
		return nil, errors.New("a step of no tokens")
	}
	rows := 0 // that the caller has been given
	var found []sample.Candidate
	err := s.persist(ctx, func() error {
		if s.link == nil || s.behind {
			if err := s.reach(ctx); err != nil {
				return err
			}
		}
		at := s.link.chain.Position()
		if again := slices.Concat(s.ids[at:], ids[:rows]); len(again) > 0 {
			if _, err := s.compute(ctx, again, protocol.WantNone, nil); err != nil {
				return err
			}
			s.replayed(len(again))
		}
		if rows == len(ids) {
			return nil
		}
		var err error
		found, err = s.compute(ctx, ids[rows:], want.onWire(), func(position int, logits []float32) error {
			rows++
			return want.Rows(position, logits)
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	s.ids = append(s.ids, ids...)
	s.settle()
	return found, nil
}

func (w Want) onWire() protocol.Want {
	switch {
	case w.Rows != nil:
		return protocol.WantRows
	case w.Candidates:
		return protocol.WantCandidates
	}
	return protocol.WantNone
}

// persist tries until it works, a failure is nobody's peer's, or too many peers have failed.
func (s *session) persist(ctx context.Context, try func() error) error {
	for n := 1; ; n++ {
		err := try()
		if err == nil {
			return nil
		}
		s.behind = true
		fault := (*chain.Fault)(nil)
		if !errors.As(err, &fault) {
			return err
		}
		failed := s.blame(fault)
		switch {
		case failed.Class == protocol.Never:
			return failed
		case n == maxTries:
			return fmt.Errorf("gave up after %d tries: %w", n, failed)
		}
	}
}

// blame hangs up on the chain because of a hop, which is kept out of the next chains for a while.
func (s *session) blame(fault *chain.Fault) *HopError {
	h := s.hops[fault.Hop]
	err := &HopError{Peer: h.Peer, Layers: h.Span, Class: fault.Class, Err: fault.Err}
	now := time.Now()
	s.client.bans.strike(h.Peer, fault.Class, now)
	s.failovers = append(s.failovers, Failover{Layers: h.Span, Peer: h.Peer, Reason: fault.Err})
	s.open = append(s.open, now)
	s.hangUp(fault.Hop)
	return err
}

// hangUp ends the link; failed is the hop that is why, or -1.
func (s *session) hangUp(failed int) {
	if s.link != nil {
		s.link.close(failed)
		s.link = nil
	}
}

// replayed counts tokens that are computed again for the failovers that no step has followed yet.
func (s *session) replayed(n int) {
	for i := len(s.failovers) - len(s.open); i < len(s.failovers); i++ {
		s.failovers[i].Replayed += n
	}
}

// settle closes the books of the failovers that a step has followed, and credits the peers that made it.
func (s *session) settle() {
	first := len(s.failovers) - len(s.open)
	for i, began := range s.open {
		f := &s.failovers[first+i]
		f.Stall = time.Since(began)
		for _, h := range s.hops {
			if h.Span.Start < f.Layers.End && f.Layers.Start < h.Span.End {
				f.Successors = append(f.Successors, h.Peer)
			}
		}
	}
	s.open = nil
	for _, h := range s.hops {
		s.client.bans.success(h.Peer)
	}
}

// reach opens the session at len(ids), at the peers that it has or, if there are none, at new ones.
func (s *session) reach(ctx context.Context) error {
	if s.link == nil {
		if err := s.connect(ctx); err != nil {
			return err
		}
	}
	l, p := s.link, s.run.Sampling
	wire := protocol.Sampling{Temperature: p.Temperature, TopP: p.TopP, Penalty: p.Penalty}
	if p.TopK > 0 && p.TopK <= sample.MaxCandidates {
		wire.TopK = int32(p.TopK)
	}
	err := l.drive(ctx, l.chain.Open(l.now(), len(s.ids), s.run.Expect, wire), func(a chain.Action) (bool, error) {
		_, ready := a.(chain.Ready)
		return ready, nil
	})
	s.behind = err != nil
	return err
}

// connect chooses a chain and starts connecting to it, as a session that these peers have not heard of.
func (s *session) connect(ctx context.Context) error {
	hops, err := s.client.plan(ctx)
	if err != nil {
		if n := len(s.failovers); n > 0 {
			f := s.failovers[n-1]
			return fmt.Errorf("%w (peer %s failed: %w)", err, f.Peer, f.Reason)
		}
		return err
	}
	m := s.client.model.Manifest
	var key protocol.Key
	rand.Read(key[:])
	cfg := chain.Config{Hidden: m.Hidden, Vocab: m.Vocab}
	peers := make([]peer.AddrInfo, len(hops))
	for i, h := range hops {
		o := protocol.Open{Session: key, Model: s.client.model.ID, Span: h.Span}
		if i > 0 {
			o.Prev = hops[i-1].Peer
		}
		if i < len(hops)-1 {
			o.Next = s.client.directory.Sealed(hops[i+1].Peer)
		}
		cfg.Hops = append(cfg.Hops, o)
		peers[i] = h.Offer.Dialable()
	}
	s.hops = hops
	s.link = newLink(s.client.host, s.client.model.limits(), key, cfg, peers)
	return nil
}

// compute sends ids through the chain.
func (s *session) compute(ctx context.Context, ids []uint32, want protocol.Want, each func(int, []float32) error) ([]sample.Candidate, error) {
	l := s.link
	var found []sample.Candidate
	s.behind = true
	err := l.drive(ctx, l.chain.Append(l.now(), ids, want), func(a chain.Action) (bool, error) {
		switch a := a.(type) {
		case chain.Rows:
			return false, deliver(a, each)
		case chain.Done:
			for _, c := range a.Candidates {
				found = append(found, sample.Candidate(c))
			}
			return true, nil
		}
		return false, nil
	})
	s.behind = err != nil
	return found, err
}

// deliver hands rows out one by one.
func deliver(r chain.Rows, each func(int, []float32) error) error {
	width := len(r.Logits) / r.N
	row := make([]float32, width/4)
	for i := range r.N {
		for k := range row {
			row[k] = math.Float32frombits(binary.LittleEndian.Uint32(r.Logits[i*width+4*k:]))
		}
		if err := each(r.Position+i, row); err != nil {
			return err
		}
	}
	return nil
}
