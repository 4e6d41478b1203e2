package client

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
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

// SessionConfig says how a session deals with the swarm. The zero value is right for most.
type SessionConfig struct {
	// Private keeps others from finding what the session's peers have cached of it, and the session from finding what
	// they have cached of others.
	Private bool

	// Salt says who shares cached pages: sessions with the same one. Zero is everyone. Private sessions share with nobody,
	// whatever it is.
	Salt [16]byte

	// Waiting is told, again and again, that the session waits for somebody to serve the missing layers, or to have room:
	// until that happens, or Grace is over. nil: nobody is told.
	Waiting func(w Waiting)

	// Grace is how long it waits; 0 means 30 s.
	Grace time.Duration
}

// Waiting says what a session waits for.
type Waiting struct {
	Missing []protocol.Span
	Busy    bool          // somebody serves them and has no room now
	For     time.Duration // so far
	Grace   time.Duration // at most
}

// session is the Stepper over a chain of peers. The truth, the ids, is kept by the link's chain.
type session struct {
	client *Client
	cfg    SessionConfig
	len    int  // tokens of the steps that are done
	opened bool // it has been ready once

	link  *link // nil before the first Begin
	hops  []routing.Hop
	ids   []int // of hops, for the chain
	books books
	mind  mind
	kept  []chain.Action  // of the step: what came while the chain was mended
	ways  []time.Duration // to each hop and back from the last; nil: not looked up
	pace  progressing

	seen     []protocol.Offer                 // that the newest plan was made from
	naming   func([]uint32) []protocol.Digest // names pages; nil: the session is private
	names    []protocol.Digest                // of the pages of the prompt
	prompt   int                              // its tokens
	expect   int                              // tokens that the session will reach
	recorded int                              // pages that others may look for at these hops

	again   func() []chain.Action // opens the session once more, at len
	idle    *time.Timer           // looks after the session while nobody uses it; nil: it is in use
	view    view                  // what it tells of itself meanwhile
	relax   context.CancelFunc
	resting sync.WaitGroup

	refreshed  time.Time // when the directory was last asked
	refreshing sync.WaitGroup
	asks       atomic.Bool        // it is refreshing
	stop       context.CancelFunc // ends refreshing
}

// view is what a session tells of itself.
type view struct {
	chain     []HopInfo
	failovers []Failover
	stats     Stats
}

// NewSession makes a Stepper over the swarm. It talks to nobody until its first Begin.
func (c *Client) NewSession(cfg SessionConfig) Stepper {
	if cfg.Grace == 0 {
		cfg.Grace = defaultGrace
	}
	return &session{client: c, cfg: cfg, mind: newMind(), refreshed: time.Now()}
}

func (s *session) Len() int { return s.len }

// Failovers is part of Stepper.
func (s *session) Failovers() []Failover {
	if s.idle != nil {
		return s.view.failovers
	}
	return s.books.failovers
}

// Chain is part of Stepper.
func (s *session) Chain() []HopInfo {
	if s.idle != nil {
		return s.view.chain
	}
	infos := make([]HopInfo, len(s.hops))
	for i, h := range s.hops {
		infos[i] = HopInfo{Peer: h.Peer, Layers: h.Span, Device: h.Offer.Device, Nick: h.Offer.Nick}
	}
	return infos
}

// Stats tells what the answer since the last Begin has cost.
func (s *session) Stats() Stats {
	if s.idle != nil {
		return s.view.stats
	}
	st := s.books.stats
	if s.link != nil {
		st.Hops = len(s.hops)
		st.Bytes = s.link.bytes.Load() - s.books.bytes
		st.RelayedBytes = s.link.chain.Relayed() - s.books.relayed
	}
	return st
}

// Close is part of Stepper.
func (s *session) Close() error {
	s.rouse()
	if s.stop != nil {
		s.stop()
	}
	s.refreshing.Wait()
	if s.link != nil {
		s.link.close()
		s.link, s.hops, s.ids, s.len = nil, nil, nil, 0
	}
	return nil
}

