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

// topRanks gives the k greatest of n ranks, the greatest first. They are asked for once each, in order.
//
// It is a heap with the least of the kept on top: nearly all of a vocabulary's logits are below that and cost one
// comparison.
func topRanks(n, k int, at func(int) uint64) []uint64 {
	k = min(k, n)
	heap := make([]uint64, 0, k)
	for i := range n {
		r := at(i)
		switch {
		case len(heap) < k:
			heap = append(heap, r)
			if len(heap) == k {
				for j := k/2 - 1; j >= 0; j-- {
					sink(heap, j)
				}
			}
		case r > heap[0]:
			heap[0] = r
			sink(heap, 0)
		}
	}
	slices.SortFunc(heap, func(a, b uint64) int {
		if a > b {
			return -1
		}
		return 1 // ranks are distinct: each holds its id
	})
	return heap
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
