package client_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/baichuan-node/baichuan-node/client"
)

// prudent is how long a failure may cost at most: two seconds, and what a busy machine adds. (What each of them costs by
// itself, TestSession_GivesUpAHopInTime tells, in simulated time.)
const prudent = 20 * time.Second

// healthy checks that nodes which did not fail have computed each token once.
func (w *swarm) healthy(tokens int, but ...*server) {
	w.t.Helper()
	for _, n := range w.nodes {
		if slices.Contains(but, n) {
			continue
		}
		if got := n.count(w.t, "tokens_total"); got > tokens {
			w.t.Errorf("a healthy node has computed %d tokens, there were %d", got, tokens)
		}
	}
}

func TestSwarm_GoesOnWhenANodeDies(t *testing.T) {
	const prompt, answer = 300, 8
	want := alone(t, someIDs(prompt), drawn(answer))
	for hop := range 3 {
		for _, step := range []int{1, 2, 5} { // sim has more of them
			t.Run(fmt.Sprintf("hop %d at step %d", hop, step), func(t *testing.T) {
				t.Parallel()
				w := newSwarm(t, thirds...)
				var dead *server
				c, _ := w.talk(client.SessionConfig{}, func(n int, chain []client.HopInfo) {
					if n == step {
						dead = w.of(chain[hop].Peer)
						dead.kill()
					}
				})
				out, err := ask(t, c, someIDs(prompt), drawn(answer))
				if err != nil {
					t.Fatal(err)
				}
				equal(t, out, want)
				w.healthy(prompt+answer-1, dead)
				if len(out.Failovers) != 1 || out.Failovers[0].Peer != dead.host.ID() || out.Failovers[0].Stall > prudent {
					t.Errorf("failovers %+v", out.Failovers)
				}
			})
		}
	}
}

func TestSwarm_GoesOnWhenANodeDiesInThePrompt(t *testing.T) {
	const prompt, answer = 1300, 3
	want := alone(t, someIDs(prompt), drawn(answer))
	for hop := range 3 {
		t.Run(fmt.Sprint("hop ", hop), func(t *testing.T) {
			t.Parallel()
			w := newSwarm(t, thirds...)
			var dead *server
			var dying sync.WaitGroup
			defer dying.Wait()
			c, _ := w.talk(client.SessionConfig{}, func(n int, chain []client.HopInfo) {
				if n == 1 {
					dead = w.of(chain[hop].Peer)
					dying.Go(func() {
						for dead.count(t, "tokens_total") < 200 {
							time.Sleep(time.Millisecond)
						}
						dead.kill()
					})
				}
			})
			out, err := ask(t, c, someIDs(prompt), drawn(answer))
			if err != nil {
				t.Fatal(err)
			}
			equal(t, out, want)
			w.healthy(prompt+answer-1, dead)
			if len(out.Failovers) != 1 {
				t.Errorf("failovers %+v", out.Failovers)
			}
		})
	}
}

func TestSwarm_GoesOnWhenANodeIsNotThere(t *testing.T) {
	t.Parallel()
	w := newSwarm(t, thirds...)
	want := alone(t, someIDs(100), drawn(4))
	c, s := w.talk(client.SessionConfig{}, nil)
	if _, err := ask(t, c, someIDs(5), drawn(1)); err != nil {
		t.Fatal(err)
	}
	w.of(s.Chain()[1].Peer).kill()
	c, _ = w.talk(client.SessionConfig{}, nil)
	out, err := ask(t, c, someIDs(100), drawn(4))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, out, want)
}

func TestSwarm_GoesOnWhenANodeHangs(t *testing.T) {
	const prompt, answer = 200, 6
	want := alone(t, someIDs(prompt), drawn(answer))
	for hop := range 3 {
		t.Run(fmt.Sprint("hop ", hop), func(t *testing.T) {
			t.Parallel()
			w := newSwarm(t, thirds...)
			var hung *server
			c, _ := w.talk(client.SessionConfig{}, func(n int, chain []client.HopInfo) {
				if n == 4 {
					hung = w.of(chain[hop].Peer)
					hung.host.freeze()
				}
			})
			out, err := ask(t, c, someIDs(prompt), drawn(answer))
			if err != nil {
				t.Fatal(err)
			}
			equal(t, out, want)
			w.healthy(prompt+answer-1, hung)
			if len(out.Failovers) != 1 || out.Stats.Stall < time.Second || out.Stats.Stall > prudent {
				t.Errorf("failovers %+v, stats %+v", out.Failovers, out.Stats)
			}
		})
	}
}

