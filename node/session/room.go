package session

import (
	"cmp"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// request is what room is made for: a new session, or more cache for one that is there.
type request struct {
	owner    peer.ID
	sessions int      // 1 or 0
	tokens   int      // of cache, whole pages
	budget   *Budget  // of the tokens
	of       *Session // that asks; nil if it is a new one
}

// room is what there would be if some sessions gave way. Nobody does unless that is enough.
type room struct {
	table    *Table
	request  request
	given    []*Session        // to be forgotten
	unused   map[*Session]int  // tokens of promises that lapse
	free     int               // tokens
	sessions int               // of all peers
	count    map[peer.ID]int   // sessions of each peer
	held     map[peer.ID]int   // tokens of the budget that each peer has been promised
	gone     map[*Session]bool // is in given
}

// makeRoom promises nothing, but sees to it that the request fits. Whoever has to give way for it does, the longest unused
// first: sessions whose owners are gone; then promises that idle sessions have not used; then idle sessions; then, for
// cache, the same of sessions in use of a peer that has more than an equal part, where the one who asks would have no more than
// that, but not a peer's only session. If all that does not help, all stay.
func (t *Table) makeRoom(now time.Time, r request) error {
	if !t.fits(r) {
		m := t.newRoom(r)
		if err := m.make(now); err != nil {
			return err
		}
		m.commit()
	}
	return nil
}

// fits says whether there is room without anybody giving way.
func (t *Table) fits(r request) bool {
	return t.perPeer[r.owner]+r.sessions <= t.cfg.PerPeer && len(t.sessions)+r.sessions <= t.cfg.Total && r.budget.Free() >= r.tokens
}

func (t *Table) newRoom(r request) *room {
	m := &room{
		table: t, request: r, unused: make(map[*Session]int), free: r.budget.Free(), sessions: len(t.sessions),
		count: make(map[peer.ID]int), held: make(map[peer.ID]int), gone: make(map[*Session]bool),
	}
	for _, s := range t.sessions {
		m.count[s.ID.Owner]++
		if s.budget == r.budget {
			m.held[s.ID.Owner] += s.promised
		}
	}
	return m
}

// make plans who gives way.
func (m *room) make(now time.Time) error {
	t, r := m.table, m.request
	gone, idle, used := t.waiting(now, r)
	both := slices.Concat(gone, idle)
	if !m.until(both, func() bool { return m.count[r.owner]+r.sessions <= t.cfg.PerPeer }, m.own) {
		return fail(protocol.CodeBusy, "you have %d sessions open here, which is the limit: close one", t.perPeer[r.owner])
	}
	if !m.until(gone, m.placed, m.anyone) && !m.until(idle, m.placed, m.fairPlace) {
		return fail(protocol.CodeBusy, "all %d sessions of this node are taken", t.cfg.Total)
	}
	gone, idle, used = m.sharing(gone), m.sharing(idle), m.sharing(used)
	if m.until(gone, m.stored, m.anyone) {
		return nil
	}
	m.lapse(idle, m.anyone)
	if m.until(idle, m.stored, m.fairShare) {
		return nil
	}
	m.lapse(used, m.exceeds)
	if !m.until(used, m.stored, m.crowds) {
		return fail(protocol.CodeNoMemory, "no cache for %d more tokens: %d of %d can be had now",
			r.tokens, m.free, r.budget.tokens)
	}
	return nil
}

// waiting gives the sessions that may have to give way, the longest unused first: those whose owners are gone, those that are
// idle, and the others of which no step is computed just now.
func (t *Table) waiting(now time.Time, r request) (gone, idle, used []*Session) {
	for _, s := range t.sessions {
		after := yieldAfter
		if s.ID.Owner == r.owner {
			after = restAfter
		}
		switch {
		case s.running || s == r.of:
		case s.Gone(now):
			gone = append(gone, s)
		case now.Sub(s.used) >= after:
			idle = append(idle, s)
		default:
			used = append(used, s)
		}
	}
	sortByUse(gone)
	sortByUse(idle)
	sortByUse(used)
	return gone, idle, used
}

// sharing gives those of some sessions that have their cache from the budget that is asked.
func (m *room) sharing(sessions []*Session) []*Session {
	return slices.DeleteFunc(sessions, func(s *Session) bool { return s.budget != m.request.budget })
}

// sortByUse puts the sessions first that have been without a step for the longest time.
func sortByUse(sessions []*Session) {
	slices.SortFunc(sessions, func(a, b *Session) int {
		return cmp.Or(a.used.Compare(b.used), slices.Compare(a.ID.Key[:], b.ID.Key[:]), cmp.Compare(a.ID.Owner, b.ID.Owner))
	})
}

// until has sessions that may give way do so until enough says that it is enough.
func (m *room) until(sessions []*Session, enough func() bool, may func(*Session) bool) bool {
	for _, s := range sessions {
		if enough() {
			return true
		}
		if m.gone[s] || !may(s) {
			continue
		}
		m.gone[s] = true
		m.given = append(m.given, s)
		m.sessions--
		m.count[s.ID.Owner]--
		if s.budget == m.request.budget {
			m.held[s.ID.Owner] -= s.promised - m.unused[s]
			m.free += s.promised - m.unused[s]
		}
	}
	return enough()
}

// lapse takes back what sessions have been promised and have not used, as far as it is needed.
func (m *room) lapse(sessions []*Session, may func(*Session) bool) {
	for _, s := range sessions {
		if n := s.promised - pages(s.held()); n > 0 && !m.gone[s] && !m.stored() && may(s) {
			m.unused[s] = n
			m.free += n
			m.held[s.ID.Owner] -= n
		}
	}
}

// placed says whether there is a place for the session, stored whether there is cache for its tokens.
func (m *room) placed() bool { return m.sessions+m.request.sessions <= m.table.cfg.Total }
func (m *room) stored() bool { return m.free >= m.request.tokens }

func (m *room) own(s *Session) bool  { return s.ID.Owner == m.request.owner }
func (m *room) anyone(*Session) bool { return true }

// fairPlace and fairShare say whether an idle session has to give way: one of the peer's own has, and one of a peer that
// has no less than the one who asks would have then, or anybody's if that is no more than an equal part.
func (m *room) fairPlace(s *Session) bool {
	return m.own(s) || m.fair(m.count, s.ID.Owner, m.request.sessions, m.table.cfg.Total)
}

func (m *room) fairShare(s *Session) bool {
	return m.own(s) || m.fair(m.held, s.ID.Owner, m.request.tokens, m.request.budget.tokens)
}

// exceeds says whether a session in use is another peer's that has more than an equal part of the cache, where the one who
// asks would have no more than that. What it does not use of its promise lapses then.
func (m *room) exceeds(s *Session) bool {
	part, other, owner := m.request.budget.tokens/m.peers(), s.ID.Owner, m.request.owner
	return other != owner && m.held[other] > part && m.held[owner]+m.request.tokens <= part
}

// crowds says whether it has to give way altogether: it does if it is one of several. A single conversation is never broken
// off for another.
func (m *room) crowds(s *Session) bool { return m.count[s.ID.Owner] > 1 && m.exceeds(s) }

// peers is how many peers share, with the one who asks.
func (m *room) peers() int {
	peers := len(m.table.perPeer)
	if m.table.perPeer[m.request.owner] == 0 {
		peers++
	}
	return peers
}

func (m *room) fair(has map[peer.ID]int, other peer.ID, wanted, all int) bool {
	then := has[m.request.owner] + wanted
	return has[other] >= then || then <= all/m.peers()
}

// commit has those give way who must.
func (m *room) commit() {
	t := m.table
	for s, n := range m.unused {
		s.promised -= n
		s.budget.promised -= n
	}
	for _, s := range m.given {
		t.Close(s)
	}
	t.evicted += len(m.given)
}

// Available is the tokens of a budget that can be had: those that nobody has been promised, and what gives way to others.
func (t *Table) Available(now time.Time, b *Budget) int {
	free := b.Free()
	gone, idle, _ := t.waiting(now, request{})
	for _, s := range slices.Concat(gone, idle) {
		if s.budget == b {
			free += s.promised
		}
	}
	return free
}
