// Package sample turns logits into the id of the next token: penalty, order, top-k, top-p and the draw.
//
// It is the same code at the last hop of a chain, which keeps the candidates, and at the client, which draws from
// them: the seed and the position of the token decide the draw, so any holder of the logits draws the same token and
// a peer's draw can be checked. It has no randomness of its own, keeps no state and changes nothing that it is
// given. Every operation is pinned to the bit by NUMERICS "Sampling".
package sample

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/baichuan-node/baichuan-node/kernels"
)

// Params say how to sample. The zero value is refused by Validate: Penalty has to be set, to 1 for none.
type Params struct {
	Temperature float32 // divides the logits; below 2^-10 the best candidate is taken
	TopK        int     // how many candidates are kept at most; <= 0 or above MaxCandidates means MaxCandidates
	TopP        float64 // the share of the kept weight that suffices; 1 keeps all of it, 0 the best candidate alone
	Penalty     float32 // what tokens that have occurred are made less likely by; 1: not at all
}

// Validate reports every parameter that is out of range.
func (p Params) Validate() error {
	var errs []error
	if !(p.Temperature >= 0) || math.IsInf(float64(p.Temperature), 1) {
		errs = append(errs, fmt.Errorf("temperature %v, want 0 or more", p.Temperature))
	}
	if !(p.TopP >= 0 && p.TopP <= 1) {
		errs = append(errs, fmt.Errorf("top_p %v, want 0 to 1", p.TopP))
	}
	if !(p.Penalty > 0) || math.IsInf(float64(p.Penalty), 1) {
		errs = append(errs, fmt.Errorf("repetition penalty %v, want more than 0", p.Penalty))
	}
	return errors.Join(errs...)
}

// greedy says that the first candidate is taken. A temperature that is not a number is greedy too.
func (p Params) greedy() bool { return !(p.Temperature >= greedyBelow) }

// keep is how many candidates are kept at most.
func (p Params) keep() int {
	switch {
	case p.greedy():
		return 1
	case p.TopK <= 0 || p.TopK > MaxCandidates:
		return MaxCandidates
	}
	return p.TopK
}

// Candidate is a token that may be drawn.
type Candidate struct {
	ID             uint32
	Raw, Penalised float32 // its logit, as it was and after the penalty
}

// Candidates gives all tokens that sampling keeps, the best first: after the penalty the first TopK by logit (of equal
// ones the lower id first; -0 equals +0), of those the shortest prefix that has TopP of their weight. Greedy
// sampling keeps one.
//
//	logits (vocabulary)   history: the ids at lower positions, prompt included, in any order, repeats counted once
//
// It is empty only without logits. Logits are expected to be finite; one that is not a number counts as the lowest.
func Candidates(logits []float32, history []uint32, p Params) []Candidate {
	kept := best(logits, history, p)
	if len(kept) < 2 {
		return kept
	}
	sums := cumulate(kept, p)
	enough := p.TopP * sums[len(sums)-1]
	for i, c := range sums {
		if c >= enough {
			return kept[:i+1]
		}
	}
	return kept
}

// Draw gives the token at a position (its index in the sequence, prompt included): the first candidate whose
// cumulated weight is above u times that of all, u being made of the seed and the position. The candidates are
// those that Candidates keeps; there must be at least one.
func Draw(c []Candidate, p Params, seed uint64, position int) uint32 {
	if len(c) == 0 {
		panic("sample: Draw without candidates")
	}
	if p.greedy() {
		return c[0].ID
	}
	sums := cumulate(c, p)
	bar := uniform(seed, position) * sums[len(sums)-1]
	for i, s := range sums {
		if s > bar {
			return c[i].ID
		}
	}
	return c[0].ID // only where logits that are not finite made the sums so
}

// cumulate gives the running sums of the candidates' weights, Exp(l/T - l_0/T), in float64.
func cumulate(c []Candidate, p Params) []float64 {
	sums := make([]float64, len(c))
	first := c[0].Penalised / p.Temperature
	sum := 0.0
	for i := range c {
		z := c[i].Penalised / p.Temperature
		sum += float64(kernels.Exp(z - first))
		sums[i] = sum
	}
	return sums
}

// best gives the candidates before top-p, in order. Those that have occurred are looked at first, so that the long way
// through the vocabulary is one comparison with a logit.
func best(logits []float32, history []uint32, p Params) []Candidate {
	if len(logits) == 0 {
		return nil
	}
	occurred := slices.Clone(history)
	slices.Sort(occurred)
	occurred = slices.Compact(occurred)
	end, _ := slices.BinarySearch(occurred, uint32(len(logits)))
	occurred = occurred[:end] // an id that has no logit is nothing to penalise
	top := newTop(min(p.keep(), len(logits)))
	for _, id := range occurred {
		top.add(rank(penalise(logits[id], p.Penalty), id))
	}
	for i := notBelow(logits, 0, top.bar()); i < len(logits); i = notBelow(logits, i+1, top.bar()) {
		id := uint32(i)
		if _, ok := slices.BinarySearch(occurred, id); !ok {
			top.add(rank(logits[i], id))
		}
	}
	ranks := top.sorted()
	kept := make([]Candidate, len(ranks))
	for i, r := range ranks {
		id := ^uint32(r)
		kept[i] = Candidate{ID: id, Raw: logits[id], Penalised: logits[id]}
		if _, ok := slices.BinarySearch(occurred, id); ok {
			kept[i].Penalised = penalise(logits[id], p.Penalty)
		}
	}
	return kept
}

// penalise makes a token that has occurred less likely.
func penalise(l, penalty float32) float32 {
	if l < 0 {
		return float32(l * penalty)
	}
	return float32(l / penalty)
}
