package client_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/baichuan-node/baichuan-node/client"
	"github.com/baichuan-node/baichuan-node/client/local"
	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/shard"
	"github.com/baichuan-node/baichuan-node/shard/store"
)

// moves is what nodes of a swarm that move have been lent: shards, which must come back.
type moves struct {
	*swarm
	mu   sync.Mutex
	lent map[*shard.Shard]bool // guarded by mu
}

// newMovingSwarm is newDrainingSwarm with nodes that can move.
func newMovingSwarm(t *testing.T, drain time.Duration, spans ...[2]int) *moves {
	t.Helper()
	m := &moves{lent: make(map[*shard.Shard]bool)}
	t.Cleanup(func() { // when the nodes have ended
		for s := range m.lent {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	m.swarm = newDrainingSwarm(t, drain, spans...)
	for _, n := range m.nodes {
		m.lent[n.layers] = true
	}
	return m
}

// out is how many shards the nodes hold, those included that retire.
func (m *moves) out() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.lent)
}

// move moves a node, beside what it computes.
func (m *moves) move(n *server, start, end int) error {
	s, err := shard.Load(context.Background(), realModel(m.t), store.Span{Start: start, End: end}, n.layers.Device(), shard.Config{CacheTokens: 8192})
	if err != nil {
		return err
	}
	m.mu.Lock()
	m.lent[s] = true
	m.mu.Unlock()
	err = n.node.Move(context.Background(), s, func(old *shard.Shard) { m.back(old) })
	if err != nil {
		m.back(s)
	}
	return err
}

// back takes a shard back.
func (m *moves) back(s *shard.Shard) {
	if err := s.Close(); err != nil {
		m.t.Error(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.lent, s)
}

// mappings counts the parts of models that this process has mapped; 0 where nobody can say.
func mappings() int {
	maps, _ := os.ReadFile("/proc/self/maps")
	return strings.Count(string(maps), "baichuan-client-test-")
}

// A node moves to and fro under a conversation that runs through layers which it serves before and after.
func TestSwarm_ASessionOfTheOverlapDoesNotNoticeAMove(t *testing.T) {
	const prompt, answer = 150, 12
	m := newMovingSwarm(t, time.Minute, [2]int{0, 1}, [2]int{1, 3}, [2]int{3, 4})
	to := [][2]int{{1, 4}, {0, 3}}
	c, _ := m.talk(client.SessionConfig{}, func(step int, chain []client.HopInfo) {
		if step%4 == 3 && len(to) > 0 {
			if err := m.move(m.nodes[1], to[0][0], to[0][1]); err != nil {
				t.Error(err)
			}
			to = to[1:]
		}
	})
	out, err := ask(t, c, someIDs(prompt), drawn(answer))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, out, alone(t, someIDs(prompt), drawn(answer)))
	if len(out.Failovers) > 0 || out.Stats.Stall > 0 || len(to) > 0 {
		t.Errorf("failovers %+v, stats %+v", out.Failovers, out.Stats)
	}
	for i, n := range m.nodes {
		if got := n.count(t, "tokens_total"); got != prompt+answer-1 {
			t.Errorf("node %d has computed %d tokens, there were %d", i, got, prompt+answer-1)
		}
	}
}

// The layers of a conversation are not the node's any more: another takes over its cache, and nothing is computed twice.
func TestSwarm_ASessionOutsideIsHandedOver(t *testing.T) {
	const prompt, answer = 300, 12
	m := newMovingSwarm(t, time.Minute, [2]int{0, 1}, [2]int{1, 3}, [2]int{3, 4}, [2]int{1, 3})
	var mover, other *server
	c, s := m.talk(client.SessionConfig{}, func(step int, chain []client.HopInfo) {
		if step == 4 {
			mover = m.of(chain[1].Peer)
			if other = m.nodes[1]; other == mover {
				other = m.nodes[3]
			}
			if err := m.move(mover, 0, 2); err != nil {
				t.Error(err)
			}
		}
	})
	out, err := ask(t, c, someIDs(prompt), drawn(answer))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, out, alone(t, someIDs(prompt), drawn(answer)))
	if got := mover.count(t, "tokens_total") + other.count(t, "tokens_total"); got != prompt+answer-1 {
		t.Errorf("%d tokens were computed, there were %d", got, prompt+answer-1)
	}
	if got := other.count(t, "handovers_taken_total"); got != 1 || len(out.Failovers) != 1 {
		t.Errorf("%d caches were taken over, failovers %+v", got, out.Failovers)
	}
	if s.Chain()[1].Peer != other.host.ID() {
		t.Errorf("the chain is %+v", s.Chain())
	}
	m.settles()
}

