package placement

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/baichuan-node/baichuan-node/protocol"
)

func span(a, b int) protocol.Span { return protocol.Span{Start: a, End: b} }

// peerAt serves a span at so many tokens/s.
func peerAt(id string, a, b int, speed int64) Peer {
	return Peer{ID: id, Held: span(a, b), Target: span(a, b), Rate: speed * int64(b-a)}
}

// selfAt is a peer as it knows itself, free to go anywhere.
func selfAt(p Peer, layers int) Self {
	return Self{ID: p.ID, Choices: Spans(layers, p.Target.Len()), Rate: p.Rate, Held: p.Held, Target: p.Target}
}

// lopsided is a swarm in which m should leave 0:4, which three serve, for 4:8, which one serves. The others can't.
func lopsided() (View, Self) {
	v := View{Layers: 8, Peers: []Peer{peerAt("a", 0, 4, 50), peerAt("b", 0, 4, 50), peerAt("c", 4, 8, 50), peerAt("m", 0, 4, 50)}}
	for i := range 3 {
		v.Peers[i].Fixed = true
	}
	return v, selfAt(v.Peers[3], 8)
}

// until asks a peer second by second until it does something, and returns when that was.
func until(v View, me Self, m *Memory, from, most time.Duration) (Action, time.Duration) {
	for now := from; now < from+most; now += time.Second {
		if a := Decide(v, me, now, m); a.Kind != Stay {
			return a, now
		}
	}
	return Action{}, from + most
}

func TestDecide_MovesOnlyAfterSeveralEqualLooks(t *testing.T) {
	v, me := lopsided()
	m := &Memory{}
	a, at := until(v, me, m, 0, time.Hour)
	if a.Kind != Announce || a.Span != span(4, 8) {
		t.Fatalf("it decides %+v", a)
	}
	if at < lookEvery || at > 7*lookEvery {
		t.Errorf("after %v: want 3 looks, up to 7 for a small gain", at)
	}
	if len(m.moves) != 1 {
		t.Errorf("it remembers %d moves", len(m.moves))
	}
}

// TestDecide_MovesAtOnceWhereSomebodyHasCome: all who see that make the same plan. A move that nobody has planned is waited for
// to be seen by all.
func TestDecide_MovesAtOnceWhereSomebodyHasCome(t *testing.T) {
	v, me := lopsided()
	for name, c := range map[string]struct {
		before func(*View)
		once   bool
	}{
		"somebody has come":   {func(v *View) { v.Peers = v.Peers[1:] }, true},
		"somebody has moved":  {func(v *View) { v.Peers[0] = peerAt("a", 4, 8, 50) }, false},
		"this peer has begun": {nil, false},
	} {
		m, began := &Memory{}, time.Duration(0)
		if c.before != nil {
			was := v
			was.Peers = slices.Clone(v.Peers)
			c.before(&was)
			if a, _ := until(was, me, m, 0, calmAfter/2); a.Kind != Stay {
				t.Fatalf("%s: before, it decides %+v", name, a)
			}
			began = calmAfter / 2
		}
		a, at := until(v, me, m, began, time.Hour)
		if once := at-began <= lookEvery; a.Kind != Announce || once != c.once || at-began > planLooks*lookEvery {
			t.Errorf("%s: after %v it decides %+v; want it in the first look: %v", name, at-began, a, c.once)
		}
	}
}

// TestDecide_AllFollowOnePlan: where two have to trade places each does its part, though neither move pays by itself, and
// nobody else moves.
func TestDecide_AllFollowOnePlan(t *testing.T) {
	v := crossed()
	moves, gain := Plan(v)
	if len(moves) < 2 || gain < largeGain {
		t.Fatalf("the plan is %v: this swarm shows nothing", moves)
	}
	planned := map[string]protocol.Span{}
	for _, mv := range moves {
		planned[mv.Peer] = mv.To
	}
	for _, p := range v.Peers {
		a, at := until(v, selfAt(p, v.Layers), &Memory{}, time.Hour, 2*calmAfter)
		if want, moves := planned[p.ID]; moves != (a.Kind == Announce) || a.Span != want {
			t.Errorf("%s decides %+v after %v, want %v", p.ID, a, at-time.Hour, want)
		}
	}
}

