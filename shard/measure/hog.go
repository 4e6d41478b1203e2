package measure

import (
	"context"
	"time"

	"github.com/baichuan-node/baichuan-node/shard"
)

// HogFigure is how decoding goes on while another process keeps a core busy.
type HogFigure struct {
	Quiet float64 `json:"quiet_tokens_per_s"`
	Busy  float64 `json:"busy_tokens_per_s"`
	Ratio float64 `json:"ratio"` // busy over quiet, the median of rounds
}

// Hog decodes one sequence quietly and beside what start starts, in turns of a length.
func Hog(ctx context.Context, s *shard.Shard, turn time.Duration, start func() (stop func() error, err error)) (HogFigure, error) {
	p, err := newPass(s, 0, 1, 1, false)
	if err != nil {
		return HogFigure{}, err
	}
	defer p.close()
	var rounds []HogFigure
	for range hogRounds {
		var f HogFigure
		if f.Quiet, err = pace(ctx, p, turn); err != nil {
			return HogFigure{}, err
		}
		stop, err := start()
		if err != nil {
			return HogFigure{}, err
		}
		f.Busy, err = pace(ctx, p, turn)
		if stopped := stop(); err == nil {
			err = stopped
		}
		if err != nil {
			return HogFigure{}, err
		}
		f.Ratio = f.Busy / f.Quiet
		rounds = append(rounds, f)
	}
	return HogFigure{
		Quiet: median(rounds, func(f HogFigure) float64 { return f.Quiet }),
		Busy:  median(rounds, func(f HogFigure) float64 { return f.Busy }),
		Ratio: median(rounds, func(f HogFigure) float64 { return f.Ratio }),
	}, nil
}

// pace is how many passes a second there are in some time, after one that does not count.
func pace(ctx context.Context, p *pass, turn time.Duration) (float64, error) {
	if _, err := p.run(); err != nil {
		return 0, err
	}
	begun := time.Now()
	for n := 1; ; n++ {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		if _, err := p.run(); err != nil {
			return 0, err
		}
		if passed := time.Since(begun); passed >= turn {
			return float64(n) / passed.Seconds(), nil
		}
	}
}
