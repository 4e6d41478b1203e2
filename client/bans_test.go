package client

import (
	"errors"
	"testing"
	"time"
)

var errTest = errors.New("as the test wants it")

func TestBans_GrowWithFailuresAndShrinkWithSuccesses(t *testing.T) {
	left := func(b *bans, now time.Time) time.Duration { return b.of("a", 1, now).banned }
	lengths := []time.Duration{15 * time.Second, 30 * time.Second, time.Minute}
	var b bans
	now := time.Unix(0, 0)
	for i, want := range lengths {
		b.strike("a", 1, errTest, now)
		if got := left(&b, now); got != want {
			t.Errorf("ban %d lasts %v, want %v", i, got, want)
		}
		if now = now.Add(want); left(&b, now) != 0 {
			t.Errorf("ban %d does not end", i)
		}
	}
	b.success("a") // three strikes become one
	b.strike("a", 1, errTest, now)
	if got := left(&b, now); got != lengths[1] {
		t.Errorf("after a success a ban lasts %v, want %v", got, lengths[1])
	}
	for range 3 {
		b.success("a")
	}
	b.strike("a", 1, errTest, now)
	if got := left(&b, now); got != lengths[0] {
		t.Errorf("after successes a ban lasts %v, want %v", got, lengths[0])
	}
	for range 99 {
		b.strike("a", 1, errTest, now)
	}
	if got := left(&b, now); got != banLongest {
		t.Errorf("the longest ban lasts %v, want %v", got, banLongest)
	}
}

func TestBans_HaveMercyWithAPeerThatWasStartedAnew(t *testing.T) {
	var b bans
	now := time.Unix(0, 0)
	b.strike("a", 1, errTest, now)
	if s := b.of("a", 1, now); !s.mercy || s.fresh {
		t.Errorf("after the first failure: %+v", s)
	}
	b.strike("a", 1, errTest, now)
	if s := b.of("a", 1, now); s.mercy {
		t.Errorf("after the second failure: %+v", s)
	}
	if s := b.of("a", 1, now.Add(mercyFirst)); !s.mercy || s.fresh {
		t.Errorf("some time after it: %+v", s)
	}
	if s := b.of("a", 2, now); !s.mercy || !s.fresh || s.banned == 0 {
		t.Errorf("another process: %+v", s)
	}
	for _, boot := range []uint64{0, 1} {
		if s := b.of("a", boot, now); s.fresh {
			t.Errorf("boot %d: %+v", boot, s)
		}
	}
	if s := b.of("b", 1, now); s != (standing{}) {
		t.Errorf("a peer without a failure: %+v", s)
	}
}

func TestBans_APauseIsShortAndNoBan(t *testing.T) {
	var b bans
	now := time.Unix(0, 0)
	for _, want := range []time.Duration{250 * time.Millisecond, 500 * time.Millisecond, time.Second, pauseLongest, pauseLongest} {
		b.pause("a", now)
		if s := b.of("a", 1, now); s.paused != want || s.banned != 0 || !b.any(now) {
			t.Errorf("%+v, want a pause of %v", s, want)
		}
	}
	b.strike("a", 1, errTest, now)
	if s := b.of("a", 1, now); s.banned != banFirst || s.why != errTest {
		t.Errorf("a failure after pauses: %+v", s)
	}
	b.success("a")
	b.pause("a", now)
	if s := b.of("a", 1, now); s.paused != pauseFirst || s.banned != 0 {
		t.Errorf("a pause after a success: %+v", s)
	}
}
