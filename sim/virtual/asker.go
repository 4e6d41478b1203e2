package virtual

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/client"
	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
	"github.com/baichuan-node/baichuan-node/sim/simnet"
)

// asker is a client that asks all the time.
type asker struct {
	world *world
	name  int
	id    peer.ID
	host  *simnet.Host
	dir   *routing.Directory
	stop  context.CancelFunc
	done  sync.WaitGroup

	covered time.Time // since when it can reach honest holders of all layers; zero: it can't; guarded by the world's mutex
	doing   string    // guarded by the world's mutex, as the following
	since   time.Time // it does that
	answers int

	struck map[peer.ID]strike // which peers failed the asker; its goroutine's
}

func (w *world) newAsker(i int) (*asker, error) {
	key, addr, err := w.keyOf(1<<16 + i)
	if err != nil {
		return nil, err
	}
	h, err := w.net.Host(key, addr)
	if err != nil {
		return nil, err
	}
	d, err := w.directory(context.Background(), h, false, 0)
	if err != nil {
		return nil, errors.Join(err, h.Close())
	}
	return &asker{world: w, name: i, id: h.ID(), host: h, dir: d, stop: func() {}, struck: make(map[peer.ID]strike)}, nil
}

// leave ends the asker.
func (a *asker) leave() {
	a.stop()
	a.done.Wait()
	if err := errors.Join(a.dir.Close(), a.host.Close()); err != nil {
		a.world.wrong("client %d: %v", a.name, err)
	}
}

// answerLimit is what the longest answer may take: a client waits 30 s for layers that nobody has, before it gives up, and
// they may be lost twice in an answer.
const answerLimit = 75 * time.Second

// run asks until the plan is over.
func (a *asker) run(ctx context.Context) {
	ctx, a.stop = context.WithCancel(ctx)
	c := a.connect(ctx)
	if c == nil {
		return
	}
	for n := 0; ctx.Err() == nil; n++ {
		a.converse(ctx, c, n)
		a.does("pause")
		select {
		case <-time.After(a.pause(n)):
		case <-ctx.Done():
		}
	}
}

// pause is how long a client does nothing after a conversation: the longer while nothing happens to the swarm.
func (a *asker) pause(n int) time.Duration {
	pause := time.Duration(500+n*137%2000) * time.Millisecond
	if now := time.Since(a.world.began); now > a.world.plan.Quiet+10*time.Second {
		pause += 5 * time.Second
	}
	return pause
}

// does takes down what the asker does, for whoever wonders what it waits for.
func (a *asker) does(what string) {
	a.world.mu.Lock()
	defer a.world.mu.Unlock()
	a.doing, a.since = what, time.Now()
}

