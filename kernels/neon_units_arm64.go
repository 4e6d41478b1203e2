package kernels

// neonStoreUnits stores a positive number of units of 32 and returns the largest scale, as float16 bits. What it stores
// for a unit that is not finite is anything.
//
//go:noescape
func neonStoreUnits(codes, scales *byte, x *float32, units int) uint32

// neonQueryUnits quantises a positive number of units of 32 and returns the largest magnitude as bits.
//
//go:noescape
func neonQueryUnits(codes *int8, scales *float32, starts *int32, x *float32, units int) uint32

func storeUnitsNEON(codes, scales []byte, x []float32) bool {
	units := len(x) / CacheUnit
	if units == 0 {
		return true
	}
	codes, scales = codes[:units*CacheUnit], scales[:2*units]
	return neonStoreUnits(&codes[0], &scales[0], &x[0], units) < halfInf
}

func quantiseQueryNEON(q *queries, i int, x []float32) bool {
	units := q.size / CacheUnit
	if units == 0 {
		return true
	}
	x = x[:units*CacheUnit]
	codes, scales, starts := q.codes[i*q.size:][:len(x)], q.scales[i*units:][:units], q.starts[i*units:][:units]
	return neonQueryUnits(&codes[0], &scales[0], &starts[0], &x[0], units) < infBits
}
