// Package virtual plays swarms in simulated time: real nodes, clients and directories over a network in memory, inside a
// bubble of testing/synctest. A [Plan] says what happens, as a function of a seed; [Play] plays it, has clients ask all the
// time, and reports whatever was not as it must be: an answer unlike that of one process, one that did not come though it
// could have, a forged offer that was believed, a dead peer that is still offered, a living one that is not known.
//
// Nothing here waits for anything but simulated time, and when Play returns nothing that it started runs any more.
package virtual

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	libprotocol "github.com/libp2p/go-libp2p/core/protocol"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
	"github.com/baichuan-node/baichuan-node/routing/placement"
	"github.com/baichuan-node/baichuan-node/sim/simnet"
)

// world is a swarm while its plan is played. One goroutine plays; clients ask in theirs.
type world struct {
	plan    Plan
	model   *Model
	net     *simnet.Net
	began   time.Time
	players []*player
	byID    map[peer.ID]*player
	clients []*asker
	ending  sync.WaitGroup   // players that are down and come to their end
	plans   *placement.Plans // of all nodes together; nil: each makes its own

	mu     sync.Mutex
	lossy  bool                 // guarded by mu, as all below
	rng    *rand.Rand           // of what is left to chance while it is played
	sides  func(id peer.ID) int // nil: nobody is cut off
	gap    time.Time            // since when a layer has no honest holder; zero: all have
	told   bool                 // that it lasts too long
	faults time.Time            // when something last happened that may open a gap
	opened map[string]opened    // by an offer's sealed bytes
	report Report
}

// opened is what comes of opening a sealed offer.
type opened struct {
	offer *protocol.Offer
	err   error
}

// unseal opens offers for all the nodes of a world: each is checked, but only once. To check signatures would be most of a
// world's work.
func (w *world) unseal(sealed []byte) (*protocol.Offer, error) {
	w.mu.Lock()
	o, known := w.opened[string(sealed)]
	w.mu.Unlock()
	if !known {
		o.offer, o.err = protocol.Unseal(sealed)
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.opened == nil {
			w.opened = make(map[string]opened)
		}
		w.opened[string(sealed)] = o
	}
	return o.offer, o.err
}

// Report is what became of a plan.
type Report struct {
	Answers, Failed int // of all questions
	Failovers       int
	Moves           int // of nodes that choose their layers
	Messages        map[libprotocol.ID]int
	Wrong           []string // what was not as it must be
	Notes           []string // what may be of use to whoever looks into that
	Longest         time.Duration
}

// shareNone is how many worlds there are for one whose nodes each make plans of their own, which may differ: they measure
// different round trips. Those of the others share theirs, which is most of what choosing layers costs.
const shareNone = 8

// Play plays a plan.
func Play(ctx context.Context, m *Model, p Plan) (*Report, error) {
	w := &world{plan: p, model: m, began: time.Now(), rng: rand.New(rand.NewPCG(p.Seed, 0x91a7)), byID: make(map[peer.ID]*player)}
	if p.Seed%shareNone != 0 {
		w.plans = new(placement.Plans)
	}
	w.report.Messages = map[libprotocol.ID]int{}
	w.net = simnet.New(simnet.Config{RTT: w.rtt, Lose: w.lose, Sent: w.sent})
	for i, c := range p.Casts {
		pl, err := w.newPlayer(i, c)
		if err != nil {
			return nil, err
		}
		w.players = append(w.players, pl)
		w.byID[pl.id] = pl
	}
	err := w.play(ctx)
	for _, c := range w.clients {
		c.leave()
	}
	for _, pl := range w.players {
		pl.kill()
	}
	w.ending.Wait()
	return &w.report, err
}

// play does what the plan says, and looks around each second.
func (w *world) play(ctx context.Context) error {
	for _, pl := range w.players {
		if !pl.cast.Later {
			if err := pl.start(ctx); err != nil {
				return err
			}
		}
	}
	for i := range w.plan.Shape.Clients {
		c, err := w.newAsker(i)
		if err != nil {
			return err
		}
		w.clients = append(w.clients, c)
		c.done.Go(func() { c.run(ctx) })
	}
	events := w.plan.Events
	for {
		w.look()
		now := time.Since(w.began)
		next := min(w.plan.End, now.Truncate(time.Second)+time.Second)
		if len(events) > 0 && events[0].At <= now {
			if err := w.act(ctx, events[0]); err != nil {
				return err
			}
			events = events[1:]
			continue
		}
		if len(events) > 0 {
			next = min(next, events[0].At)
		}
		if now >= w.plan.End {
			w.lookClosely()
			return nil
		}
		time.Sleep(next - now)
	}
}

// act carries out an event. What can't happen any more does not.
func (w *world) act(ctx context.Context, e Event) error {
	w.mu.Lock()
	w.faults = time.Now()
	w.mu.Unlock()
	switch e.Act {
	case Start:
		return w.players[e.Who].start(ctx)
	case Leave:
		w.players[e.Who].leave()
	case Kill:
		w.players[e.Who].kill()
	case Crash:
		w.players[e.Who].crash()
	case Raze:
		w.raze(e.Who)
	case Slow:
		w.players[e.Who].slow(true)
	case Quick:
		w.players[e.Who].slow(false)
	case Partition:
		w.part(func(id peer.ID) int { return int(sha256.Sum256([]byte(fmt.Sprint(e.Who, id)))[0] % 2) })
	case Heal:
		w.part(nil)
	case Lossy, Sound:
		w.mu.Lock()
		w.lossy = e.Act == Lossy
		w.mu.Unlock()
	}
	return nil
}

