package gateway

import (
	"math"
	"time"

	"github.com/baichuan-node/baichuan-node/client"
)

// news is the key "baichuan" of a stream's chunks, for those who ask for it by stream_options.include_chain: who computes
// the answer, how fast, and what becomes of it.
type news struct {
	Chain    []client.HopInfo `json:"chain,omitempty"` // in the first chunk, and whenever it has changed
	Failover *client.Failover `json:"failover,omitempty"`
	Waiting  *waitingObject   `json:"waiting,omitempty"`
	Pace     float64          `json:"tokens_per_s,omitempty"` // of the newest tokens; in the last chunk, of all

	// MS is how long the steps have taken that were computed since the chunk before, and Hops where that time went.
	MS   float64          `json:"ms,omitempty"`
	Hops []client.HopTime `json:"hops,omitempty"`
}

// waitingObject says what keeps an answer that has begun.
type waitingObject struct {
	Missing []string `json:"missing"` // layers
	Busy    bool     `json:"busy"`    // somebody serves them and has no room
	ForMS   int64    `json:"for_ms"`
	GraceMS int64    `json:"grace_ms"` // after which the answer is given up
}

func waitingOf(w client.Waiting) *waitingObject {
	o := &waitingObject{Missing: []string{}, Busy: w.Busy, ForMS: w.For.Milliseconds(), GraceMS: w.Grace.Milliseconds()}
	for _, span := range w.Missing {
		o.Missing = append(o.Missing, span.String())
	}
	return o
}

// teller makes the news of one choice.
type teller struct {
	marks []mark // the newest, the oldest first
}

type mark struct {
	at    time.Time
	drawn int
}

// tell gives the news that come with a chunk, and those that come before it, one for each failover.
func (t *teller) tell(c client.Chunk, now time.Time) (before []*news, with *news) {
	for i := range c.News.Failovers {
		before = append(before, &news{Failover: &c.News.Failovers[i]})
	}
	t.marks = append(t.marks, mark{now, c.News.Drawn})
	if len(t.marks) > paceChunks {
		t.marks = t.marks[1:]
	}
	with = &news{Chain: c.News.Chain, Pace: t.pace(), Hops: client.SumHops(c.News.Steps)}
	for _, s := range c.News.Steps {
		with.MS += float64(s.Took.Microseconds()) / 1000
	}
	return before, with
}

// pace is the tokens a second since the oldest mark; 0: not known yet.
func (t *teller) pace() float64 {
	first, last := t.marks[0], t.marks[len(t.marks)-1]
	if d := last.at.Sub(first.at); d > 0 {
		return tenths(float64(last.drawn-first.drawn) / d.Seconds())
	}
	return 0
}

func tenths(x float64) float64 { return math.Round(10*x) / 10 }
