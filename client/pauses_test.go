package client

import (
	"testing"
	"time"
)

func TestPauses_GrowUntilThePeerWorks(t *testing.T) {
	var x pauses
	now := time.Unix(0, 0)
	for _, want := range []time.Duration{pauseFirst, 2 * pauseFirst, 4 * pauseFirst, pauseLongest, pauseLongest} {
		x.begin("a", now)
		if got := x.left("a", now); got != want {
			t.Errorf("a pause of %v, want %v", got, want)
		}
		now = now.Add(want)
		if got := x.left("a", now); got != 0 {
			t.Errorf("%v are left of a pause that is over", got)
		}
	}
	x.end("a")
	x.begin("a", now)
	if got := x.left("a", now); got != pauseFirst {
		t.Errorf("after it has worked a pause of %v, want %v", got, pauseFirst)
	}
	if got := x.left("b", now); got != 0 {
		t.Errorf("a peer that asked for none has a pause of %v", got)
	}
}