// TestDecide_FollowsThePlanThatHasBegun at once, without looking as often as who began.
func TestDecide_FollowsThePlanThatHasBegun(t *testing.T) {
	v := crossed()
	moves, _ := Plan(v)
	second := moves[1]
	i := slices.IndexFunc(v.Peers, func(p Peer) bool { return p.ID == second.Peer })
	me, m := selfAt(v.Peers[i], v.Layers), &Memory{together: together{}}
	Decide(v, me, 0, m)
	m.together.plan = plan{moves: moves, gain: 150}
	k := slices.IndexFunc(v.Peers, func(p Peer) bool { return p.ID == moves[0].Peer })
	v.Peers[k].Target = moves[0].To
	if a := Decide(v, me, m.next, m); a.Kind != Announce || a.Span != second.To {
		t.Errorf("it decides %+v, want %v", a, second)
	}
}

// crossed is a drawn swarm whose plan has several moves.
func crossed() View {
	for seed := uint64(0); ; seed++ {
		v := made(rand.New(rand.NewPCG(seed, 9)), 16, 7)
		if moves, gain := Plan(v); len(moves) > 1 && Measure(v).Gaps == 0 && gain > 2*largeGain {
			if busy := newSwarm(v.coarse(), "").plan(false); slices.Equal(busy.moves, moves) {
				return v
			}
		}
	}
}

func TestDecide_NeedsMoreForEachMoveMadeLately(t *testing.T) {
	v, me := lopsided()
	m := &Memory{moves: make([]time.Duration, freeMoves+5)} // 160 %
	if a, at := until(v, me, m, 0, 25*time.Minute); a.Kind != Stay {
		t.Errorf("after %v it decides %+v", at, a)
	}
	if a, _ := until(v, me, m, 25*time.Minute, 10*time.Minute); a.Kind != Announce {
		t.Errorf("when they are forgotten it decides %+v", a)
	}
}

// TestDecide_CountsOthersWhereTheyGo: once b has announced the move that m would make, there is nothing left to mend.
func TestDecide_CountsOthersWhereTheyGo(t *testing.T) {
	v, me := lopsided()
	v.Peers[1].Target = span(4, 8)
	if a, at := until(v, me, &Memory{}, 0, 10*time.Minute); a.Kind != Stay {
		t.Errorf("after %v it decides %+v", at, a)
	}
}

func TestDecide_StaysWhereItsOwnerPutIt(t *testing.T) {
	v, me := lopsided()
	me.Choices = []protocol.Span{me.Held}
	v.Peers = v.Peers[2:] // a gap, too
	if a, at := until(v, me, &Memory{}, 0, time.Hour); a.Kind != Stay {
		t.Errorf("after %v it decides %+v", at, a)
	}
}

func TestDecide_LeavesOnlyWhenOthersPromiseToStay(t *testing.T) {
	v, me := lopsided()
	me.Target = span(2, 6)
	m := &Memory{}
	if a, _ := until(v, me, m, 0, time.Hour); a.Kind != Stay {
		t.Fatalf("before it has loaded it decides %+v", a)
	}
	me.Loaded = true
	a := Decide(v, me, 0, m)
	if want := []Pledge{{"a", span(0, 2)}, {"b", span(0, 2)}}; a.Kind != Ask || fmt.Sprint(a.Ask) != fmt.Sprint(want) {
		t.Fatalf("it decides %+v, want to ask %v", a, want)
	}
	without := *m
	m.Promised(Pledge{"b", span(0, 1)}, time.Second)
	if a := Decide(v, me, time.Second, m); a.Kind == Serve {
		t.Fatal("it leaves a layer that nobody has promised to hold")
	}
	m.Promised(Pledge{"a", span(0, 2)}, 2*time.Second)
	if a := Decide(v, me, 2*time.Second, m); a.Kind != Serve || a.Span != me.Target {
		t.Errorf("with promises for all it decides %+v", a)
	}
	end := Action{}
	at := time.Second
	for ; at < time.Hour && end.Kind != Withdraw && end.Kind != Serve; at += time.Second {
		end = Decide(v, me, at, &without)
	}
	if end.Kind != Withdraw || end.Span != me.Held || at < pledgeWithin {
		t.Errorf("without promises it decides %+v after %v", end, at)
	}
}