func TestSwarm_GoesOnWhenOneDiesAndAnotherHangs(t *testing.T) {
	t.Parallel()
	const prompt, answer = 200, 6
	w := newSwarm(t, thirds...)
	var bad []*server
	c, _ := w.talk(client.SessionConfig{}, func(n int, chain []client.HopInfo) {
		if n == 4 {
			bad = append(bad, w.of(chain[1].Peer), w.of(chain[2].Peer))
			bad[1].host.freeze()
			bad[0].kill()
		}
	})
	out, err := ask(t, c, someIDs(prompt), drawn(answer))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, out, alone(t, someIDs(prompt), drawn(answer)))
	w.healthy(prompt+answer-1, bad...)
	if len(out.Failovers) != 2 || out.Stats.Stall > 2*prudent {
		t.Errorf("failovers %+v, stats %+v", out.Failovers, out.Stats)
	}
}

func TestSwarm_GoesOnWhenTheReplacementDiesToo(t *testing.T) {
	t.Parallel()
	const prompt, answer = 200, 8
	w := newSwarm(t, append(thirds, [2]int{1, 3}, [2]int{0, 4})...)
	var bad []*server
	c, _ := w.talk(client.SessionConfig{}, func(n int, chain []client.HopInfo) {
		if n == 3 || n == 4 {
			bad = append(bad, w.of(chain[len(chain)/2].Peer))
			bad[len(bad)-1].kill()
		}
	})
	out, err := ask(t, c, someIDs(prompt), drawn(answer))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, out, alone(t, someIDs(prompt), drawn(answer)))
	w.healthy(prompt+answer-1, bad...)
	if len(out.Failovers) != 2 {
		t.Errorf("failovers %+v", out.Failovers)
	}
}

func TestSwarm_WaitsForSomebodyWhoServesWhatIsMissing(t *testing.T) {
	t.Parallel()
	const prompt, answer = 200, 6
	w := newSwarm(t, thirds[:3]...)
	var starting sync.WaitGroup
	defer starting.Wait()
	var missing []string
	cfg := client.SessionConfig{Grace: 20 * time.Second, Waiting: func(x client.Waiting) {
		if missing = append(missing, x.Missing[0].String()); len(missing) == 3 {
			w.serve(1, 3)
		}
	}}
	c, _ := w.talk(cfg, func(n int, chain []client.HopInfo) {
		if n == 4 {
			w.of(chain[1].Peer).kill()
		}
	})
	out, err := ask(t, c, someIDs(prompt), drawn(answer))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, out, alone(t, someIDs(prompt), drawn(answer)))
	if len(missing) < 3 || missing[0] != "1:3" {
		t.Errorf("it was said that %v is missing", missing)
	}
	w.healthy(prompt+answer-1, w.nodes[1])
}

func TestSwarm_SaysWhatIsMissingWhenNobodyCame(t *testing.T) {
	t.Parallel()
	w := newSwarm(t, thirds[:3]...)
	c, _ := w.talk(client.SessionConfig{Grace: 700 * time.Millisecond}, func(n int, chain []client.HopInfo) {
		if n == 4 {
			w.of(chain[1].Peer).kill()
		}
	})
	_, err := ask(t, c, someIDs(50), drawn(6))
	if err == nil || !strings.Contains(err.Error(), "layers 1:3") {
		t.Errorf("the error is %v", err)
	}
}

func TestSwarm_ANewSessionWaitsForWhatAnotherHasLost(t *testing.T) {
	const prompt, answer = 50, 6
	w := newSwarm(t, thirds[:3]...)
	c, _ := w.talk(client.SessionConfig{Grace: 300 * time.Millisecond}, func(n int, chain []client.HopInfo) {
		if n == 4 {
			w.of(chain[1].Peer).kill()
		}
	})
	if _, err := ask(t, c, someIDs(prompt), drawn(answer)); err == nil {
		t.Fatal("an answer without layers 1:3")
	}
	said := 0
	c, _ = w.talk(client.SessionConfig{Waiting: func(client.Waiting) {
		if said++; said == 2 {
			w.serve(1, 3)
		}
	}}, nil)
	out, err := ask(t, c, someIDs(prompt), drawn(answer))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, out, alone(t, someIDs(prompt), drawn(answer)))
}

