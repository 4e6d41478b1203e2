package parts

import (
	"context"
	"math"
	"testing"
	"testing/synctest"
	"time"
)

func TestUplink_LetsOneAfterTheOtherGo(t *testing.T) {
	u := &Uplink{rate: 1000}
	now := time.Unix(0, 0)
	for i, want := range []time.Duration{0, 500 * time.Millisecond, time.Second} {
		if got, ok := u.next(now, 500, 0, 0); got != want || !ok {
			t.Errorf("part %d waits %v, want %v", i, got, want)
		}
	}
	if _, ok := u.next(now, 1, 0, time.Second); ok {
		t.Error("what can't leave in time is let go")
	}
	if got, ok := u.next(now, 500, 0, 2*time.Second); got != 1500*time.Millisecond || !ok {
		t.Errorf("after one that gave up the next waits %v", got)
	}
	if got, _ := u.next(now.Add(time.Minute), 1, 0, 0); got != 0 {
		t.Errorf("after a minute of silence one waits %v", got)
	}
	if got := u.Takes(math.MaxInt32 * 1000); got != maxTakes {
		t.Errorf("too much takes %v", got)
	}
	if got, _ := (&Uplink{}).next(now, 1<<30, 0, 0); got != 0 {
		t.Errorf("without a bound one waits %v", got)
	}
}

func TestUplink_WhoGivesUpTakesNobodysPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &Uplink{rate: 1000}
		if err := u.Wait(t.Context(), 2000); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := u.Wait(ctx, 50_000); err == nil {
			t.Error("it went before its time")
		}
		begun := time.Now()
		if err := u.Wait(t.Context(), 1); err != nil || time.Since(begun) != 2*time.Second {
			t.Errorf("the next one waited %v, want 2 s: %v", time.Since(begun), err)
		}
	})
}

func TestUplink_PiecesFitTheCap(t *testing.T) {
	for _, c := range []struct {
		rate float64
		live bool
		want int
	}{
		{0, false, 1 << 20}, {0, true, 64 << 10}, {1e9, false, 1 << 20}, {1e6, false, 250_000}, {1e6, true, 64 << 10}, {10, false, 4 << 10},
	} {
		if got := (&Uplink{rate: c.rate}).piece(1<<20, c.live); got != c.want {
			t.Errorf("%+v: %d bytes", c, got)
		}
	}
}

func TestUplink_MayGoAheadForWhatItWasFree(t *testing.T) {
	u := &Uplink{rate: 1000}
	now := time.Unix(0, 0)
	for i, c := range []struct {
		after        time.Duration
		bytes, saved int
		wait         time.Duration
	}{
		{0, 1500, 2000, 0},                      // it has always been free
		{0, 500, 2000, 0},                       // this is what was left
		{0, 500, 2000, 0},                       // its own time begins now
		{0, 500, 2000, 500 * time.Millisecond},  //
		{1500 * time.Millisecond, 500, 2000, 0}, // half a second of these it was free
		{0, 500, 2000, 0},                       //
		{0, 500, 0, 500 * time.Millisecond},     //
		{time.Hour, 500, 0, 0},                  // bulk saves nothing up
		{0, 2000, 2000, 500 * time.Millisecond}, // nor leaves anything over
		{time.Hour, 2500, 2000, 0},              //
		{0, 1, 0, 500 * time.Millisecond},       // more than was saved up holds up the next
	} {
		now = now.Add(c.after)
		if got, ok := u.next(now, c.bytes, c.saved, 0); got != c.wait || !ok {
			t.Errorf("%d: %d bytes wait %v, want %v", i, c.bytes, got, c.wait)
		}
	}
}
