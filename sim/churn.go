package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"sync/atomic"
	"time"
)

// churn is what happens to a swarm under load, one thing after the other, at random. A copy of each span is always there
// and not held up.
type churn struct {
	*scene
	random *rand.Rand
	mix    []event
	pause  time.Duration // between two things, and at most as long again
	others bool          // who takes a place is somebody else; else it is the same again
	stays  int           // so many of the first nodes are never ended
	most   int           // so many things happen; 0: it goes on until it is told to stop

	happened map[string]int
	newcomer int
	killed   atomic.Bool // somebody was
}

// event is something that happens to a node.
type event struct {
	name string
	does func(*churn, context.Context, *process) error
}

// What happens, as often as it is listed. Only some machines have a signal that holds up a process.
var (
	someDie   = event{"killed", (*churn).kills}
	someHang  = event{"held up", (*churn).holds}
	someLeave = event{"told to leave", (*churn).sendsAway}

	somebodyHangsUp = event{"connections hung up", (*churn).hangsUp}
	someClientDies  = event{"client killed", (*churn).killsClient}
)

func (sc *scene) newChurn(pause time.Duration, mix ...event) *churn {
	if runtime.GOOS == "windows" {
		mix = []event{someDie}
	}
	return &churn{
		scene: sc, random: rand.New(rand.NewPCG(sc.stage.cfg.Seed, 0)), mix: mix, pause: pause, others: true,
		happened: make(map[string]int),
	}
}

// run has things happen until it is told to stop.
func (c *churn) run(ctx context.Context, stop <-chan struct{}) error {
	for n := 0; c.most == 0 || n < c.most; n++ {
		select {
		case <-time.After(c.pause + time.Duration(c.random.Int64N(int64(c.pause)))):
		case <-stop:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
		what := c.mix[c.random.IntN(len(c.mix))]
		victim := c.victim(what.name != someHang.name)
		if err := what.does(c, ctx, victim); err != nil {
			return err
		}
		c.happened[what.name]++
	}
	return nil
}

// victim is a node whose layers others have, too.
func (c *churn) victim(ends bool) *process {
	all := c.living()
	for {
		n := all[c.random.IntN(len(all))]
		if len(c.scene.others(n)) > 0 && !(ends && c.staying(n)) {
			return n
		}
	}
}

// staying says whether a node is never ended.
func (c *churn) staying(n *process) bool { return slices.Contains(c.all()[:c.stays], n) }

// kills kills the node, and now and then another of its layers if a third is there. As many come.
func (c *churn) kills(ctx context.Context, n *process) error {
	victims := []*process{n}
	if spare := c.scene.others(n); len(spare) > 1 && c.random.IntN(3) == 0 {
		for _, s := range spare {
			if !c.staying(s) {
				victims = append(victims, s)
				break
			}
		}
	}
	kill(victims...)
	c.killed.Store(true)
	for range victims {
		if err := c.replace(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// replace starts a node in another's place.
func (c *churn) replace(ctx context.Context, n *process) error {
	var identity []string
	if c.others {
		c.newcomer++
		identity = []string{"--identity", filepath.Join(c.stage.home, fmt.Sprintf("another-%d.key", c.newcomer))}
	}
	i := n.span.Start / c.stage.layers
	_, err := c.start(ctx, c.stage.spans()[i:i+1], identity...)
	return err
}

// holds holds the node up: for a moment, or so long that its clients give it up.
func (c *churn) holds(ctx context.Context, n *process) error {
	while := shortHold
	if c.random.IntN(2) == 0 {
		while = longHold
	}
	return n.holdFor(ctx, while)
}

// sendsAway tells the node to leave, and has another come.
func (c *churn) sendsAway(ctx context.Context, n *process) error {
	if err := c.sendAway(graceLimit, n); err != nil {
		return err
	}
	return c.replace(ctx, n)
}

// hangsUp closes all connections of a client.
func (c *churn) hangsUp(context.Context, *process) error {
	return c.clients[c.random.IntN(len(c.clients))].hangUp()
}

// killsClient kills a process that has just begun to have something answered.
func (c *churn) killsClient(ctx context.Context, n *process) error {
	cmd := exec.CommandContext(ctx, c.stage.cfg.Binary, "generate", "--join", n.ready.Addrs[0], "--tokens", "400,401,402", "--max-tokens", "900")
	cmd.Env = append(os.Environ(), "BAICHUAN_HOME="+c.stage.home)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start a client: %w", err)
	}
	time.Sleep(shortHold/2 + time.Duration(c.random.Int64N(int64(shortHold))))
	err := cmd.Process.Kill()
	_ = cmd.Wait()                         // it was killed
	if errors.Is(err, os.ErrProcessDone) { // it was done already
		return nil
	}
	return err
}
