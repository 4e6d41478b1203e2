package node

import (
	"math"
	"testing"
	"time"

	"github.com/baichuan-node/baichuan-node/protocol"
)

func TestPace_FollowsRealStepsAndAnnouncesWhatHasMovedFar(t *testing.T) {
	start := Speed{Decode: 1000, Prefill: 8000}
	p := pace{announced: start, now: start}
	tenth := func(rows, times int) { // a tenth slower than announced
		for range times {
			speed := start.Decode
			if rows > 1 {
				speed = start.Prefill
			}
			p.pass(rows, 4*rows, time.Duration(1.1*float64(4*rows)/speed*1e9))
		}
	}
	tenth(1, 100)
	tenth(64, 20)
	if p.announce(); p.announced != start {
		t.Errorf("announced %+v, a tenth below %+v", p.announced, start)
	}
	for range 100 {
		p.pass(1, 4, 8*time.Millisecond) // 4 layers in 8 ms: 500 a second
		p.pass(5, 20, time.Hour)         // tells nothing
	}
	p.announce()
	if math.Abs(p.announced.Decode-500) > 10 {
		t.Errorf("decode is announced as %v after many steps of 500", p.announced.Decode)
	}
	for range 20 {
		p.pass(64, 4*64, 64*time.Millisecond) // 4000 a second
	}
	p.announce()
	if math.Abs(p.announced.Prefill-4000) > 100 {
		t.Errorf("prefill is announced as %v after many prompts of 4000", p.announced.Prefill)
	}
	for range 100 {
		p.head(20 * time.Millisecond)
	}
	if p.announce(); math.Abs(p.announced.Head-50) > 1 {
		t.Errorf("a head of 50 tokens a second is announced as %v", p.announced.Head)
	}
}

func TestRate_StaysWithinWhatAnOfferMaySay(t *testing.T) {
	for speed, want := range map[float64]uint32{0: 1, 0.2: 1, 1234.9: 1234, 1e30: protocol.MaxRate} {
		if got := rate(speed); got != want {
			t.Errorf("%v is offered as %d, want %d", speed, got, want)
		}
	}
}
