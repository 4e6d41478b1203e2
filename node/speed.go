package node

import (
	"math"
	"time"

	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/shard"
	"github.com/baichuan-node/baichuan-node/shard/measure"
)

// Speed is how fast a shard computes, in tokens per second through one layer.
type Speed struct {
	Decode  float64 `json:"decode"`  // one token at a time
	Prefill float64 `json:"prefill"` // many at once

	// Head is tokens per second through the final norm and the lm_head, one at a time; 0: not known, as of a shard without.
	Head float64 `json:"head,omitempty"`
}

// speedOf computes a token with the shard, as a self-test, and gives its speed: the one that is known, or a measured one.
func (c Config) speedOf(s *shard.Shard) (Speed, error) {
	if c.Speed.Decode > 0 && c.Speed.Prefill > 0 {
		known := c.Speed
		head, err := measure.SelfTest(s)
		if !s.Last() || known.Head <= 0 {
			known.Head = head
		}
		return known, err
	}
	speed, err := measure.SpeedOf(s)
	layers := float64(s.Span().End - s.Span().Start)
	return Speed{Decode: layers * speed.Decode, Prefill: layers * speed.Prefill, Head: speed.Head}, err
}

// rate is a speed as an offer may say it.
func rate(speed float64) uint32 { return uint32(min(max(speed, 1), protocol.MaxRate)) }

// pace follows the node's speed by the steps that it computes.
type pace struct {
	announced Speed // what the swarm is told
	now       Speed // the moving average
}

// pass notes how long some rows took together; work counts each of them once for each layer. Passes over a few tokens say
// little of either speed.
func (p *pace) pass(rows, work int, took time.Duration) {
	perToken := took.Seconds() / float64(work) // and layer
	switch {
	case rows == 1:
		p.now.Decode = average(p.now.Decode, perToken, decodeWeight)
	case rows >= prefillRows:
		p.now.Prefill = average(p.now.Prefill, perToken, prefillWeight)
	}
}

// head notes how long the head took for one row.
func (p *pace) head(took time.Duration) {
	if p.now.Head <= 0 {
		p.now.Head = 1 / max(took.Seconds(), 1e-9)
	}
	p.now.Head = average(p.now.Head, took.Seconds(), decodeWeight)
}

// beside is how many tokens of prompts may be in a pass while others decode: as many as are multiplied in the time in which
// the weights are read, which a token alone takes as well. So a pass with one who decodes takes hardly longer than
// without the prompt, and who comes while pieces of the prompt are computed alone waits no longer than for a token.
func (p *pace) beside() int {
	n := int(min(max(p.now.Prefill/p.now.Decode, 1), chunkAlone))
	return n - n%min(n, chunkStep)
}

// average moves a speed towards what a new time tells of it. Times are averaged, as it is times that add up.
func average(speed, seconds, weight float64) float64 {
	return 1 / ((1-weight)/speed + weight*max(seconds, 1e-9))
}

// announce lets the swarm hear of a speed that has moved far enough.
func (p *pace) announce() {
	if moved(p.announced.Decode, p.now.Decode) || moved(p.announced.Prefill, p.now.Prefill) || moved(p.announced.Head, p.now.Head) {
		p.announced = p.now
	}
}

func moved(from, to float64) bool { return math.Abs(to-from) > speedMoves*from }