// A client that has not heard of a move asks for layers which the node serves no more: it learns who serves them now, and
// holds nothing against the node.
func TestSwarm_AClientWithAnOldOfferFindsWhoServesNow(t *testing.T) {
	const prompt, answer = 50, 6
	m := newMovingSwarm(t, 0, [2]int{0, 2}, [2]int{2, 4}, [2]int{2, 4})
	var moved *server
	c, s := m.talk(client.SessionConfig{}, func(step int, chain []client.HopInfo) {
		if step != 3 {
			return
		}
		dies := m.of(chain[1].Peer)
		if moved = m.nodes[1]; moved == dies {
			moved = m.nodes[2]
		}
		m.serve(2, 4)
		if err := m.move(moved, 0, 2); err != nil {
			t.Error(err)
		}
		dies.kill()
	})
	out, err := ask(t, c, someIDs(prompt), drawn(answer))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, out, alone(t, someIDs(prompt), drawn(answer)))
	if got := moved.count(t, `opens_refused_total\{code="no such span"\}`); got != 1 {
		t.Errorf("%d opens were refused: the client knew of the move, or did not learn", got)
	}
	if out.Stats.Bans != 1 || s.Chain()[1].Peer != m.nodes[3].host.ID() {
		t.Errorf("stats %+v, chain %v", out.Stats, s.Chain())
	}
}

// settles waits until each node holds the one shard that it serves.
func (m *moves) settles() {
	m.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); m.out() > len(m.nodes); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			m.t.Fatalf("%d nodes hold %d shards", len(m.nodes), m.out())
		}
	}
}

// Nodes move to and fro under several conversations, and no answer is another than that of one process.
func TestSwarm_NodesMoveUnderManyConversations(t *testing.T) {
	spans := [][2]int{{0, 1}, {0, 2}, {1, 3}, {2, 4}, {3, 4}, {1, 2}}
	for seed, drain := range []time.Duration{2 * time.Second, 20 * time.Millisecond} { // the second ends sessions by force
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			before := mappings()
			m := newMovingSwarm(t, drain, spans...)
			var talks, moving sync.WaitGroup
			ended := make(chan struct{})
			moving.Go(func() { m.wander(rand.New(rand.NewPCG(uint64(seed), 0)), slices.Clone(spans), ended) })
			for i := range 4 {
				talks.Go(func() { m.chats(rand.New(rand.NewPCG(uint64(seed), uint64(i+1)))) })
			}
			talks.Wait()
			close(ended)
			moving.Wait()
			m.settles()
			for i, n := range m.nodes {
				if got := n.node.Stats(); got.Sessions != 0 || got.State != protocol.Online {
					t.Errorf("node %d says %+v", i, got)
				}
				if got := n.count(t, "cache_bytes"); got != 0 {
					t.Errorf("node %d holds %d bytes of cache", i, got)
				}
			}
			m.end()
			m.nodes = nil
			for s := range m.lent {
				m.back(s)
			}
			if now := mappings(); now != before {
				t.Errorf("%d parts are mapped, %d were", now, before)
			}
		})
	}
}

// wander moves nodes until it is ended. No move opens a gap.
func (m *moves) wander(rng *rand.Rand, spans [][2]int, ended chan struct{}) {
	for {
		select {
		case <-ended:
			return
		case <-time.After(time.Duration(rng.IntN(60)) * time.Millisecond):
		}
		i, start := rng.IntN(len(spans)), rng.IntN(4)
		was := spans[i]
		spans[i] = [2]int{start, start + 1 + rng.IntN(4-start)}
		if !covered(spans) {
			spans[i] = was
			continue
		}
		if m.move(m.nodes[i], spans[i][0], spans[i][1]) != nil {
			spans[i] = was // three of its shards are in use
		}
	}
}

// covered says whether each of the four layers is in a span.
func covered(spans [][2]int) bool {
	for layer := range 4 {
		if !slices.ContainsFunc(spans, func(s [2]int) bool { return s[0] <= layer && layer < s[1] }) {
			return false
		}
	}
	return true
}

// chats has a conversation of a few turns, and another, each as a client does that remembers.
func (m *moves) chats(rng *rand.Rand) {
	whole, unload := load(m.t, 0, 4)
	defer unload()
	alone, err := local.New(whole)
	if err != nil {
		m.t.Error(err)
		return
	}
	defer alone.Close()
	oracle := client.NewConversation(m.client.Model(), alone)
	for range 2 {
		s := m.client.NewSession(client.SessionConfig{Private: rng.IntN(2) == 0})
		c := client.NewConversation(m.client.Model(), s)
		prompt := someIDs(20 + rng.IntN(100))
		for range 3 {
			o := drawn(4 + rng.IntN(10))
			o.Seed = rng.Uint64N(1 << 40)
			out, err := ask(m.t, c, prompt, o)
			if err != nil {
				m.t.Error(err)
				break
			}
			want, err := ask(m.t, oracle, prompt, o)
			if err != nil {
				m.t.Error(err)
				break
			}
			equal(m.t, out, want)
			prompt = append(append(prompt, out.IDs...), someIDs(10+rng.IntN(30))...)
		}
		if err := s.Close(); err != nil {
			m.t.Error(err)
		}
	}
}
