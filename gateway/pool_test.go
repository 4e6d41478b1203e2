package gateway

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/baichuan-node/baichuan-node/client"
)

// quiet is a model whose sessions compute nothing and say when they are closed.
type quiet struct {
	inProcess
	closed   atomic.Int64
	capacity int // of a peer's cache; 0: unknown
}

type quietSession struct {
	client.Stepper
	m *quiet
}

func (m *quiet) NewSession(client.SessionConfig) client.Stepper { return &quietSession{m: m} }

func (s *quietSession) Close() error {
	s.m.closed.Add(1)
	return nil
}

func newQuiet(t *testing.T) (*quiet, *pool) {
	t.Helper()
	m := &quiet{}
	var p *pool
	room := func() (int, bool) { return m.capacity - p.held(), m.capacity > 0 }
	p = newPool(m, newMetrics(&Server{}).sessions, room)
	t.Cleanup(func() {
		if err := p.close(); err != nil {
			t.Error(err)
		}
	})
	return m, p
}

func TestPool_KeepsWhatAConversationGoesOnWith(t *testing.T) {
	_, p := newQuiet(t)
	var mine, others [16]byte
	others[0] = 1
	long, short := p.borrow(mine, nil), p.borrow(mine, nil)
	p.giveBack(long, []uint32{1, 2, 3, 4, 5, 6})
	p.giveBack(short, []uint32{1, 2, 3})
	if x := p.borrow(others, []uint32{1, 2, 3, 4, 5, 6, 7}); x == long || x == short {
		t.Error("another key's session was lent")
	}
	if x := p.borrow(mine, []uint32{9, 1, 2, 3}); x == long || x == short {
		t.Error("a session was lent that has nothing of the prompt")
	}
	if x := p.borrow(mine, []uint32{1, 2, 3, 4, 5, 6, 7}); x != long {
		t.Error("not the one that has most")
	}
	p.giveBack(long, []uint32{1, 2, 3, 4, 5, 6, 7, 8})
	if x := p.borrow(mine, []uint32{1, 2, 9}); x != short {
		t.Error("not the one that loses least")
	}
	if x := p.borrow(mine, []uint32{1, 2, 9}); x == long {
		t.Error("a session was lent that loses more than it brings")
	}
}

func TestPool_EndsWhatNobodyComesBackTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := newQuiet(t)
		var salt [16]byte
		given := p.borrow(salt, nil)
		p.giveBack(given, nil)
		synctest.Wait()
		if m.closed.Load() != 1 || p.idleSessions() != 0 {
			t.Errorf("an answer was given up: %d sessions closed, %d idle", m.closed.Load(), p.idleSessions())
		}
		kept := p.borrow(salt, nil)
		p.giveBack(kept, []uint32{1})
		time.Sleep(idleFor - time.Second)
		if again := p.borrow(salt, []uint32{1, 2}); again != kept {
			t.Error("it is not kept long enough")
		}
		p.giveBack(kept, []uint32{1, 2})
		time.Sleep(idleFor + time.Second)
		synctest.Wait()
		if m.closed.Load() != 2 || p.idleSessions() != 0 {
			t.Errorf("%d sessions closed, %d idle", m.closed.Load(), p.idleSessions())
		}
		var many []*session
		for range maxIdle + 3 {
			many = append(many, p.borrow(salt, nil))
		}
		for _, x := range many {
			p.giveBack(x, []uint32{1})
		}
		synctest.Wait()
		if m.closed.Load() != 5 || p.idleSessions() != maxIdle {
			t.Errorf("%d sessions closed, %d idle", m.closed.Load(), p.idleSessions())
		}
	})
}

func TestPool_LeavesHalfOfTheRoomToOthers(t *testing.T) {
	m, p := newQuiet(t)
	m.capacity = 5 * (promised + 1)
	var salt [16]byte
	var all [6]*session
	for i := range all {
		all[i] = p.borrow(salt, nil)
	}
	for _, x := range all {
		p.giveBack(x, []uint32{1})
	}
	if n := p.idleSessions(); n != 2 || p.idle[0] != all[4] || p.idle[1] != all[5] {
		t.Errorf("%d sessions are kept where there is room for 5, want the last 2", n)
	}
	m.capacity = promised
	p.giveBack(p.borrow(salt, nil), []uint32{1})
	if n := p.idleSessions(); n != 0 {
		t.Errorf("%d sessions are kept where there is no room", n)
	}
}

func TestPool_MakesRoomAndGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := newQuiet(t)
		var salt [16]byte
		idle, runs, waits := p.borrow(salt, nil), p.borrow(salt, nil), p.borrow(salt, nil)
		var gaveUp error
		runs.give = func(error) { t.Error("an answer was given up that had begun") }
		waits.give = func(err error) { gaveUp = err }
		p.giveBack(idle, []uint32{1})
		p.began(runs)
		p.waits(waits, client.Waiting{Busy: true, For: openGrace})
		p.waits(runs, client.Waiting{Busy: true, For: time.Minute})
		synctest.Wait()
		if m.closed.Load() != 1 || p.idleSessions() != 0 || gaveUp != nil {
			t.Errorf("%d idle sessions made room, %d are left; given up: %v", m.closed.Load(), p.idleSessions(), gaveUp)
		}
		p.giveBack(runs, []uint32{1})
		synctest.Wait()
		if m.closed.Load() != 2 {
			t.Error("a session is kept while others have no room")
		}
		p.waits(waits, client.Waiting{Busy: true, For: openGrace}) // nothing of ours takes the room
		if gaveUp == nil {
			t.Error("it waits on")
		}
		p.giveBack(waits, nil)
		time.Sleep(fullFor)
		last := p.borrow(salt, nil)
		p.giveBack(last, []uint32{1})
		if p.idleSessions() != 1 {
			t.Error("nothing is kept any more")
		}
	})
}