func TestSwarm_NextTurnAndRollbackComputeOnlyWhatIsNew(t *testing.T) {
	w := newSwarm(t, thirds[:3]...)
	c, _ := w.talk(client.SessionConfig{}, nil)
	first, err := ask(t, c, someIDs(300), drawn(5))
	if err != nil {
		t.Fatal(err)
	}
	next := slices.Concat(someIDs(300), first.IDs, someIDs(40)[20:])
	out, err := ask(t, c, next, drawn(5))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, out, alone(t, next, drawn(5)))
	if out.Stats.Cached != 304 || out.Stats.PrefixHits != 0 {
		t.Errorf("stats %+v", out.Stats)
	}
	w.healthy(304 + 1 + 20 + 4)
	edited := slices.Concat(someIDs(290), someIDs(30)[10:])
	out, err = ask(t, c, edited, drawn(5))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, out, alone(t, edited, drawn(5)))
	w.healthy(329 + 20 + 4)
}

func TestSwarm_FindsAPromptThatOthersHadComputed(t *testing.T) {
	w := newSwarm(t, thirds[:3]...)
	system := someIDs(500)
	for i := range 2 {
		c, s := w.talk(client.SessionConfig{}, nil)
		prompt := slices.Concat(system, []uint32{400, 401 + uint32(i)})
		out, err := ask(t, c, prompt, drawn(5))
		if err != nil {
			t.Fatal(err)
		}
		equal(t, out, alone(t, prompt, drawn(5)))
		if want := i * 448; out.Stats.PrefixHits != want {
			t.Errorf("session %d has found %d tokens, want %d", i, out.Stats.PrefixHits, want)
		}
		defer s.Close()
	}
	w.healthy(506 + 506 - 448)

	c, _ := w.talk(client.SessionConfig{Private: true}, nil)
	out, err := ask(t, c, system, drawn(2))
	if err != nil || out.Stats.PrefixHits != 0 {
		t.Errorf("a private session has found %d tokens, %v", out.Stats.PrefixHits, err)
	}
}

// begins has a session of cfg answer a prompt that begins with a text, and gives what it found.
func (w *swarm) begins(cfg client.SessionConfig, text []uint32, i int) int {
	w.t.Helper()
	c, s := w.talk(cfg, nil)
	defer s.Close()
	prompt := slices.Concat(text, []uint32{400, 401 + uint32(i)})
	out, err := ask(w.t, c, prompt, drawn(5))
	if err != nil {
		w.t.Fatal(err)
	}
	equal(w.t, out, alone(w.t, prompt, drawn(5)))
	return out.Stats.PrefixHits
}

func TestSwarm_GoesWhereAPromptWasComputed(t *testing.T) {
	w := newSwarm(t, thirds...)
	system := someIDs(500)
	var zero [16]byte
	for i, c := range []struct {
		salt [16]byte
		want int
	}{{zero, 0}, {zero, 448}, {[16]byte{1}, 0}, {[16]byte{2}, 0}, {[16]byte{1}, 448}, {zero, 448}} {
		if got := w.begins(client.SessionConfig{Salt: c.salt}, system, i); got != c.want {
			t.Errorf("session %d, salt %d, has found %d tokens, want %d", i, c.salt[0], got, c.want)
		}
	}
	if got := w.begins(client.SessionConfig{Salt: [16]byte{1}, Private: true}, system, 9); got != 0 {
		t.Errorf("a private session has found %d tokens", got)
	}
	w.connect() // a client that knows nothing meets them there
	if got := w.begins(client.SessionConfig{}, system, 10); got != 448 {
		t.Errorf("another client has found %d tokens, want 448", got)
	}
}

