package kernels

import "math"

// neonBias, neonLargest and neonSoftWeights work on n numbers, a positive multiple of 16. neonSoftWeights adds the weights
// to the lanes and returns their sum.

//go:noescape
func neonBias(s *float32, n int, slope float32, first int)

//go:noescape
func neonLargest(s *float32, n int) float32

//go:noescape
func neonSoftWeights(s *float32, n int, most float32, lanes *[Lanes]float32) float32

func biasNEON(s []float32, slope float32, first int) {
	whole := len(s) / neonStep * neonStep
	if whole > 0 {
		neonBias(&s[0], whole, slope, first)
	}
	bias(s[whole:], slope, first+whole)
}

func largestNEON(s []float32) float32 {
	whole := len(s) / neonStep * neonStep
	most := largest(s[whole:])
	if whole > 0 {
		most = max(most, neonLargest(&s[0], whole)) // neither is a NaN
	}
	if most == 0 {
		return largest(s) // the first zero decides about the sign
	}
	return most
}

func softWeightsNEON(s []float32, most float32) float32 {
	var lanes [Lanes]float32
	var sum float32
	whole := len(s) / neonStep * neonStep
	if whole > 0 {
		sum = neonSoftWeights(&s[0], whole, most, &lanes)
	}
	if whole < len(s) {
		var rest [neonStep]float32
		for j := copy(rest[:], s[whole:]); j < len(rest); j++ {
			rest[j] = float32(math.Inf(-1)) // whose weight is 0; a NaN if all weights are
		}
		sum = neonSoftWeights(&rest[0], len(rest), most, &lanes)
		copy(s[whole:], rest[:])
	}
	return sum
}