// TestDecide_TurnsBackWhenItIsTheLastHolder, even before it has loaded: where it would go counts, and nobody else fills what
// it still serves.
func TestDecide_TurnsBackWhenItIsTheLastHolder(t *testing.T) {
	v, me := lopsided()
	me.Target = span(4, 8)
	m := &Memory{}
	if a := Decide(v, me, 0, m); a.Kind != Stay {
		t.Fatalf("it decides %+v", a)
	}
	v.Peers = v.Peers[2:]
	if a := Decide(v, me, time.Second, m); a.Kind != Withdraw || a.Span != me.Held {
		t.Errorf("when the others are gone it decides %+v", a)
	}
}

func TestDecide_AnOldPromiseIsNone(t *testing.T) {
	v, me := lopsided()
	me.Target, me.Loaded = span(4, 8), true
	m := &Memory{}
	m.Promised(Pledge{"a", span(0, 4)}, 0)
	if a := Decide(v, me, pledgeFresh, m); a.Kind != Ask {
		t.Errorf("it decides %+v: who promised may have died", a)
	}
}

func TestPromise_OfTwoThatWouldBothLeaveOneStays(t *testing.T) {
	v := View{Layers: 8, Peers: []Peer{peerAt("a", 0, 4, 50), peerAt("b", 0, 4, 50), peerAt("c", 4, 8, 50)}}
	self, memory := map[string]Self{}, map[string]*Memory{"a": {}, "b": {}}
	for i, id := range []string{"a", "b"} {
		v.Peers[i].Target = span(4, 8)
		me := selfAt(v.Peers[i], 8)
		me.Loaded = true
		self[id] = me
	}
	left := ""
	for now := time.Duration(0); now < time.Hour; now += time.Second {
		for _, id := range []string{"b", "a"} {
			me := self[id]
			switch a := Decide(v, me, now, memory[id]); a.Kind {
			case Ask:
				for _, p := range a.Ask {
					if memory[p.Peer].Promise(self[p.Peer], id, p.Layers, now) {
						memory[id].Promised(p, now)
					}
				}
			case Serve, Withdraw:
				if a.Kind == Serve {
					left += id
				}
				me.Held, me.Target, me.Loaded = a.Span, a.Span, false
				self[id] = me
				i := map[string]int{"a": 0, "b": 1}[id]
				v.Peers[i].Held, v.Peers[i].Target = a.Span, a.Span
			case Announce:
				t.Fatalf("%s moves once more: %+v", id, a)
			}
		}
	}
	if left != "a" {
		t.Errorf("%q left: want the lower of the two alone", left)
	}
}

func TestPromise_HoldsWhoGaveIt(t *testing.T) {
	v, me := lopsided()
	m := &Memory{}
	if !m.Promise(me, "b", span(0, 2), 0) {
		t.Fatal("it does not promise what it serves")
	}
	if m.Promise(me, "b", span(3, 5), 0) || m.Promise(me, "b", span(2, 2), 0) {
		t.Error("it promises what it does not serve")
	}
	if a, at := until(v, me, m, 0, pledgeLife); a.Kind != Stay {
		t.Errorf("after %v it decides %+v", at, a)
	}
	for n := 0; m.Promise(me, "b", span(0, 2), time.Second); n++ {
		if n > maxPromises {
			t.Fatal("promises without end")
		}
	}
}

// TestDecide_FillsAGapInTurn: the best goes at once, the next would go a slot later, and does not once it sees the first.
func TestDecide_FillsAGapInTurn(t *testing.T) {
	v := View{Layers: 8, Peers: []Peer{peerAt("a", 0, 4, 50), peerAt("b", 0, 4, 50), peerAt("c", 0, 4, 50)}}
	when := map[time.Duration]string{}
	for _, p := range v.Peers {
		a, at := until(v, selfAt(p, 8), &Memory{}, time.Hour, time.Minute)
		if a.Kind != Announce || a.Span != span(4, 8) {
			t.Fatalf("%s decides %+v", p.ID, a)
		}
		when[at-time.Hour] += p.ID
	}
	if len(when) != 3 || when[0] == "" || when[turnEvery] == "" || when[2*turnEvery] == "" {
		t.Errorf("they go at %v", when)
	}
	slow := selfAt(v.Peers[0], 8)
	for _, p := range v.Peers {
		if when[turnEvery] == p.ID {
			slow = selfAt(p, 8)
		}
	}
	for i := range v.Peers {
		if when[0] == v.Peers[i].ID {
			v.Peers[i].Target = span(4, 8)
		}
	}
	if a, at := until(v, slow, &Memory{}, time.Hour, 2*lookEvery); a.Kind != Stay {
		t.Errorf("after %v the second decides %+v, though the first is on its way", at-time.Hour, a)
	}
}