// Begin opens the session at its peers, or rolls it back there.
func (s *session) Begin(ctx context.Context, r Run) error {
	s.rouse()
	s.mind.asked()
	if s.link == nil {
		s.link = s.newLink()
	}
	s.books.begin(s.link)
	s.refresh()
	p := r.Sampling
	wire := protocol.Sampling{Temperature: p.Temperature, TopP: p.TopP, Penalty: p.Penalty}
	if p.TopK > 0 && p.TopK <= sample.MaxCandidates {
		wire.TopK = int32(p.TopK)
	}
	s.len = min(r.Keep, s.len)
	s.expects(r)
	l := s.link
	s.shun()
	open := func(prompt []uint32) []chain.Action {
		s.stopMove()
		return l.chain.Open(l.now(), s.len, r.Expect, wire, prompt)
	}
	s.again = func() []chain.Action { return open(nil) }
	fresh := !s.opened
	err := s.run(ctx, open(r.Prompt), func(a chain.Action) (bool, error) {
		ready, ok := a.(chain.Ready)
		if ok {
			if !s.opened {
				s.client.holders.forget(s.names[min(ready.Found/protocol.PageTokens, len(s.names)):])
			}
			s.opened = true
			s.books.stats.PrefixHits, s.books.stats.Cached = ready.Found, ready.Position
			s.len = ready.Position
		}
		return ok, nil
	})
	if err == nil && fresh && s.len == 0 {
		err = s.repair(ctx)
	}
	if err == nil {
		s.rest(idleAfter, l.chain.Partings)
	}
	return err
}

// newLink begins a session that no peer has heard of.
func (s *session) newLink() *link {
	c := s.client
	cfg := chain.Config{
		Model: c.model.ID, Salt: s.cfg.Salt, Private: s.cfg.Private, Hidden: c.model.Manifest.Hidden, Vocab: c.model.Manifest.Vocab,
	}
	rand.Read(cfg.Session[:])
	if s.cfg.Private {
		rand.Read(cfg.Salt[:])
	} else {
		s.naming = func(ids []uint32) []protocol.Digest { return name(&cfg, ids) }
		cfg.Names = s.naming
	}
	return newLink(c.host, c.model.limits(), cfg)
}

// expects takes down what a run will make of the session.
func (s *session) expects(r Run) {
	s.names, s.prompt, s.expect = nil, len(r.Prompt), r.Expect
	if s.naming != nil && r.Prompt != nil {
		s.names = s.naming(r.Prompt)
	}
	s.recorded = min(s.recorded, s.len/protocol.PageTokens)
}