func TestSwarm_TakesOverWhatALeavingNodeHolds(t *testing.T) {
	const prompt, answer = 300, 10
	want := alone(t, someIDs(prompt), drawn(answer))
	for hop := range 3 {
		t.Run(fmt.Sprint("hop ", hop), func(t *testing.T) {
			t.Parallel()
			w := newDrainingSwarm(t, 10*time.Second, thirds...)
			var left *server
			c, _ := w.talk(client.SessionConfig{}, func(n int, chain []client.HopInfo) {
				if n == 4 {
					left = w.of(chain[hop].Peer)
					left.stop()
					time.Sleep(50 * time.Millisecond)
				}
			})
			out, err := ask(t, c, someIDs(prompt), drawn(answer))
			if err != nil {
				t.Fatal(err)
			}
			equal(t, out, want)
			if len(out.Failovers) != 1 || out.Failovers[0].HandedOver < prompt || out.Failovers[0].Replayed != 0 {
				t.Errorf("failovers %+v", out.Failovers)
			}
			w.healthy(prompt + answer - 1)
		})
	}
}

func TestSwarm_TakesOverFromALeavingNodeWhileNobodyAsks(t *testing.T) {
	t.Parallel()
	w := newDrainingSwarm(t, 10*time.Second, thirds...)
	c, s := w.talk(client.SessionConfig{}, nil)
	first, err := ask(t, c, someIDs(200), drawn(3))
	if err != nil {
		t.Fatal(err)
	}
	gone := w.of(s.Chain()[1].Peer)
	gone.stop()
	time.Sleep(1500 * time.Millisecond)
	if got := gone.node.Stats().Sessions; got != 0 {
		t.Errorf("the leaving node still has %d sessions", got)
	}
	next := slices.Concat(someIDs(200), first.IDs, someIDs(5))
	out, err := ask(t, c, next, drawn(3))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, out, alone(t, next, drawn(3)))
	w.healthy(202 + 6 + 2)
}

func TestSwarm_GoesOnOverStreamsThatBreak(t *testing.T) {
	const prompt, answer = 700, 300
	w := newSwarm(t, [2]int{0, 1}, [2]int{1, 2}, [2]int{2, 3}, [2]int{3, 4})
	var mu sync.Mutex // guards r
	r := rand.New(rand.NewPCG(5, 6))
	for _, n := range w.nodes {
		n.host.breaks = func() bool {
			mu.Lock()
			defer mu.Unlock()
			return r.Float64() < 0.02
		}
	}
	c, _ := w.talk(client.SessionConfig{}, nil)
	out, err := ask(t, c, someIDs(prompt), drawn(answer))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, out, alone(t, someIDs(prompt), drawn(answer)))
	if out.Stats.Reconnects == 0 || len(out.Failovers) > 0 {
		t.Errorf("failovers %+v, stats %+v", out.Failovers, out.Stats)
	}
	w.healthy(prompt + answer - 1)
	t.Logf("%+v %+v", out.Stats, out.Timings)
}

func TestSwarm_AnswersManyWhileNodesComeAndGo(t *testing.T) {
	clients, answers := 4, 4
	if testing.Short() {
		clients, answers = 2, 1
	}
	w := newSwarm(t, append(thirds, thirds...)...)
	prompts := make([][]uint32, clients*answers)
	want := make([]*client.Outcome, len(prompts))
	for i := range prompts {
		prompts[i] = someIDs(20 + 37*i)
		want[i] = alone(t, prompts[i], drawn(20))
	}
	stop, killing := context.WithCancel(t.Context())
	var all sync.WaitGroup
	all.Go(func() { // one copy of each span always lives
		for _, i := range rand.Perm(9) {
			select {
			case <-time.After(400 * time.Millisecond):
				w.nodes[i].kill()
			case <-stop.Done():
			}
		}
	})
	var asking sync.WaitGroup
	for k := range clients {
		asking.Go(func() {
			for i := k * answers; i < (k+1)*answers; i++ {
				s := w.client.NewSession(client.SessionConfig{})
				out, err := ask(t, client.NewConversation(w.client.Model(), s), prompts[i], drawn(20))
				s.Close()
				if err != nil {
					t.Error(err)
					continue
				}
				equal(t, out, want[i])
			}
		})
	}
	asking.Wait()
	killing()
	all.Wait()
}
