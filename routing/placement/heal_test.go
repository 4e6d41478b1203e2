package placement

import (
	"slices"
	"testing"
	"time"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// TestDecide_FillsAGapInSpiteOfItsWord: who has promised to stay sets out at once all the same, as nobody else knows of the
// promise, and leaves when whoever got it has left or asks again, and another promises in turn.
func TestDecide_FillsAGapInSpiteOfItsWord(t *testing.T) {
	v := View{Layers: 8, Peers: []Peer{peerAt("a", 0, 4, 50), peerAt("m", 0, 4, 50)}}
	v.Peers[0].Fixed = true
	me, m := selfAt(v.Peers[1], 8), &Memory{}
	given := time.Hour
	if !m.Promise(me, "z", span(0, 4), given) {
		t.Fatal("it does not promise what it serves")
	}
	a := Decide(v, me, given+time.Second, m)
	if a.Kind != Announce || a.Span != span(4, 8) {
		t.Fatalf("it decides %+v", a)
	}
	me.Target, me.Loaded = a.Span, true
	for now := given + 2*time.Second; ; {
		switch a = Decide(v, me, now, m); a.Kind {
		case Stay:
			now = a.Again
			continue
		case Ask:
			if now < given+pledgeFresh {
				t.Errorf("it asks others %v after it gave its word", now-given)
			}
			m.Promised(a.Ask[0], now)
			continue
		case Serve:
			if now < given+pledgeFresh || now > given+pledgeFresh+lookEvery {
				t.Errorf("it leaves %v after it gave its word", now-given)
			}
		default:
			t.Errorf("it decides %+v", a)
		}
		return
	}
}

// TestDecide_TakesItsTurnWhenTheFirstFails: who was to fill a gap first turns out to be needed where it is.
func TestDecide_TakesItsTurnWhenTheFirstFails(t *testing.T) {
	at := func(id string, a, b int) Peer { return peerAt(id, a, b, 50) }
	v := View{Layers: 12, Peers: []Peer{at("1", 0, 3), at("2", 3, 7), at("3", 0, 4), at("5", 7, 11)}}
	v.Peers[0].Fixed = true
	v.Peers[3].Target = span(4, 8) // as somebody else was to hold 8:12, who has died
	memory := map[string]*Memory{"2": {}, "3": {}}
	went := ""
	look := func(now time.Duration) {
		for _, p := range v.Peers[1:3] {
			if a := Decide(v, selfAt(p, 12), now, memory[p.ID]); a.Kind == Announce {
				went += p.ID // nobody hears it yet
			}
		}
	}
	look(time.Hour)
	if went != "2" {
		t.Fatalf("%q goes first", went)
	}
	went = ""
	v.Peers[3].Target = v.Peers[3].Held // it stays
	look(time.Hour + time.Second)
	if went != "3" {
		t.Errorf("once 5 stays, %q goes at once", went)
	}
}

// TestDecide_FillsAGapWithWhatItCanHold: with the ends fewer layers fit, elsewhere more; others know only how many at most.
func TestDecide_FillsAGapWithWhatItCanHold(t *testing.T) {
	v := View{Layers: 8, Peers: []Peer{peerAt("a", 0, 4, 50), peerAt("b", 0, 2, 50)}}
	choices := []protocol.Span{span(0, 2), span(1, 5), span(2, 6), span(3, 7), span(6, 8)}
	me := Self{ID: "b", Choices: choices, Rate: 100, Held: span(0, 2), Target: span(0, 2)}
	a, _ := until(v, me, &Memory{}, time.Hour, time.Minute)
	if a.Kind != Announce || !slices.Contains(choices, a.Span) {
		t.Errorf("it decides %+v, of %v", a, choices)
	}
}

// Somebody loads what this peer leaves and a gap opens elsewhere: the layer that is on its way is no reason to turn back, else the
// peer would announce and withdraw without end.
func TestDecide_GoesToAGapAlthoughAnotherStillLoads(t *testing.T) {
	me := Self{ID: "a", Choices: Spans(4, 2), Rate: 100, Held: protocol.Span{Start: 0, End: 2}, Target: protocol.Span{Start: 0, End: 2}, Loading: time.Minute}
	v := View{Layers: 4, Peers: []Peer{{ID: "c", Target: protocol.Span{Start: 1, End: 2}, Layers: 1, Rate: 100}}}
	var m Memory
	announced, withdrawn := 0, 0
	for now := time.Hour; now < time.Hour+30*time.Second; now += 20 * time.Millisecond {
		switch a := Decide(v, me, now, &m); a.Kind {
		case Announce:
			announced++
			me.Target = a.Span
		case Withdraw:
			withdrawn++
			me.Target = a.Span
		}
	}
	if announced != 1 || withdrawn != 0 || me.Target != (protocol.Span{Start: 2, End: 4}) {
		t.Errorf("announced %d times, withdrawn %d times, now going to %v", announced, withdrawn, me.Target)
	}
}
