package parts

import (
	"testing"
	"time"
)

func TestPace_WantsAPieceInItsTime(t *testing.T) {
	const each = 10 * time.Second
	for name, c := range map[string]struct {
		came map[int]int // bytes, by the second
		want float64     // the second at which it is over
	}{
		"nothing comes":                {nil, 10},
		"a byte a second":              {map[int]int{1: 1, 2: 1, 3: 1}, 10},
		"half a piece":                 {map[int]int{4: smallPiece / 2}, 14},
		"a piece at the last moment":   {map[int]int{9: smallPiece}, 19},
		"a piece too late":             {map[int]int{15: smallPiece}, 25},
		"a share of one too late":      {map[int]int{15: smallPiece / 10}, 16},
		"much at first":                {map[int]int{1: 100 * smallPiece}, 11},
		"half as much as there has to": {map[int]int{2: smallPiece / 10, 4: smallPiece / 10, 6: smallPiece / 10}, 13},
	} {
		p := newPace(each, start)
		for second := range 20 {
			if bytes := c.came[second]; bytes > 0 {
				p.got(bytes, at(float64(second)))
			}
		}
		if off := p.until.Sub(at(c.want)).Abs(); off > 10*time.Millisecond {
			t.Errorf("%s: it is over after %v, want %v s", name, p.until.Sub(start), c.want)
		}
	}
}
