// Package session keeps a node's books about its sessions: who owns which, what its cache holds, which step may be
// executed, what is answered again without computing, who is admitted and who is forgotten.
//
// It is bookkeeping alone: it reads no clock (the time is handed in), starts no goroutine, touches no stream and holds
// no key or value. Nothing here is safe for concurrent use: a [Table] and its sessions belong to whoever holds the
// node's one lock. What it refuses, it refuses with a protocol.Failure that is ready to be sent.
package session

import (
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// Config is what a table admits. Layers and Context have no default.
type Config struct {
	Layers  int // of the whole model: a session that ends there keeps the ids, for the penalty
	Context int // tokens of one session at most

	PerPeer   int           // sessions of one owner; 0 means 64
	Total     int           // sessions together; 0 means 256
	Idle      time.Duration // a session without a step for so long is forgotten; 0 means 5 minutes
	GoneAfter time.Duration // without a stream for so long, a session may be evicted for another; 0 means 3 s
}

func (c Config) withDefaults() Config {
	if c.PerPeer == 0 {
		c.PerPeer = DefaultPerPeer
	}
	if c.Total == 0 {
		c.Total = DefaultTotal
	}
	if c.Idle == 0 {
		c.Idle = DefaultIdle
	}
	if c.GoneAfter == 0 {
		c.GoneAfter = defaultGoneAfter
	}
	return c
}

// ID names a session: the key is the owner's own choice, so two owners may choose the same.
type ID struct {
	Owner peer.ID
	Key   protocol.Key
}

// Budget is the tokens of cache that the sessions of one shard have together. A session has its cache from the one that it
// was opened with.
type Budget struct {
	tokens   int // whole pages
	promised int // at most tokens
}

// NewBudget makes a budget of so many tokens, of which nobody has been promised any.
func NewBudget(tokens int) *Budget { return &Budget{tokens: tokens} }

// Promised is the tokens that sessions have been promised.
func (b *Budget) Promised() int { return b.promised }

// Free is the tokens that nobody has been promised.
func (b *Budget) Free() int { return b.tokens - b.promised }

// Table is all sessions of a node, whatever shards they run through. Make one with New.
type Table struct {
	cfg      Config
	sessions map[ID]*Session
	perPeer  map[peer.ID]int
	dropped  []*Session // forgotten, their caches not yet freed
	evicted  int
}

// New makes an empty table.
func New(cfg Config) *Table {
	return &Table{cfg: cfg.withDefaults(), sessions: make(map[ID]*Session), perPeer: make(map[peer.ID]int)}
}

// Len is the number of sessions.
func (t *Table) Len() int { return len(t.sessions) }

// Evicted is how many sessions have had to give way to others.
func (t *Table) Evicted() int { return t.evicted }

// Find gives a session of an owner, nil if there is none: to anyone else it does not exist.
func (t *Table) Find(id ID) *Session { return t.sessions[id] }

// Open begins a session or, with a higher epoch, changes it: frames of older epochs are refused from now on, and once
// no step of it runs any more ([Session.Settled]) it is cut to the wanted position and has its new sampling and
// ids. An epoch that is not higher changes nothing; the caller answers with the session's own. A session that is begun has
// its cache from b; one that is there keeps its own budget.
func (t *Table) Open(now time.Time, owner peer.ID, m protocol.Open, b *Budget) (*Session, error) {
	id := ID{owner, m.Session}
	if s := t.sessions[id]; s != nil {
		s.used = now
		if m.Epoch > s.epoch {
			s.reopen(m)
		}
		return s, nil
	}
	tokens := pages(int(m.Expect))
	if err := t.makeRoom(now, request{owner: owner, sessions: 1, tokens: tokens, budget: b}); err != nil {
		return nil, err
	}
	s := &Session{ID: id, table: t, budget: b, used: now, goneSince: now, promised: tokens}
	s.epoch, s.prev, s.from = m.Epoch, m.Prev, m.From
	s.apply(m)
	t.sessions[id] = s
	t.perPeer[owner]++
	b.promised += tokens
	return s, nil
}

// Close forgets a session. A step of it that runs goes on; its Finish changes nothing any more.
func (t *Table) Close(s *Session) {
	if s.closed {
		return
	}
	s.closed = true
	s.pending = nil
	delete(t.sessions, s.ID)
	s.budget.promised -= s.promised
	if t.perPeer[s.ID.Owner]--; t.perPeer[s.ID.Owner] == 0 {
		delete(t.perPeer, s.ID.Owner)
	}
	t.dropped = append(t.dropped, s)
}

// Expire forgets the sessions that have been idle for too long and says how many they were.
func (t *Table) Expire(now time.Time) int {
	before := len(t.sessions)
	for _, s := range t.sessions {
		if !s.running && now.Sub(s.used) >= t.cfg.Idle {
			t.Close(s)
		}
	}
	return before - len(t.sessions)
}

// Present is how many sessions have an owner who may still want something.
func (t *Table) Present(now time.Time) int {
	n := 0
	for _, s := range t.sessions {
		if s.running || !s.Gone(now) {
			n++
		}
	}
	return n
}

// UsedSince is how many of those that Present counts have been used since then.
func (t *Table) UsedSince(then, now time.Time) int {
	n := 0
	for _, s := range t.sessions {
		if s.running || !s.Gone(now) && s.used.After(then) {
			n++
		}
	}
	return n
}

// Decoding gives the sessions that have had a short step since then: how many they are, and one of them.
func (t *Table) Decoding(since time.Time) (n int, one *Session) {
	for _, s := range t.sessions {
		if s.decoded.After(since) {
			n++
			one = s
		}
	}
	return n, one
}

// Decoders gives the owners of the sessions that have had a short step since then.
func (t *Table) Decoders(since time.Time) map[peer.ID]bool {
	owners := make(map[peer.ID]bool)
	for _, s := range t.sessions {
		if s.decoded.After(since) {
			owners[s.ID.Owner] = true
		}
	}
	return owners
}

// TakeDropped gives the sessions that were forgotten since the last call, whose caches are now the caller's to free
// before it computes the next step.
func (t *Table) TakeDropped() []*Session {
	dropped := t.dropped
	t.dropped = nil
	return dropped
}

// Dropped is how many sessions wait for TakeDropped.
func (t *Table) Dropped() int { return len(t.dropped) }

// pages rounds tokens up to whole pages, at least one.
func pages(tokens int) int { return max(1, (tokens+pageTokens-1)/pageTokens) * pageTokens }

func fail(code protocol.Code, format string, args ...any) protocol.Failure {
	return protocol.Failure{Code: code, Text: fmt.Sprintf(format, args...)}
}
