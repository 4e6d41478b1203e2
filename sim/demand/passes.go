package demand

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// Passes is how many tokens nodes computed at once.
type Passes struct {
	Passes int     `json:"passes"`
	Tokens int     `json:"tokens"` // of all passes
	Sizes  []Size  `json:"sizes"`
	Time   float64 `json:"seconds"` // that they took
}

// Size is the passes of more tokens than the size before has, and of UpTo at most.
type Size struct {
	UpTo   string `json:"up_to"` // "+Inf": without a bound
	Passes int    `json:"passes"`
}

// Mean is the tokens of a pass.
func (p Passes) Mean() float64 { return float64(p.Tokens) / max(float64(p.Passes), 1) }

func (p Passes) plus(q Passes) Passes  { return p.with(q, 1) }
func (p Passes) since(q Passes) Passes { return p.with(q, -1) }

// with adds q, so many times. All nodes have the same sizes.
func (p Passes) with(q Passes, times int) Passes {
	sum := Passes{
		Passes: p.Passes + times*q.Passes, Tokens: p.Tokens + times*q.Tokens, Time: p.Time + float64(times)*q.Time,
	}
	for i := range max(len(p.Sizes), len(q.Sizes)) {
		var s Size
		if i < len(p.Sizes) {
			s = p.Sizes[i]
		}
		if i < len(q.Sizes) {
			s.UpTo = q.Sizes[i].UpTo
			s.Passes += times * q.Sizes[i].Passes
		}
		sum.Sizes = append(sum.Sizes, s)
	}
	return sum
}

// countedBy reads a node's metrics.
func countedBy(ctx context.Context, url string) (p Passes, err error) {
	ctx, cancel := context.WithTimeout(ctx, countLimit)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return p, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return p, err
	}
	defer response.Body.Close()
	return parsePasses(io.LimitReader(response.Body, maxMetrics))
}

// parsePasses reads Prometheus' text form.
func parsePasses(r io.Reader) (p Passes, err error) {
	lines := bufio.NewScanner(r)
	upTo := 0 // tokens of passes below the bucket's bound
	for lines.Scan() {
		name, text, _ := strings.Cut(lines.Text(), " ")
		name, isOurs := strings.CutPrefix(name, "baichuan_node_")
		if !isOurs {
			continue
		}
		value, err := strconv.ParseFloat(text, 64)
		if err != nil {
			continue // of another kind
		}
		switch bound, isBucket := strings.CutPrefix(name, `batch_rows_bucket{le="`); {
		case isBucket:
			p.Sizes = append(p.Sizes, Size{UpTo: strings.TrimSuffix(bound, `"}`), Passes: int(value) - upTo})
			upTo = int(value)
		case name == "batch_rows_count":
			p.Passes = int(value)
		case name == "batch_rows_sum":
			p.Tokens = int(value)
		case name == "pass_seconds_sum":
			p.Time = value
		}
	}
	if len(p.Sizes) == 0 {
		return p, fmt.Errorf("they tell nothing of passes: %w", io.ErrUnexpectedEOF)
	}
	return p, lines.Err()
}
