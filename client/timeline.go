package client

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/baichuan-node/baichuan-node/client/chain"
	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
)

// StepTime is how long a step took that an answer waited for, and where the time went, in the form of `generate --json`.
//
// Took is by this process's clock. Clocks of peers tell another time, so a hop says how long it took and not when, and is
// believed as far as that much time has gone by here. What is left was spent on the ways: its sum is measured, and divided
// among them by the round trips that are known.
type StepTime struct {
	Token  int           // of the answer, which is drawn when the step is done; those of a prompt in several steps are all 0
	Tokens int           // that were computed: one, or a piece of the prompt
	At     time.Duration // when it was sent, since the answer was asked for
	Took   time.Duration // from then until its result was there
	Stall  time.Duration // of it, until it was sent for the last time: peers had failed
	Hops   []HopTime     // what came after
}

// HopTime is where a hop's part of a step's time went, in the form of `generate --json`.
type HopTime struct {
	Layers  protocol.Span
	Queue   time.Duration // it waited there: as the peer says
	Compute time.Duration // of the passes that it was part of: as the peer says
	Network time.Duration // the way to it, reading and writing included; of the last hop the way back as well
}

// ms is a duration in the form of `generate --json`: milliseconds with three digits behind the point.
func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// MarshalJSON gives {"token","tokens","at_ms","ms","stall_ms","hops":[...]}; stall_ms only where there was one.
func (s StepTime) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Token  int       `json:"token"`
		Tokens int       `json:"tokens"`
		At     float64   `json:"at_ms"`
		Took   float64   `json:"ms"`
		Stall  float64   `json:"stall_ms,omitempty"`
		Hops   []HopTime `json:"hops"`
	}{s.Token, s.Tokens, ms(s.At), ms(s.Took), ms(s.Stall), append([]HopTime{}, s.Hops...)})
}

// MarshalJSON gives {"layers","queue_ms","compute_ms","network_ms"}.
func (h HopTime) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Layers  string  `json:"layers"`
		Queue   float64 `json:"queue_ms"`
		Compute float64 `json:"compute_ms"`
		Network float64 `json:"network_ms"`
	}{h.Layers.String(), ms(h.Queue), ms(h.Compute), ms(h.Network)})
}

// SumHops adds up what the hops of some steps took, those that compute the same layers, in the order of the layers.
func SumHops(steps []StepTime) []HopTime {
	sums := []HopTime{}
	for _, s := range steps {
		for _, h := range s.Hops {
			i := slices.IndexFunc(sums, func(x HopTime) bool { return x.Layers == h.Layers })
			if i < 0 {
				sums = append(sums, h)
				continue
			}
			sums[i].Queue += h.Queue
			sums[i].Compute += h.Compute
			sums[i].Network += h.Network
		}
	}
	slices.SortStableFunc(sums, func(a, b HopTime) int { return a.Layers.Start - b.Layers.Start })
	return sums
}

// Timeline is the steps of an answer. Of a long one it keeps every second, then every fourth, and so on, so that there are
// never more than maxTimeline. The zero value is empty.
type Timeline struct {
	steps []StepTime
	every int // of so many steps one is kept; 0: 1
	seen  int
}

// Add appends steps.
func (t *Timeline) Add(steps ...StepTime) {
	t.every = max(t.every, 1)
	for _, s := range steps {
		if t.seen%t.every == 0 {
			if len(t.steps) == maxTimeline {
				t.thin()
			}
			t.steps = append(t.steps, s)
		}
		t.seen++
	}
}

// thin drops every second step. The number that are kept is even, so the next one is to be kept.
func (t *Timeline) thin() {
	for i := range maxTimeline / 2 {
		t.steps[i] = t.steps[2*i]
	}
	clear(t.steps[maxTimeline/2:])
	t.steps = t.steps[:maxTimeline/2]
	t.every *= 2
}

// MarshalJSON gives a list of steps.
func (t Timeline) MarshalJSON() ([]byte, error) {
	return json.Marshal(append([]StepTime{}, t.steps...))
}

// timed tells whoever wants to know where the time of some steps went.
func (s *session) timed(steps []chain.Stepped, told func(sent time.Time, t StepTime)) {
	if told == nil {
		return
	}
	if s.ways == nil {
		s.ways = routing.Ways(s.hops, s.client.directory.Measures())
	}
	for _, x := range steps {
		told(s.link.start.Add(x.First), stepTime(x, s.ways))
	}
}

// stepTime is a step's time. ways are those of a chain that it may have gone along, and may not.
func stepTime(x chain.Stepped, ways []time.Duration) StepTime {
	t := StepTime{Tokens: x.Tokens, Took: x.Done - x.First, Stall: x.Latest - x.First, Hops: make([]HopTime, len(x.Hops))}
	left := x.Done - x.Latest
	for i, h := range x.Hops {
		t.Hops[i] = HopTime{Layers: h.Span, Queue: h.Waited, Compute: h.Computed}
		left -= h.Waited + h.Computed
	}
	if len(ways) != len(x.Hops)+1 {
		ways = make([]time.Duration, len(x.Hops)+1)
	}
	for i, part := range divided(left, ways) {
		t.Hops[min(i, len(x.Hops)-1)].Network += part
	}
	return t
}

// divided divides a time among ways as long as they are; all alike where nothing is known of them.
func divided(d time.Duration, ways []time.Duration) []time.Duration {
	parts := make([]time.Duration, len(ways))
	var sum time.Duration
	for _, w := range ways {
		sum += w
	}
	for i, w := range ways {
		if sum > 0 {
			parts[i] = time.Duration(float64(d) * (float64(w) / float64(sum)))
		} else {
			parts[i] = d / time.Duration(len(ways))
		}
	}
	return parts
}
