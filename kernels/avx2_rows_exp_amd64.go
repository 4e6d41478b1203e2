package kernels

// What is made of Exp: swiGLU of the rows and softWeights of attention.

//go:noescape
func swiGLULoopAVX2(dst, gate, up *float32, n int)

//go:noescape
func softWeightsLoopAVX2(lanes *[Lanes]float32, s *float32, n int, most float32)

func swiGLUAVX2(dst, gate, up []float32) {
	gate, up = gate[:len(dst)], up[:len(dst)]
	n := len(dst) &^ (vector - 1)
	if n > 0 {
		swiGLULoopAVX2(&dst[0], &gate[0], &up[0], n)
	}
	swiGLU(dst[n:], gate[n:], up[n:])
}

func softWeightsAVX2(s []float32, most float32) float32 {
	if len(s) == 0 {
		return 0
	}
	var lanes [Lanes]float32
	softWeightsLoopAVX2(&lanes, &s[0], len(s), most)
	return sumLanes(&lanes)
}
