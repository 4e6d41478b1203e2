package node

import (
	"fmt"
	"time"

	"github.com/baichuan-node/baichuan-node/kernels"
	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/shard"
)

// Speed is how fast a shard computes, in tokens per second through one layer.
type Speed struct {
	Decode  uint32 // one token at a time
	Prefill uint32 // many at once
}

// measure computes a token with the shard, as a self-test, and goes on for a moment to see how fast it is.
func measure(s *shard.Shard) (Speed, error) {
	perToken, err := timeRows(s, 1)
	if err != nil {
		return Speed{}, err
	}
	layers := s.Span().End - s.Span().Start
	speed := Speed{Decode: rate(1, layers, perToken)}
	speed.Prefill = speed.Decode
	rows := min(measureRows, s.CacheFree(), s.Manifest().Context, int(measurePrefill/max(perToken, 1)))
	if rows < 2 {
		return speed, nil
	}
	perPrompt, err := timeRows(s, rows)
	speed.Prefill = max(speed.Decode, rate(rows, layers, perPrompt))
	return speed, err
}

// timeRows computes n rows, again until measureFor has passed, and gives the shortest time that it took.
func timeRows(s *shard.Shard, n int) (time.Duration, error) {
	m := s.Manifest()
	cache := s.NewCache(s.Span())
	defer cache.Close()
	step := &shard.Step{Cache: cache, IDs: make([]uint32, n)}
	if !s.First() {
		step.IDs = nil
		step.In = kernels.Rows{N: n, Width: m.Hidden, Exp: make([]uint8, n), Half: make([]byte, 2*n*m.Hidden)}
	}
	var best time.Duration
	for begun := time.Now(); ; {
		t := time.Now()
		s.Forward(step)
		if step.Err != nil {
			return 0, step.Err
		}
		if d := time.Since(t); best == 0 || d < best {
			best = d
		}
		if time.Since(begun) >= measureFor {
			break
		}
		cache.Truncate(0)
	}
	if !s.Last() {
		return best, nil
	}
	logits := make([]float32, m.Vocab)
	if err := s.Logits(logits, step.Out, n-1, 1); err != nil {
		return 0, fmt.Errorf("apply the head: %w", err)
	}
	return best, nil
}

// rate gives tokens per second through one layer, within what an offer may say.
func rate(rows, layers int, took time.Duration) uint32 {
	perSecond := float64(rows*layers) / max(took.Seconds(), 1e-9)
	return uint32(min(max(perSecond, 1), protocol.MaxRate))
}
