package sample

// golden is 2^64 divided by the golden ratio, splitmix64's step.
const golden = 0x9E3779B97F4A7C15

// uniform gives a number of [0, 1), a multiple of 2^-53, for a token's position under a seed.
func uniform(seed uint64, position int) float64 {
	x := mix(mix(seed+golden) + uint64(position)*golden)
	return float64(x>>11) * 0x1p-53
}

// mix is splitmix64's finaliser. Source: Steele, Lea and Flood 2014, as published by Vigna.
func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	return z ^ z>>31
}