// raze kills all who hold a layer, if the room of the others who choose their layers is enough for the whole model.
func (w *world) raze(layer int) {
	var holders []*player
	room := 0
	w.mu.Lock()
	for _, pl := range w.players {
		switch {
		case !pl.up || pl.cast.Kind != Honest:
		case pl.span.Start <= layer && layer < pl.span.End:
			holders = append(holders, pl)
		case pl.cast.Auto:
			room += pl.cast.Span.Len()
		}
	}
	w.mu.Unlock()
	if room < Layers {
		return
	}
	for _, pl := range holders {
		pl.kill()
	}
}

func (w *world) part(sides func(peer.ID) int) {
	w.mu.Lock()
	w.sides = sides
	w.mu.Unlock()
	w.net.Partition(sides)
}

// rtt is 10 to 60 ms, by the two peers.
func (w *world) rtt(a, b peer.ID) time.Duration {
	if a > b {
		a, b = b, a
	}
	sum := sha256.Sum256([]byte(a + b))
	return 10*time.Millisecond + time.Duration(sum[0])*50*time.Millisecond/255
}

// lose loses three in ten replies of the directory and the DHT while the world is lossy.
func (w *world) lose(_, _ peer.ID, id libprotocol.ID) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lossy && (id == protocol.DirectoryID || strings.Contains(string(id), "/kad/")) && w.rng.IntN(10) < 3
}

func (w *world) sent(_, _ peer.ID, id libprotocol.ID, message []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.report.Messages[id]++
}

// wrong takes down what must not be.
func (w *world) wrong(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.report.Wrong = append(w.report.Wrong, fmt.Sprintf("after %.1f s: ", time.Since(w.began).Seconds())+fmt.Sprintf(format, args...))
}

// note takes down what happens. Called with the mutex held.
func (w *world) note(format string, args ...any) {
	w.report.Notes = append(w.report.Notes, fmt.Sprintf("after %.1f s: ", time.Since(w.began).Seconds())+fmt.Sprintf(format, args...))
}

// keyOf makes the identity of somebody by a number of its own.
func (w *world) keyOf(number int) (crypto.PrivKey, ma.Multiaddr, error) {
	seed := sha256.Sum256([]byte(fmt.Sprint("virtual", w.plan.Seed, number)))
	key, _, err := crypto.GenerateEd25519Key(&repeat{seed[:]})
	if err != nil {
		return nil, nil, fmt.Errorf("make an identity: %w", err)
	}
	addr, err := ma.NewMultiaddr(fmt.Sprintf("/ip4/10.%d.%d.%d/tcp/4001", number>>16, number>>8&255, number&255))
	return key, addr, err
}

// repeat reads the same bytes again and again.
type repeat struct{ bytes []byte }

func (r *repeat) Read(b []byte) (n int, err error) {
	for n < len(b) {
		n += copy(b[n:], r.bytes)
	}
	return n, nil
}

// directory makes the directory of a host.
func (w *world) directory(ctx context.Context, h *simnet.Host, serving bool, skew time.Duration) (*routing.Directory, error) {
	cfg := routing.DirectoryConfig{Serving: serving, Unseal: w.unseal, Wall: func() time.Time { return time.Now().Add(skew) }}
	if !w.plan.Shape.Kad {
		cfg.Nearest = func(ctx context.Context, key string) ([]peer.ID, error) { return w.nearest(ctx, h.ID(), key) }
	}
	return routing.NewDirectory(ctx, h, cfg)
}

// nearest is what a DHT finds that makes no mistake: the twenty living peers on the same side that are nearest to a key.
func (w *world) nearest(ctx context.Context, asker peer.ID, key string) ([]peer.ID, error) {
	select {
	case <-time.After(100 * time.Millisecond):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.lossy && w.rng.IntN(10) < 3 {
		return nil, errors.New("the replies are lost")
	}
	type near struct {
		id   peer.ID
		away [32]byte
	}
	target := sha256.Sum256([]byte(key))
	var all []near
	for _, pl := range w.players {
		if pl.up && pl.id != asker && (w.sides == nil || w.sides(pl.id) == w.sides(asker)) {
			n := near{pl.id, sha256.Sum256([]byte(pl.id))}
			for i := range n.away {
				n.away[i] ^= target[i]
			}
			all = append(all, n)
		}
	}
	slices.SortFunc(all, func(a, b near) int { return slices.Compare(a.away[:], b.away[:]) })
	ids := make([]peer.ID, min(len(all), 20))
	for i := range ids {
		ids[i] = all[i].id
	}
	return ids, nil
}

// doors are a few who are there, as somebody who joins would know them.
func (w *world) doors(but peer.ID) (all []peer.AddrInfo) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, i := range w.rng.Perm(len(w.players)) {
		pl := w.players[i]
		if pl.up && pl.id != but && pl.cast.Kind == Honest && len(all) < 2 && (w.sides == nil || w.sides(pl.id) == w.sides(but)) {
			all = append(all, peer.AddrInfo{ID: pl.id, Addrs: []ma.Multiaddr{pl.addr}})
		}
	}
	return all
}
