package node

import (
	"time"

	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
)

// busyness is what the device has done in the last seconds, for saying how busy the node is. Guarded by the node's mutex.
type busyness struct {
	seconds [busySeconds]tally
}

// tally is of one second of the clock.
type tally struct {
	second   int64
	computed time.Duration // that passes took
	steps    int           // short ones
	more     time.Duration // that these took in the node, beyond what they would have taken alone
}

func (b *busyness) at(now time.Time) *tally {
	t := &b.seconds[now.Unix()%busySeconds]
	if t.second != now.Unix() {
		*t = tally{second: now.Unix()}
	}
	return t
}

// pass notes a pass of the device.
func (b *busyness) pass(begun, done time.Time) { b.at(done).computed += done.Sub(begun) }

// step notes a step of a few tokens.
func (b *busyness) step(now time.Time, took, alone time.Duration) {
	t := b.at(now)
	t.steps++
	t.more += max(0, took-alone)
}

// lately sums up: the share of the time in which the device computed, in thousandths, and by how much a step took longer of
// late than alone.
func (b *busyness) lately(now time.Time) (share int64, more time.Duration, steps int) {
	var computed time.Duration
	for _, t := range b.seconds {
		age := now.Unix() - t.second
		if age < 0 || age >= busySeconds {
			continue
		}
		computed += t.computed
		if age < stepSeconds {
			more, steps = more+t.more, steps+t.steps
		}
	}
	if steps > 0 {
		more /= time.Duration(steps)
	}
	return min(1000, int64(1000*computed/(busySeconds*time.Second))), more, steps
}

// alone is what a token takes through some layers that is computed alone. Called with the mutex held.
func (n *Node) alone(layers int) time.Duration {
	return time.Duration(float64(layers) * float64(time.Second) / max(n.pace.announced.Decode, 1))
}

// headAlone is what the head takes for one token. Called with the mutex held.
func (n *Node) headAlone() time.Duration {
	if n.pace.announced.Head <= 0 {
		return 0
	}
	return time.Duration(float64(time.Second) / n.pace.announced.Head)
}

// stepped notes a short step that is done. Called with the mutex held.
func (n *Node) stepped(now time.Time, j *job) {
	j.hop.stepped = now
	alone := n.alone(j.in.N * j.span.Len())
	if j.final && j.in.Want == protocol.WantCandidates {
		alone += n.headAlone()
	}
	n.busyness.step(now, now.Sub(j.arrived), alone)
}

// busyNow is how busy the node is with other sessions than one (nil: with all), as an offer says it. Called with the mutex
// held.
func (n *Node) busyNow(now time.Time, but *hop) uint32 {
	layers := n.current().span().Len()
	c := routing.Crowd{Decode: rate(n.pace.announced.Decode), Prefill: rate(n.pace.announced.Prefill), Alone: n.alone(layers)}
	if n.current().span().End == n.limits.Layers {
		c.Alone += n.headAlone()
	}
	share, more, steps := n.busyness.lately(now)
	c.Share = share
	away, known := time.Duration(0), 0
	for _, h := range n.hops {
		steps := now.Sub(h.stepped) < decodingFor
		if steps {
			c.Stepping++
		}
		if h == but {
			continue
		}
		if steps || h.control != nil && now.Sub(h.since) < openedFor {
			c.Sessions++
		}
		if steps && h.rhythm.usual > 0 {
			away, known = away+h.rhythm.usual, known+1
		}
	}
	if c.More = more; steps == 0 {
		c.Stepping = 0
	}
	if known > 0 {
		c.Away = away / time.Duration(known)
	} else { // as long as the other layers take at this speed, and some ways
		c.Away = n.alone(n.limits.Layers-layers) + unknownWays
	}
	return c.Busy()
}

// openedNow is the answer to an open. Called with the mutex held.
func (n *Node) openedNow(h *hop) protocol.Opened {
	opened := h.books.Opened()
	opened.Busy = n.busyNow(time.Now(), h)
	return opened
}
