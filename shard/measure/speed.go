package measure

import (
	"time"

	"github.com/baichuan-node/baichuan-node/kernels"
	"github.com/baichuan-node/baichuan-node/shard"
)

// Speed is how fast a shard takes tokens through its layers, the head left out: tokens/s.
type Speed struct {
	Decode  float64 // one at a time
	Prefill float64 // many at once
	Head    float64 // through the head, one at a time; 0: the shard has none
}

// SpeedOf computes a few tokens with a shard, as a self-test and to see how fast it is. On a machine that takes longer
// than a moment for one it is content with that.
func SpeedOf(s *shard.Shard) (Speed, error) {
	one, err := newPass(s, 0, 1, 1, false)
	if err != nil {
		return Speed{}, err
	}
	defer one.close()
	first, err := one.run() // with the head, where there is one; the weights may come from the disk
	if err != nil {
		return Speed{}, err
	}
	speed := Speed{}
	if speed.Head, err = one.headSpeed(); err != nil {
		return Speed{}, err
	}
	one.asks = nil
	best, err := shortest(one.run, first)
	if err != nil {
		return Speed{}, err
	}
	speed.Decode = perSecond(1, best)
	speed.Prefill, err = prefillSpeed(s, best)
	speed.Prefill = max(speed.Prefill, speed.Decode)
	return speed, err
}

// SelfTest computes one token with a shard, and with the head where there is one: it says how fast that is, in tokens/s.
func SelfTest(s *shard.Shard) (head float64, err error) {
	p, err := newPass(s, 0, 1, 1, false)
	if err != nil {
		return 0, err
	}
	defer p.close()
	if _, err = p.run(); err != nil {
		return 0, err
	}
	return p.headSpeed()
}

// headSpeed is how fast the head alone is, with what the last pass has made; 0: there is none.
func (p *pass) headSpeed() (float64, error) {
	if len(p.asks) == 0 {
		return 0, nil
	}
	head := func() (time.Duration, error) { return timed(p.heads) }
	first, err := head()
	if err != nil {
		return 0, err
	}
	best, err := shortest(head, first)
	return perSecond(len(p.asks), best), err
}

// shortest repeats something for a moment, if it is expected to be done by then, and gives the shortest time.
func shortest(run func() (time.Duration, error), first time.Duration) (time.Duration, error) {
	best := first
	begun := time.Now()
	for n := 0; n < decodeSteps && time.Since(begun)+best < speedDecode; n++ {
		took, err := run()
		if err != nil {
			return 0, err
		}
		best = min(best, took)
	}
	return best, nil
}

// prefillSpeed takes prompts that grow while the next one is expected to be done in time; the fastest counts. perRow is
// what a token takes at most.
func prefillSpeed(s *shard.Shard, perRow time.Duration) (float64, error) {
	speed := 0.0
	begun := time.Now()
	for rows := promptGrowth; ; rows *= promptGrowth {
		rows = min(rows, promptRows)
		if time.Since(begun)+perRow*time.Duration(rows) > speedPrefill || rows > min(s.CacheFree(), s.Manifest().Context) {
			return speed, nil
		}
		took, err := timePrompt(s, rows)
		if err != nil {
			return 0, err
		}
		perRow = min(perRow, took/time.Duration(rows))
		speed = max(speed, perSecond(rows, took))
		if rows == promptRows {
			return speed, nil
		}
	}
}

func timePrompt(s *shard.Shard, rows int) (time.Duration, error) {
	p, err := newPass(s, 0, 1, rows, false)
	if err != nil {
		return 0, err
	}
	defer p.close()
	p.asks = nil
	return p.run()
}

func perSecond(rows int, took time.Duration) float64 {
	return float64(rows) / max(took.Seconds(), 1e-9)
}

// pagesFor is a number of tokens rounded up to whole pages.
func pagesFor(tokens int) int {
	return (tokens + kernels.PageSize - 1) / kernels.PageSize * kernels.PageSize
}
