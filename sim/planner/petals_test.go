package planner

import (
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// TestPetals_AnswersLikeTheOriginal holds the rule that is made again to what the original answers: else the trials would
// compare with a straw man.
func TestPetals_AnswersLikeTheOriginal(t *testing.T) {
	text, err := os.ReadFile("testdata/petals.txt")
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`^(choose|move\?)\s+(\d+)\s+(\S+)\s+\{(.*)\}.*-> (\S+)`)
	cases := 0
	for l := range strings.Lines(string(text)) {
		m := line.FindStringSubmatch(l)
		if m == nil {
			continue
		}
		cases++
		var layers int
		fmt.Sscan(m[2], &layers)
		if got := petalsAnswer(t, m[1], layers, m[3], servers(m[4])); got != m[5] {
			t.Errorf("%s: %s", strings.TrimSpace(l), got)
		}
	}
	if cases != 12 {
		t.Fatalf("%d cases, want 12", cases)
	}
}

// servers reads A:[0,5,1],B:[0,5,1].
func servers(text string) (all []petalsServer) {
	for _, m := range regexp.MustCompile(`(\w+):\[(\d+),(\d+),(\d+)\]`).FindAllStringSubmatch(text, -1) {
		s := petalsServer{id: m[1]}
		fmt.Sscan(m[2]+" "+m[3]+" "+m[4], &s.span.Start, &s.span.End, &s.throughput)
		all = append(all, s)
	}
	return all
}

func petalsAnswer(t *testing.T, verb string, layers int, who string, all []petalsServer) string {
	t.Helper()
	if verb == "choose" {
		var k int
		if _, err := fmt.Sscanf(who, "k=%d", &k); err != nil {
			t.Fatal(err)
		}
		s := newPetals(layers, all).choose(k)
		return fmt.Sprintf("[%d,%d]", s.Start, s.End)
	}
	var answers []string
	for id := range strings.SplitSeq(who, ",") {
		rng := rand.New(rand.NewPCG(1, 2))
		answers = append(answers, fmt.Sprint(newPetals(layers, all).shouldMove(id, petalsQuality, rng)))
	}
	return strings.Join(answers, ",")
}

// TestWorld_FillsTheGapOfPetalsOwnTest is the scenario of its CI: of 24 layers A, which may choose, and B, which may not,
// both hold 0:5 when C comes with room for 14. A ends in the gap and C never moves.
func TestWorld_FillsTheGapOfPetalsOwnTest(t *testing.T) {
	d := NewDraw(24, 3, 1)
	for i, k := range []int{5, 5, 14} {
		d.Peers[i].Layers, d.Peers[i].Rate = k, int64(100*k)
	}
	w := newWorld(d, 1)
	a := w.join(d.Peers[0], protocol.Span{Start: 0, End: 5})
	b := w.join(d.Peers[1], protocol.Span{Start: 0, End: 5})
	b.self.Choices = []protocol.Span{{Start: 0, End: 5}}
	w.run(readAge, nil) // until the others can be known
	c := w.join(d.Peers[2], protocol.Span{})
	w.run(2*petalsEvery, nil)
	if got := fmt.Sprint(a.self.Held, b.self.Held, c.self.Held); w.gaps() != 0 || got != "19:24 0:5 5:19" {
		t.Errorf("A, B, C serve %s, want 19:24 0:5 5:19", got)
	}
	for _, p := range c.published {
		if p.peer.Target != (protocol.Span{Start: 5, End: 19}) {
			t.Errorf("C announced %v: it is to stay", p.peer.Target)
		}
	}
	if w.opened != 0 {
		t.Errorf("moves opened %d gaps", w.opened)
	}
}

// TestWorld_FillsThatGapInAnyOrderOfJoining: the same three, each choosing when it comes. Where A and B come first, A goes
// next to B before C is there, which then finds its place beside A.
func TestWorld_FillsThatGapInAnyOrderOfJoining(t *testing.T) {
	for order, want := range map[string]string{"ABC": "5:10 0:5 10:24", "BAC": "5:10 0:5 10:24", "BCA": "19:24 0:5 5:19", "ACB": "19:24 0:5 5:19"} {
		d := NewDraw(24, 3, 1)
		nodes := map[rune]*node{}
		w := newWorld(d, 1)
		for _, who := range order {
			p := d.Peers[who-'A']
			p.Layers = map[rune]int{'A': 5, 'B': 5, 'C': 14}[who]
			p.Rate = int64(100 * p.Layers)
			at := protocol.Span{}
			if who == 'B' {
				at = protocol.Span{Start: 0, End: 5}
			}
			nodes[who] = w.join(p, at)
			if who == 'B' {
				nodes[who].self.Choices = []protocol.Span{at}
			}
			w.run(time.Minute, nil)
		}
		w.run(2*petalsEvery, nil)
		if got := fmt.Sprint(nodes['A'].self.Held, nodes['B'].self.Held, nodes['C'].self.Held); w.gaps() != 0 || got != want || w.opened > 0 {
			t.Errorf("%s: A, B, C serve %s, want %s", order, got, want)
		}
		for _, p := range nodes['C'].published {
			if p.peer.Target != nodes['C'].self.Held {
				t.Errorf("%s: C announced %v: it is to stay", order, p.peer.Target)
			}
		}
	}
}

// TestWorld_FillsThatGapTogether: where C came first, to 0:14, neither it nor A closes a gap alone. They do together.
func TestWorld_FillsThatGapTogether(t *testing.T) {
	for _, order := range []string{"CAB", "CBA"} {
		for seed := range uint64(3) {
			d := NewDraw(24, 3, seed)
			w := newWorld(d, seed)
			for _, who := range order {
				p, at := d.Peers[who-'A'], protocol.Span{}
				p.Layers = map[rune]int{'A': 5, 'B': 5, 'C': 14}[who]
				if who == 'B' {
					at = protocol.Span{Start: 0, End: 5}
				}
				n := w.join(p, at)
				if who == 'B' {
					n.self.Choices = []protocol.Span{at}
					w.publish(n) // that it stays
				}
				w.run(10*time.Second, nil)
			}
			w.run(5*time.Minute, nil)
			if w.gaps() > 0 || w.opened > 0 {
				t.Errorf("%s, seed %d: %d layers lack a holder, moves opened %d gaps", order, seed, w.gaps(), w.opened)
			}
		}
	}
}