// Step computes the ids, on another chain if it must.
func (s *session) Step(ctx context.Context, ids []uint32, want Want) ([]sample.Candidate, error) {
	if len(ids) == 0 {
		return nil, errors.New("a step of no tokens")
	}
	s.rouse()
	s.mind.asked()
	s.refresh()
	s.remind()
	if err := s.reconsider(ctx); err != nil {
		return nil, err
	}
	began, failovers := time.Now(), len(s.books.failovers)
	var found []sample.Candidate
	l := s.link
	err := s.run(ctx, l.chain.Append(l.now(), ids, want.onWire()), func(a chain.Action) (bool, error) {
		switch a := a.(type) {
		case chain.Rows:
			s.progress()
			return false, deliver(a, want.Rows)
		case chain.Done:
			for _, c := range a.Candidates {
				found = append(found, sample.Candidate(c))
			}
			s.timed(a.Steps, want.Timed)
			return true, nil
		}
		return false, nil
	})
	if err != nil {
		if ctx.Err() != nil && !l.chain.Broken() {
			s.rest(0, s.again) // so that the peers need not finish what nobody waits for
		}
		return nil, err
	}
	s.len += len(ids)
	s.held()
	if len(ids) == 1 && want.Candidates && len(s.books.failovers) == failovers {
		s.paced(time.Since(began))
	}
	s.rest(idleAfter, l.chain.Partings)
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

// run carries out actions and what follows until take says that all is done, and mends the chain whenever it breaks.
func (s *session) run(ctx context.Context, actions []chain.Action, take func(chain.Action) (bool, error)) error {
	for {
		if s.link.chain.Broken() || s.parts() {
			var err error
			if actions, err = s.mend(ctx); err != nil {
				s.kept = nil
				return err
			}
			actions = append(s.kept, actions...)
			s.kept = nil
		}
		done := false
		err := s.link.drive(ctx, 0, actions, func(a chain.Action) (bool, error) {
			last, err := take(a)
			done = done || last
			return s.note(a) || last, err
		})
		if err != nil {
			return err
		}
		if done {
			s.settle()
			return nil
		}
		actions = nil
	}
}

// meanwhile lets the chain go on for a while as it is, until there is new trouble. A hop behind the one that failed may have
// got the step before, and its result counts: nobody would send it again.
func (s *session) meanwhile(ctx context.Context, limit time.Duration) error {
	return s.link.drive(ctx, limit, nil, func(a chain.Action) (bool, error) {
		switch a.(type) {
		case chain.Rows, chain.Done:
			s.kept = append(s.kept, a)
		}
		return s.note(a), nil
	})
}

// note takes down what happens to the chain, and says whether somebody must see to it.
func (s *session) note(a chain.Action) (trouble bool) {
	switch a := a.(type) {
	case *chain.Fault:
		s.blame(a)
		return true
	case chain.Parting:
		s.mind.parting = &a
		if s.mind.since.IsZero() {
			s.mind.since = time.Now()
		}
		return true
	case chain.Moved:
		s.moved(a)
	case chain.Replaying:
		s.books.replayed(a.Tokens)
	}
	return false
}

// settle closes the books of what a step has got over, and credits the peers that made it: one that has come since has done
// nothing yet.
func (s *session) settle() {
	s.progress()
	if s.books.open > 0 {
		s.recorded = 0 // others hold the pages now
	}
	s.books.settle(s.hops)
	for _, h := range s.link.chain.Said() {
		s.client.bans.success(h.Peer)
	}
}

// rest has the session looked after until it is used again, from after on: a peer that leaves meanwhile hands over what it
// holds. What fails meanwhile is mended when the session is used.
func (s *session) rest(after time.Duration, begin func() []chain.Action) {
	s.view = view{s.Chain(), slices.Clone(s.Failovers()), s.Stats()} // of now: another goroutine changes them
	ctx, cancel := context.WithCancel(context.Background())
	s.relax = cancel
	s.resting.Add(1)
	s.idle = time.AfterFunc(after, func() {
		defer s.resting.Done()
		s.watch(ctx, begin())
	})
}

// rouse ends rest.
func (s *session) rouse() {
	if s.idle == nil {
		return
	}
	s.relax()
	if s.idle.Stop() {
		s.resting.Done() // it had not begun
	}
	s.resting.Wait()
	s.idle = nil
}

// watch is what rest does. It ends with its context, or when something has failed.
func (s *session) watch(ctx context.Context, actions []chain.Action) {
	l := s.link
	for !l.chain.Broken() {
		pause := time.Duration(0)
		if len(s.mind.stays) > 0 {
			pause = remindEvery
		}
		err := l.drive(ctx, pause, actions, func(a chain.Action) (bool, error) {
			if _, ok := a.(chain.Ready); ok { // a peer has been replaced, and nobody had to wait for it
				s.progress()
				s.recorded = 0
				s.books.settle(s.hops)
			}
			return s.note(a), nil
		})
		switch {
		case errors.Is(err, errPause):
			s.refresh()
			s.remind()
			actions = l.chain.Partings()
		case err != nil || !s.parts():
			return
		default:
			if actions, err = s.part(ctx); err != nil {
				return
			}
		}
	}
}

// refresh asks the directory now and then, in the background, so that whoever can take a failed peer's place is known when
// it fails.
func (s *session) refresh() {
	every := refreshEvery
	if len(s.mind.stays) > 0 {
		every = refreshSoon
	}
	if time.Since(s.refreshed) < every || s.client.askedWithin(every) || s.client.refresh == nil || !s.asks.CompareAndSwap(false, true) {
		return
	}
	s.refreshing.Wait()
	s.refreshed = time.Now()
	s.client.asksNow()
	ctx, cancel := context.WithTimeout(context.Background(), findLimit)
	s.stop = cancel
	s.refreshing.Go(func() {
		defer s.asks.Store(false)
		defer cancel()
		s.client.refresh(ctx)
	})
}
