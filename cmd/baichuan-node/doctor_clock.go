package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/baichuan-node/baichuan-node/routing"
)

// examineClock compares this machine's clock with those of the peers that serve: the sequence of an offer is what its peer's
// clock said when it was made. Nothing that is computed or kept depends on a clock, but QUIC's certificates do.
func examineClock(now time.Time, seen []routing.Seen) finding {
	f := finding{Name: "clock", OK: true, Found: now.Format("2006-01-02 15:04 MST")}
	if len(seen) == 0 {
		f.Found += "; only other peers can tell whether that is right"
		return f
	}
	ahead := make([]time.Duration, len(seen))
	for i, s := range seen {
		ahead[i] = now.Sub(time.UnixMilli(int64(min(s.Offer.Sequence, maxClock))).Add(s.Age))
	}
	slices.Sort(ahead)
	off := ahead[len(ahead)/2]
	switch peers := counted(len(seen), "peer"); {
	case off.Abs() < clockSlack:
		f.Found += "; so say " + peers
	case off > 0:
		f.Found += fmt.Sprintf("; that is %v ahead of %s", off.Round(time.Minute), peers)
	default:
		f.Found += fmt.Sprintf("; that is %v behind %s", -off.Round(time.Minute), peers)
	}
	if off.Abs() >= clockSlack {
		f.Remedy = "set this machine's clock, if it is not theirs that are wrong: holes into NATs can't be punched by QUIC between clocks that differ by an hour"
	}
	return f
}