func TestDecide_DoesNotTradeAGapForAnother(t *testing.T) {
	v := View{Layers: 8, Peers: []Peer{peerAt("a", 0, 4, 50)}}
	if a, at := until(v, selfAt(v.Peers[0], 8), &Memory{}, 0, time.Hour); a.Kind != Stay {
		t.Errorf("after %v it decides %+v", at, a)
	}
}

func TestDecide_ANewcomerThatHoldsNothingStays(t *testing.T) {
	v, _ := lopsided()
	if a := Decide(v, Self{ID: "n"}, 0, &Memory{}); a.Kind != Stay {
		t.Errorf("it decides %+v", a)
	}
	if a := Decide(View{Layers: 8}, Self{ID: "n", Choices: Spans(8, 3)}, 0, &Memory{}); a.Kind != Announce || a.Span != span(0, 3) {
		t.Errorf("the first of a swarm decides %+v", a)
	}
}

// TestDecide_SurvivesAbsurdViews: whatever strangers announce, there is an answer.
func TestDecide_SurvivesAbsurdViews(t *testing.T) {
	v := View{Layers: 4, Demand: 1 << 62, Clients: []string{"x", "x", "y"},
		RTT: func(a, b string) time.Duration { return 1 << 62 }}
	v.Peers = []Peer{{}, {ID: "a", Target: span(-5, 99), Held: span(3, 1), Rate: -7}, {ID: "a"},
		{ID: "b", Target: span(0, 4), Rate: 1 << 30}, {ID: "b", Target: span(2, 1)}, {ID: "c", Target: span(9, 12), Layers: 1 << 40, Rate: 1 << 62}}
	for _, me := range []Self{{ID: "c", Choices: Spans(4, 2), Rate: 1}, {ID: "b", Choices: []protocol.Span{span(-1, 9), span(7, 3)}, Held: span(0, 4), Target: span(0, 4)}} {
		m := &Memory{}
		for now := time.Duration(0); now < 10*time.Minute; now += lookEvery {
			Decide(v, me, now, m)
		}
	}
	if got := Measure(v); got.J < 0 || got.Tau < 0 || got.Lambda < 0 {
		t.Errorf("a number has overflown: %+v", got)
	}
	Place(v)
	Plan(v)
}

// TestDecide_AsksANewHolderAtOnce: as long as nobody serves what it would leave there is nobody to ask, and no time is lost.
func TestDecide_AsksANewHolderAtOnce(t *testing.T) {
	v := View{Layers: 8, Peers: []Peer{{ID: "a", Target: span(0, 4), Rate: 200}, peerAt("m", 0, 4, 50)}}
	me := selfAt(v.Peers[1], 8)
	me.Target, me.Loaded = span(4, 8), true
	m := &Memory{}
	if a := Decide(v, me, time.Hour, m); a.Kind != Stay {
		t.Fatalf("it decides %+v while the other loads", a)
	}
	v.Peers[0].Held = span(0, 4)
	if a := Decide(v, me, time.Hour+time.Second, m); a.Kind != Ask {
		t.Errorf("it decides %+v when the other serves", a)
	}
}

// TestDecide_FillsAnOldGapOnceItIsFree: as long as nobody else holds its layers it can't go, and goes when somebody does.
func TestDecide_FillsAnOldGapOnceItIsFree(t *testing.T) {
	v := View{Layers: 8, Peers: []Peer{peerAt("m", 0, 4, 50)}}
	me, m := selfAt(v.Peers[0], 8), &Memory{}
	if a, at := until(v, me, m, time.Hour, 5*time.Second); a.Kind != Stay {
		t.Fatalf("at %v it decides %+v", at, a)
	}
	fixed := peerAt("a", 0, 4, 50)
	fixed.Fixed = true
	v.Peers = append(v.Peers, fixed)
	if a, _ := until(v, me, m, time.Hour+5*time.Second, 2*time.Second); a.Kind != Announce || a.Span != span(4, 8) {
		t.Errorf("it decides %+v", a)
	}
}