// connect joins the swarm, as long as it takes.
func (a *asker) connect(ctx context.Context) *client.Client {
	a.does("connect")
	for ctx.Err() == nil {
		c, err := client.Connect(ctx, a.host, a.dir, client.Config{Join: a.world.doors(a.id), Model: "tiny"})
		if err == nil {
			return c
		}
		a.failed(ctx, "connect", err)
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
	return nil
}

// converse has a conversation of two turns.
func (a *asker) converse(ctx context.Context, c *client.Client, n int) {
	s := c.NewSession(client.SessionConfig{Private: n%2 == 0})
	defer s.Close()
	talk := client.NewConversation(c.Model(), s)
	all := questions()
	for turn := range 2 {
		q := all[(a.name+n+5*turn)%len(all)]
		a.does(fmt.Sprintf("ask %+v", q))
		asked := time.Now()
		limited, cancel := context.WithTimeout(ctx, answerLimit)
		out, err := generate(limited, talk, q)
		cancel()
		took := time.Since(asked)
		switch {
		case ctx.Err() != nil:
			return
		case took >= answerLimit:
			a.world.wrong("client %d: question %d has no answer and no error after %v", a.name, n, took)
			return
		case err != nil:
			a.failed(ctx, "ask", err)
			return
		}
		a.answered(q, out, took)
		a.bans(out, asked)
	}
}

// answered holds an answer against that of one process.
func (a *asker) answered(q Question, out *client.Outcome, took time.Duration) {
	w := a.world
	if want := w.model.said[q]; !slices.Equal(out.IDs, want) {
		w.wrong("client %d: %v is answered with %v, by one process with %v", a.name, q, out.IDs, want)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	a.answers++
	w.report.Answers++
	w.report.Failovers += len(out.Failovers)
	w.report.Longest = max(w.report.Longest, took)
	if took > slow {
		w.note("client %d waited %.1f s for %d tokens; failovers %s", a.name, took.Seconds(), q.Answer, w.tell(out.Failovers))
	}
}

// excused is how long every layer must have had a holder within reach for a failure to have no excuse: a client gives up
// after 30 s.
const excused = 40 * time.Second

// banned is for how long at least a peer that failed is left out of chains where others can do its work.
const banned = 15 * time.Second

// strike is a failure and when, at the earliest, it came.
type strike struct {
	at time.Time
	client.Failover
}

// isStrike says whether a peer is banned for what was the reason of a failover: not for leaving, moving or being full.
func isStrike(f client.Failover) bool {
	var said protocol.Failure
	if errors.As(f.Reason, &said) {
		switch said.Code {
		case protocol.CodeBusy, protocol.CodeLoading, protocol.CodeNoMemory, protocol.CodeDraining, protocol.CodeNoSuchSpan:
			return false
		}
	}
	return !strings.Contains(f.Reason.Error(), "leaving")
}

// bans sees to it that no chain goes through a peer that has just failed, where others hold its layers that have been there
// for a while and have not failed.
func (a *asker) bans(out *client.Outcome, asked time.Time) {
	w := a.world
	for _, f := range out.Failovers {
		if isStrike(f) {
			a.struck[f.Peer] = strike{asked, f}
		}
	}
	w.mu.Lock()
	var again []client.HopInfo
	for _, hop := range out.Chain {
		s, struck := a.struck[hop.Peer]
		others := func(pl *player) bool {
			_, failed := a.struck[pl.id]
			return pl.id != hop.Peer && !failed && time.Since(pl.settled) > time.Minute && (w.sides == nil || w.sides(pl.id) == w.sides(a.id))
		}
		if struck && time.Since(s.at) < banned && w.held(others) {
			again = append(again, hop)
		}
	}
	w.mu.Unlock()
	for _, hop := range again {
		w.wrong("client %d goes through %s for %v, which failed it less than %v ago: %s", a.name, w.nameOf(hop.Peer), hop.Layers, banned, w.tell([]client.Failover{a.struck[hop.Peer].Failover}))
	}
}

// slow is how long an answer may take without a note.
const slow = 12 * time.Second

// tell tells of failovers in the plan's words.
func (w *world) tell(all []client.Failover) (s string) {
	for _, f := range all {
		s += fmt.Sprintf("[%v of %s after %.1f s: %v]", f.Layers, w.nameOf(f.Peer), f.Stall.Seconds(), f.Reason)
	}
	return s
}

// failed takes down that an answer did not come, which may be nobody's fault.
func (a *asker) failed(ctx context.Context, doing string, err error) {
	if ctx.Err() != nil {
		return
	}
	w := a.world
	w.mu.Lock()
	w.report.Failed++
	since := a.covered
	w.note("client %d failed to %s: %v", a.name, doing, err)
	w.mu.Unlock()
	if !since.IsZero() && time.Since(since) >= excused {
		w.wrong("client %d: %s: %v, though every layer has been there for %.0f s", a.name, doing, err, time.Since(since).Seconds())
	}
}

// known is what the asker knows of the model.
func (a *asker) known() []routing.Seen { return a.dir.Known(protocol.ModelID(a.world.model.stored.ID)) }

// look asks the directory, as a client does whose session goes on, and gives what is known then. One that rests knows less:
// what it has heard ages.
func (a *asker) look() []routing.Seen {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	known, err := a.dir.Offers(ctx, protocol.ModelID(a.world.model.stored.ID))
	if err != nil {
		a.world.wrong("client %d: %v", a.name, err)
	}
	return known
}
