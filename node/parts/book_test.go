package parts

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// bookOf is a book of so many parts of two chunks, and peers a, b and on.
func bookOf(parts int, peers ...peer.ID) *book {
	b := newBook()
	for part := range parts {
		for i := range 2 {
			b.add(part, i, protocol.Digest{byte(part), byte(i)}, 100)
		}
	}
	for _, id := range peers {
		b.meet(id)
	}
	return b
}

var start = time.Unix(1000, 0)

// at is so many seconds after the start.
func at(seconds float64) time.Time { return start.Add(time.Duration(seconds * float64(time.Second))) }

// mustNext wants a certain chunk to be asked for; part -1: none.
func mustNext(t *testing.T, b *book, id peer.ID, now time.Time, part, index int) *chunk {
	t.Helper()
	c := b.next(id, now)
	switch {
	case part < 0 && c != nil:
		t.Fatalf("%s is asked for chunk %d of part %d, want none", id, c.index, c.part)
	case part >= 0 && (c == nil || c.part != part || c.index != index):
		t.Fatalf("%s is asked for %+v, want chunk %d of part %d", id, c, index, part)
	}
	return c
}

func TestBook_AsksAStrangerForOneChunkAndThenForMore(t *testing.T) {
	b := bookOf(3, "a")
	c := mustNext(t, b, "a", start, 0, 0)
	mustNext(t, b, "a", start, -1, 0)
	b.told("a", c, report{how: arrived, took: time.Second, piece: 1 << 20}, at(1))
	for range peerJobs {
		if b.next("a", at(1)) == nil {
			t.Fatal("a peer that has shown itself useful is left idle")
		}
	}
	mustNext(t, b, "a", at(1), -1, 0)
}

func TestBook_AsksAPeerWithSessionsForOneAtATime(t *testing.T) {
	b := bookOf(3, "a")
	b.told("a", mustNext(t, b, "a", start, 0, 0), report{how: arrived, alone: true}, at(1))
	mustNext(t, b, "a", at(1), 0, 1)
	mustNext(t, b, "a", at(1), -1, 0)
}

func TestBook_RemembersWhatAPeerLacks(t *testing.T) {
	b := bookOf(2, "a")
	b.told("a", mustNext(t, b, "a", start, 0, 0), report{how: lacking}, start)
	b.told("a", mustNext(t, b, "a", start, 1, 0), report{how: arrived}, start)
	mustNext(t, b, "a", start, 1, 1)
	mustNext(t, b, "a", at(lacksFor.Seconds()-1), -1, 0)
	mustNext(t, b, "a", at(lacksFor.Seconds()), 0, 0) // it may have got the part meanwhile
}

func TestBook_LeavesWhoFailsAloneForLongerEachTime(t *testing.T) {
	b := bookOf(1, "a")
	now := start
	for i, rest := range []time.Duration{restFirst, 2 * restFirst, 4 * restFirst} {
		b.told("a", mustNext(t, b, "a", now, 0, 0), report{how: failed, why: "no answer"}, now)
		mustNext(t, b, "a", now.Add(rest-1), -1, 0)
		now = now.Add(rest)
		if i == 2 {
			b.told("a", mustNext(t, b, "a", now, 0, 0), report{how: arrived}, now)
		}
	}
	b.told("a", mustNext(t, b, "a", now, 0, 1), report{how: busy, why: "it is busy"}, now)
	mustNext(t, b, "a", now.Add(restFirst), 0, 1) // an answer has made it as good as new
	for range 100 {
		b.told("a", b.chunks[1], report{how: failed}, now)
		b.peers["a"].jobs++
	}
	if rest := b.peers["a"].rest.Sub(now); rest != restMost {
		t.Errorf("after 100 failures it is left alone for %v", rest)
	}
}

func TestBook_AsksALiarNeverAgain(t *testing.T) {
	b := bookOf(1, "a", "b")
	b.told("a", mustNext(t, b, "a", start, 0, 0), report{how: lied, why: "it lies"}, start)
	mustNext(t, b, "a", at(1e6), -1, 0)
	mustNext(t, b, "b", start, 0, 0)
	if why := b.reasons(); len(why) != 1 || why[0] != "peer "+peer.ID("a").String()+": it lies" {
		t.Errorf("the reasons are %q", why)
	}
}

func TestBook_AsksAnotherForWhatIsSlowToCome(t *testing.T) {
	b := bookOf(1, "a", "b", "c", "d", "e")
	slow := mustNext(t, b, "a", start, 0, 0)
	b.told("b", mustNext(t, b, "b", start, 0, 1), report{how: arrived, took: time.Second}, at(1))
	mustNext(t, b, "b", at(3.9), -1, 0) // b takes a second, so a has four
	mustNext(t, b, "b", at(4), 0, 0)
	mustNext(t, b, "b", at(9), -1, 0) // it is asked already
	mustNext(t, b, "c", at(5), -1, 0)
	mustNext(t, b, "c", at(6), 0, 0)
	mustNext(t, b, "d", at(100), -1, 0) // three are enough
	b.told("c", slow, report{how: failed}, at(101))
	mustNext(t, b, "d", at(101), 0, 0)
	b.told("d", slow, report{how: arrived}, at(102))
	b.told("a", slow, report{how: spared}, at(102))
	b.told("b", slow, report{how: failed}, at(102))
	if !b.whole(0) || len(b.missing()) != 0 {
		t.Error("the part is not whole")
	}
	mustNext(t, b, "e", at(103), -1, 0)
}

func TestBook_KnowsAFewPeersAlone(t *testing.T) {
	b := newBook()
	for i := range 10 * maxPeers {
		b.meet(peer.ID(fmt.Sprint(i)))
	}
	if len(b.peers) != maxPeers {
		t.Errorf("%d peers are known", len(b.peers))
	}
}

// TestBook_EndsWhateverPeersDo plays many random stories: as long as one peer that has everything answers now and then, all
// chunks arrive, nobody is asked beyond its jobs, and no chunk of more peers than is right.
func TestBook_EndsWhateverPeersDo(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 1))
		ids := []peer.ID{"good", "p", "q", "r"}
		b := bookOf(1+random.IntN(6), ids...)
		type asked struct {
			id peer.ID
			c  *chunk
		}
		var open []asked
		now := start
		for step := 0; len(b.missing()) > 0; step++ {
			if step > 10_000 {
				t.Fatalf("seed %d: it does not end", seed)
			}
			now = now.Add(time.Duration(random.IntN(1000)) * time.Millisecond)
			id := ids[random.IntN(len(ids))]
			if c := b.next(id, now); c != nil {
				if c.here || len(c.askers) > maxAskers+1 || b.peers[id].jobs > peerJobs {
					t.Fatalf("seed %d: asked for %+v", seed, c)
				}
				open = append(open, asked{id, c})
			}
			if len(open) > 0 && random.IntN(2) == 0 {
				i := random.IntN(len(open))
				how := outcome(random.IntN(int(spared) + 1))
				if open[i].id == "good" && (how == lied || how == lacking) {
					how = arrived
				}
				b.told(open[i].id, open[i].c, report{how: how, took: time.Second, piece: smallPiece}, now)
				open = slices.Delete(open, i, i+1)
			}
		}
	}
}

func TestOrder_PrefersWhoIsIdleAndQuick(t *testing.T) {
	b := bookOf(1, "a", "b", "c", "d")
	b.peers["a"].jobs, b.peers["b"].fails, b.peers["c"].took = 1, 1, time.Second
	if got := b.order(); !slices.Equal(got, []peer.ID{"d", "c", "b", "a"}) {
		t.Errorf("the order is %v", got)
	}
}
