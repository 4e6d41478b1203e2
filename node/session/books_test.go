package session

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// balance compares what the table has counted with its sessions.
func (t *Table) balance(budgets ...*Budget) error {
	promised, owners := make(map[*Budget]int), make(map[peer.ID]int)
	for id, s := range t.sessions {
		promised[s.budget] += s.promised
		owners[id.Owner]++
		if s.closed || s.promised < s.held() || s.promised%pageTokens != 0 {
			return fmt.Errorf("a session holds %d tokens and was promised %d, closed: %v", s.held(), s.promised, s.closed)
		}
	}
	for _, b := range budgets {
		if promised[b] != b.promised || b.promised > b.tokens {
			return fmt.Errorf("%d tokens are promised, counted are %d, there are %d", promised[b], b.promised, b.tokens)
		}
	}
	if fmt.Sprint(owners) != fmt.Sprint(t.perPeer) || len(t.sessions) > t.cfg.Total {
		return fmt.Errorf("owners have %v sessions, counted are %v", owners, t.perPeer)
	}
	for who, n := range owners {
		if n > t.cfg.PerPeer {
			return fmt.Errorf("%v has %d sessions", who, n)
		}
	}
	return nil
}

// one does something to one of the sessions, or opens another.
func one(t *Table, rng *rand.Rand, now time.Time, runs map[*Session]Input, budgets ...*Budget) {
	owner := peer.ID(fmt.Sprint(rng.IntN(4)))
	id := ID{owner, protocol.Key{byte(rng.IntN(5))}}
	s := t.Find(id)
	if s == nil || rng.IntN(8) == 0 {
		m := protocol.Open{Session: id.Key, Span: protocol.Span{End: 1 + rng.IntN(2)}, Expect: uint32(rng.IntN(300)), Position: uint32(rng.IntN(300))}
		m.Epoch = uint32(rng.IntN(2))
		if s != nil {
			m.Epoch += s.Epoch()
		}
		_, _ = t.Open(now, owner, m, budgets[rng.IntN(len(budgets))])
		return
	}
	switch in, runs1 := runs[s], s.Running(); {
	case rng.IntN(12) == 0:
		t.Close(s)
	case runs1 && rng.IntN(3) == 0:
		s.Abandon(now, in, rng.IntN(in.N))
	case runs1:
		s.Finish(now, in)
	case s.MayFind() && rng.IntN(3) == 0:
		s.Found(now, rng.IntN(300))
	case rng.IntN(4) == 0:
		if n := 1 + rng.IntN(64); s.held() == s.Length() && s.Take(now, n) == nil {
			s.Taken(s.Epoch(), s.Length(), n)
		}
	case rng.IntN(4) == 0:
		s.Attach(now)
	case rng.IntN(4) == 0 && s.streams > 0:
		s.Detach(now)
	default:
		in := Input{Epoch: s.Epoch(), Number: s.last + 1, Position: s.Length(), N: 1 + rng.IntN(200)}
		if v, _, err := s.Begin(now, in); err == nil && v == Compute {
			runs[s] = in
		}
	}
}

func TestTable_ItsBooksBalanceWhateverHappens(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 1))
		table := New(Config{Layers: 2, Context: 512, PerPeer: 3, Total: 8})
		budgets := []*Budget{NewBudget(1024), NewBudget(512)}
		now, runs := time.Unix(0, 0), make(map[*Session]Input)
		for i := range 1000 {
			now = now.Add(time.Duration(rng.IntN(4000)) * time.Millisecond)
			if rng.IntN(20) == 0 {
				table.Expire(now)
			}
			one(table, rng, now, runs, budgets...)
			if err := table.balance(budgets...); err != nil {
				t.Fatalf("seed %d, after %d calls: %v", seed, i, err)
			}
		}
		for _, s := range table.sessions {
			table.Close(s)
		}
		if err := table.balance(budgets...); err != nil || budgets[0].Free()+budgets[1].Free() != 1536 || len(table.perPeer) != 0 {
			t.Fatalf("seed %d: %d tokens are free when all have ended, %v", seed, budgets[0].Free()+budgets[1].Free(), err)
		}
	}
}

// An owner is present while a step of its runs or a stream is open, and for a while after.
func TestPresent_CountsWhoMayStillWantSomething(t *testing.T) {
	now := time.Unix(0, 0)
	table := New(Config{Layers: 2, Context: 256})
	s, err := table.Open(now, "a", protocol.Open{Span: protocol.Span{End: 1}}, NewBudget(512))
	if err != nil {
		t.Fatal(err)
	}
	s.Attach(now)
	s.Attach(now) // the owner has come back before the old stream was seen to end
	s.Detach(now)
	later := now.Add(time.Hour)
	if table.Present(later) != 1 || s.Gone(later) {
		t.Error("an owner with a stream is gone")
	}
	if used, rests := table.UsedSince(now.Add(-1), later), table.UsedSince(now, later); used != 1 || rests != 0 {
		t.Errorf("%d sessions have been used since before it was, %d since then", used, rests)
	}
	s.Detach(later)
	if now = later.Add(defaultGoneAfter - 1); table.Present(now) != 1 {
		t.Error("an owner who has just lost its stream is gone")
	}
	if _, _, err := s.Begin(now, Input{Number: 1, N: ShortStep}); err != nil {
		t.Fatal(err)
	}
	if now = now.Add(time.Minute); table.Present(now) != 1 || table.UsedSince(now, now) != 1 {
		t.Error("a session whose step runs is not there")
	}
	s.Finish(later, Input{Number: 1, N: ShortStep})
	if table.Present(now) != 0 {
		t.Error("it is there for ever")
	}
	if n, _ := table.Decoding(later.Add(-1)); n != 1 {
		t.Error("it has decoded")
	}
}

// Sessions of two shards share the table, and not the cache: who wants tokens of one has none of the other give way, but a
// place is a place.
func TestOpen_OnlySessionsOfTheSameCacheGiveWayForTokens(t *testing.T) {
	now := time.Unix(0, 0)
	table := New(Config{Layers: 2, Context: 256, Total: 3})
	old, current := NewBudget(256), NewBudget(256)
	open := func(owner peer.ID, tokens uint32, b *Budget) error {
		_, err := table.Open(now, owner, protocol.Open{Epoch: 1, Span: protocol.Span{End: 1}, Expect: tokens}, b)
		return err
	}
	for _, o := range []struct {
		owner peer.ID
		cache *Budget
	}{{"a", old}, {"b", current}} {
		if err := open(o.owner, 256, o.cache); err != nil {
			t.Fatal(err)
		}
		now = now.Add(defaultGoneAfter) // both are gone in the end, a for longer
	}
	if got := table.Available(now, old); got != 256 || old.Free() != 0 {
		t.Errorf("%d tokens can be had, %d are free", got, old.Free())
	}
	if err := open("c", 64, current); err != nil || table.Find(ID{Owner: "a"}) == nil || table.Find(ID{Owner: "b"}) != nil {
		t.Errorf("who has given way for tokens is not b: %v", err)
	}
	if err := open("d", 64, current); err != nil {
		t.Fatal(err)
	}
	if err := open("e", 64, current); err != nil || table.Find(ID{Owner: "a"}) != nil || old.Promised() != 0 {
		t.Errorf("a, longest gone, has not given its place away: %v", err)
	}
	if err := table.balance(old, current); err != nil {
		t.Error(err)
	}
}
