package sim

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/baichuan-node/baichuan-node/client"
)

// Report is what became of a scenario, in the form of `sim --json`.
type Report struct {
	Scenario string  `json:"scenario"`
	Is       string  `json:"is"`
	Long     bool    `json:"long"`
	Steps    []Step  `json:"steps"`
	Seconds  float64 `json:"seconds"`
}

// Step is a part of a scenario, with a swarm of its own.
type Step struct {
	Name      string            `json:"name"`
	Answers   int               `json:"answers"`
	Tokens    int               `json:"tokens"`   // of prompts and answers, that a healthy node computes once
	StallMS   int64             `json:"stall_ms"` // the longest wait for a token after an answer's first
	Failovers []client.Failover `json:"failovers"`
	Nodes     []Node            `json:"nodes"`
	Events    map[string]int    `json:"events,omitempty"` // how often something happened
	Speeds    []Speed           `json:"speeds,omitempty"`
	Uses      []Use             `json:"uses,omitempty"`
	Pace      *Pace             `json:"pace,omitempty"`
	Floods    []Flood           `json:"floods,omitempty"`
	Notes     []string          `json:"notes,omitempty"` // what happened and how long it took, in sentences
	Wrong     []string          `json:"wrong"`           // what was not as it should be, each fault once
	faults    []fault           // those of Wrong
}

// fault is something that was wrong, once or more often.
type fault struct {
	kind, first string // what is the same each time; the words of the first
	times       int
}

// Node is a process and what it has counted.
type Node struct {
	Peer     string `json:"peer"`
	Layers   string `json:"layers"`
	PID      int    `json:"pid"`
	Fate     string `json:"fate"` // killed, hung, left, or why it is silent; empty: it is healthy
	Counters `json:"counters"`
}

// Speed is how fast answers are made while some of what the hops send is lost.
type Speed struct {
	Loss       float64 `json:"loss"`              // the probability that one send is lost
	PerSecond  float64 `json:"tokens_per_second"` // the median
	Repairs    int     `json:"push_repairs_total"`
	Part       float64 `json:"part"`                  // of the speed at loss Of, the median
	Of         float64 `json:"of"`                    // 0: nothing is lost
	Least      float64 `json:"least"`                 // that Part should be
	Restarting float64 `json:"restarting_per_second"` // as computed for one that begins anew whenever a send is lost

	// Steps/s that Petals published (https://arxiv.org/abs/2312.08361), and those of restarting there. 0: not told, or it
	// does not end.
	Petals           float64 `json:"petals,omitempty"`
	PetalsRestarting float64 `json:"petals_restarting,omitempty"`
}

// Pace is how long a token took over distances, beside what they alone take.
type Pace struct {
	TokenMS     float64 `json:"token_ms"`     // the median of the answer's
	P95MS       float64 `json:"p95_ms"`       //
	PredictedMS float64 `json:"predicted_ms"` // one way from each to the next, and back to the client
	PlannedMS   float64 `json:"planned_ms"`   // what a plan predicts, computing included
}

// Flood is what an honest client notices of what another peer does to its node: how long its tokens take with and without.
type Flood struct {
	Attack      string  `json:"attack"`
	Did         int64   `json:"did"`     // so often
	Refused     int64   `json:"refused"` // and so often in vain
	AloneMS     float64 `json:"alone_ms"`
	BesideMS    float64 `json:"beside_ms"`
	AloneP95MS  float64 `json:"alone_p95_ms"`
	BesideP95MS float64 `json:"beside_p95_ms"`
	Resident    int     `json:"resident_bytes"` // of the node, at most
	Cores       float64 `json:"cores"`          // that the node took, on average
}

// Use is what a process holds of the machine while nobody wants anything of it: before a soak, and after it.
type Use struct {
	Process string `json:"process"`
	Before  Gauges `json:"before"` // those of a node that came later: of the first with its layers
	After   Gauges `json:"after"`
}

// Gauges are more of a node's metrics, or the same of another process. Of the heap it is what a collection has left.
type Gauges struct {
	Goroutines int `json:"go_goroutines"`
	Heap       int `json:"go_memstats_heap_alloc_bytes"`
	Resident   int `json:"process_resident_memory_bytes"`
	Files      int `json:"process_open_fds"`
	Streams    int `json:"baichuan_node_streams"`
	Sessions   int `json:"baichuan_node_sessions"`
	Cache      int `json:"baichuan_node_cache_bytes"`
}

// Counters are some of a node's metrics.
type Counters struct {
	Computed   int `json:"tokens_total"`
	Replayed   int `json:"replayed_tokens_total"`
	PrefixHits int `json:"prefix_hit_tokens_total"`
	Pages      int `json:"pages_handed_total"`
	Repeated   int `json:"ledger_answers_total"`
	Repairs    int `json:"push_repairs_total"`
}

// Wrong tells all that was not as it should be.
func (r *Report) Wrong() error {
	var errs []error
	for _, s := range r.Steps {
		for _, w := range s.Wrong {
			errs = append(errs, fmt.Errorf("%s: %s: %s", r.Scenario, s.Name, w))
		}
	}
	return errors.Join(errs...)
}

// replayed is how many tokens were computed again, as the clients know it.
func (s *Step) replayed() (n int) {
	for _, f := range s.Failovers {
		n += f.Replayed
	}
	return n
}

// wrong takes down a fault. One that differs from an earlier one in numbers alone is counted, and of too many kinds the rest
// is left out.
func (s *Step) wrong(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	kind := strings.Map(func(r rune) rune {
		if unicode.IsDigit(r) {
			return -1
		}
		return r
	}, text)
	i := slices.IndexFunc(s.faults, func(f fault) bool { return f.kind == kind })
	switch {
	case i >= 0:
		f := &s.faults[i]
		f.times++
		s.Wrong[i] = fmt.Sprintf("%s (%d times)", f.first, f.times)
	case len(s.faults) < maxFaults:
		s.faults, s.Wrong = append(s.faults, fault{kind, text, 1}), append(s.Wrong, text)
	case len(s.Wrong) == maxFaults:
		s.Wrong = append(s.Wrong, "and more")
	}
}

// waited takes down a wait for a token.
func (s *Step) waited(d time.Duration) { s.StallMS = max(s.StallMS, d.Milliseconds()) }
