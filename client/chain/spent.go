package chain

import (
	"time"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// Stepped is how a step went. Its hops tell what they took themselves, and are believed as far as the client has seen that
// much time go by; what is left was spent on the way.
type Stepped struct {
	Tokens int
	First  time.Duration // when it was sent
	Latest time.Duration // when it was sent for the last time: later, if hops failed meanwhile
	Done   time.Duration // when its result was there
	Hops   []HopTime     // since Latest
}

// HopTime is what a hop says of a step.
type HopTime struct {
	Span protocol.Span
	protocol.Spent
}

// stepped closes the account of a step. What hops say that stand in front of one of an earlier version is lost on the way: so
// the last of those who tell is the last hop.
func (c *Chain) stepped(now time.Duration, s *step, said []protocol.Spent) Stepped {
	went := Stepped{Tokens: len(s.ids), First: s.first, Latest: s.latest, Done: now, Hops: make([]HopTime, len(c.hops))}
	left := now - s.latest
	some := func(d time.Duration) time.Duration {
		d = min(max(d, 0), left)
		left -= d
		return d
	}
	said = said[max(0, len(said)-len(c.hops)):]
	missing := len(c.hops) - len(said)
	for i, h := range c.hops {
		went.Hops[i].Span = h.Span
		if i >= missing {
			went.Hops[i].Computed = some(said[i-missing].Computed)
			went.Hops[i].Waited = some(said[i-missing].Waited)
		}
	}
	return went
}
