package sample

import (
	"math"
	"slices"
)

// rank puts the order of candidates into one number: a candidate that comes earlier has the greater one. The upper
// half orders by logit, the lower is the complement of the id. -0 ranks as +0, and what is not a number below all.
func rank(logit float32, id uint32) uint64 {
	if logit == 0 {
		logit = 0 // -0 too
	}
	var high uint32
	switch bits := math.Float32bits(logit); {
	case logit != logit:
		high = 0
	case bits>>31 == 0:
		high = bits | 1<<31
	default:
		high = ^bits
	}
	return uint64(high)<<32 | uint64(^id)
}

// top keeps the greatest ranks that it is given: a heap with the least of them on top. Nearly all of a vocabulary's
// logits are below that and cost one comparison.
type top struct {
	heap []uint64
	k    int
}

func newTop(k int) *top { return &top{heap: make([]uint64, 0, k), k: k} }

// add takes in a rank.
func (t *top) add(r uint64) {
	switch {
	case len(t.heap) < t.k:
		t.heap = append(t.heap, r)
		if len(t.heap) == t.k {
			for j := t.k/2 - 1; j >= 0; j-- {
				sink(t.heap, j)
			}
		}
	case r > t.heap[0]:
		t.heap[0] = r
		sink(t.heap, 0)
	}
}

// bar is a logit below which nothing is kept any more. It is not a number as long as everything is.
func (t *top) bar() float32 {
	if len(t.heap) < t.k {
		return float32(math.NaN())
	}
	return logitOf(t.heap[0])
}

// sorted gives the kept ranks, the greatest first.
func (t *top) sorted() []uint64 {
	slices.SortFunc(t.heap, func(a, b uint64) int {
		if a > b {
			return -1
		}
		return 1 // ranks are distinct: each holds its id
	})
	return t.heap
}

// logitOf is the logit in a rank.
func logitOf(r uint64) float32 {
	high := uint32(r >> 32)
	switch {
	case high == 0:
		return float32(math.NaN())
	case high>>31 == 1:
		return math.Float32frombits(high &^ (1 << 31))
	}
	return math.Float32frombits(^high)
}

// notBelow is the first index from i on whose logit is not below the bar, or len(logits). A bar that is not a number is
// above nothing; a logit that is not a number is below every other bar.
func notBelow(logits []float32, i int, bar float32) int {
	if bar != bar {
		return min(i, len(logits))
	}
	for ; i+4 <= len(logits); i += 4 {
		l := logits[i : i+4 : i+4]
		if l[0] >= bar || l[1] >= bar || l[2] >= bar || l[3] >= bar {
			break
		}
	}
	for ; i < len(logits) && !(logits[i] >= bar); i++ {
	}
	return i
}

// sink restores the heap below i.
func sink(heap []uint64, i int) {
	for {
		least := i
		for _, child := range [2]int{2*i + 1, 2*i + 2} {
			if child < len(heap) && heap[child] < heap[least] {
				least = child
			}
		}
		if least == i {
			return
		}
		heap[i], heap[least] = heap[least], heap[i]
		i = least
	}
}
