package gateway

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/baichuan-node/baichuan-node/client"
)

// pool lends sessions of one model. One that has answered is kept for a while: the conversation's next turn begins like
// it, and finds its cache.
type pool struct {
	model Model
	lent  prometheus.Gauge
	room  func() (tokens int, known bool) // of cache that is free at the peers

	mu      sync.Mutex
	idle    []*session // guarded by mu, as is all below; the last used is the last
	begun   int        // answers that have begun and run
	full    time.Time  // when a peer last had no room
	errs    []error    // of Close
	closed  bool
	closing sync.WaitGroup // for every Close that runs
}

// session is a conversation that may go on. Whoever has borrowed it owns it.
type session struct {
	stepper client.Stepper
	talk    *client.Conversation
	salt    [16]byte
	ids     []uint32 // what its cache held at last
	timer   *time.Timer

	begun bool                    // the answer has; guarded by the pool's mu, as is the next
	give  context.CancelCauseFunc // gives the answer up
	told  func(client.Waiting)    // that it waits, once it has begun; nil: nobody is
}

func newPool(m Model, lent prometheus.Gauge, room func() (int, bool)) *pool {
	return &pool{model: m, lent: lent, room: room}
}

// borrow gives the idle session that has most of the prompt, or a new one.
func (p *pool) borrow(salt [16]byte, prompt []uint32) *session {
	p.lent.Inc()
	p.mu.Lock()
	defer p.mu.Unlock()
	best, most := -1, 0
	for i, s := range p.idle {
		// One that would lose more than it brings is left to its own conversation.
		if n := common(s.ids, prompt); s.salt == salt && n > most && 2*n >= len(s.ids) {
			best, most = i, n
		}
	}
	if best >= 0 {
		s := p.idle[best]
		p.idle = slices.Delete(p.idle, best, best+1)
		s.timer.Stop()
		return s
	}
	s := &session{salt: salt}
	s.stepper = p.model.NewSession(client.SessionConfig{Salt: salt, Waiting: func(w client.Waiting) { p.waits(s, w) }})
	s.talk = client.NewConversation(p.model.Model(), s.stepper)
	return s
}

// common is how many ids two sequences begin with alike.
func common(a, b []uint32) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}

// start says how the answer that the session is about to make can be given up, and who is told that it waits.
func (p *pool) start(s *session, give context.CancelCauseFunc, told func(client.Waiting)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.give, s.told = give, told
}

// began notes that an answer has begun.
func (p *pool) began(s *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !s.begun {
		s.begun = true
		p.begun++
	}
}

// waits is told that a session waits for peers, or for room at them. Sessions that are idle make room. An answer that has
// not begun is given up after a while: soon, unless others of ours that run are what it waits for. Of one that has, its
// reader is told.
func (p *pool) waits(s *session, w client.Waiting) {
	if told := p.waited(s, w); told != nil {
		told(w)
	}
}

// waited does what waits says, and gives who is to be told.
func (p *pool) waited(s *session, w client.Waiting) (told func(client.Waiting)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	patience := openGrace
	if w.Busy {
		p.full = time.Now()
		p.endIdle()
		if p.begun > 0 {
			patience = busyGrace
		}
	}
	if s.begun {
		return s.told
	}
	if w.For >= patience {
		s.give(&waitedError{w})
	}
	return nil
}

// endIdle ends all sessions that are kept for later. p.mu is held.
func (p *pool) endIdle() {
	for _, s := range p.idle {
		s.timer.Stop()
		p.end(s)
	}
	p.idle = nil
}

// giveBack takes a session back, with what it holds now. One without is done for: its answer was given up, and the sooner
// its peers hear of that the better. Idle sessions take up half of the peers' room at most: it is others' too.
func (p *pool) giveBack(s *session, ids []uint32) {
	p.lent.Dec()
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.begun {
		p.begun--
		s.begun = false
	}
	if ids == nil || p.closed || time.Since(p.full) < fullFor {
		p.end(s)
		return
	}
	s.ids = ids
	s.timer = time.AfterFunc(idleFor, func() { p.expire(s) })
	p.idle = append(p.idle, s)
	room, known := p.room()
	most := (room + p.held()) / 2
	for len(p.idle) > maxIdle || known && len(p.idle) > 0 && p.held() > most {
		p.idle[0].timer.Stop()
		p.end(p.idle[0])
		p.idle = slices.Delete(p.idle, 0, 1)
	}
}

// held is the cache that idle sessions take up at each peer, in tokens: what they hold, and what they were promised. p.mu is held.
func (p *pool) held() int {
	n := 0
	for _, s := range p.idle {
		n += len(s.ids) + promised
	}
	return n
}

// expire ends a session that nobody has borrowed again.
func (p *pool) expire(s *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.idle, s); i >= 0 {
		p.idle = slices.Delete(p.idle, i, i+1)
		p.end(s)
	}
}

// end closes a session in the background: a peer may take its time for the goodbye. p.mu is held.
func (p *pool) end(s *session) {
	p.closing.Go(func() {
		if err := s.stepper.Close(); err != nil {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.errs = append(p.errs, err)
		}
	})
}

// close ends all sessions and waits until that is done. Those that are lent are ended as they come back.
func (p *pool) close() error {
	p.mu.Lock()
	p.closed = true
	p.endIdle()
	p.mu.Unlock()
	p.closing.Wait()
	return errors.Join(p.errs...)
}

func (p *pool) idleSessions() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.idle)
}
