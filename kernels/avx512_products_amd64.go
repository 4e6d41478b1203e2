package kernels

// Products in AVX-512 (F, BW, DQ, VL) with VNNI. How the loops work is said in the assembly.

const (
	// avx512Tile is how many rows share one unpacking of weights: 12 sums of a block and 12 of a segment take 24 of the
	// 32 registers. Fewer rows have loops of their own.
	avx512Tile = 12
	// avx512Wide is how many rows of 16-bit weights and of x share their loads: 16 sums.
	avx512Wide = 4
)

// useAVX512Products puts its functions into s.
func useAVX512Products(s *set) {
	s.tile = avx512Tile
	s.quantise = quantiseRowAVX512
	s.mul = mulAVX512
	s.mulWide = mulWideAVX512
}

// quantiseRowAVX512 is quantiseRow.
func quantiseRowAVX512(a *activations, i int, x []float32) bool {
	g, r := a.row(i)
	if g.blocks == 0 {
		return true
	}
	x = x[:g.blocks*Block]
	return quantiseAVX512(&g.codes[r*quarter], &g.scales[r], &g.starts[r], &x[0], g.rows, g.blocks) < infBits
}

//go:noescape
func quantiseAVX512(codes *int8, scales *float32, starts *int32, x *float32, rows, blocks int) (most uint32)

// mulAVX512 is mulPanel, panel after panel.
func mulAVX512(dst []float32, p panels, g group) {
	if g.blocks == 0 {
		clear(dst)
		return
	}
	n := g.rows * g.blocks
	dst, weightScales := dst[:p.n*g.rows*PanelRows], p.scales[:p.n*g.blocks*scaleBlockBytes]
	acts, scales, starts := g.codes[:n*Block], g.scales[:n], g.starts[:n]
	if p.format == NF4 {
		codes := p.codes[:p.n*g.blocks*nf4BlockBytes]
		mulNF4AVX512(&dst[0], &codes[0], &weightScales[0], &acts[0], &scales[0], &starts[0], g.rows, g.blocks, p.n)
		return
	}
	codes := p.codes[:p.n*g.blocks*int8BlockBytes]
	mulInt8AVX512(&dst[0], &codes[0], &weightScales[0], &acts[0], &scales[0], &starts[0], g.rows, g.blocks, p.n)
}

//go:noescape
func mulNF4AVX512(dst *float32, codes, weightScales *byte, acts *int8, scales *float32, starts *int32, rows, blocks, panels int)

//go:noescape
func mulInt8AVX512(dst *float32, codes, weightScales *byte, acts *int8, scales *float32, starts *int32, rows, blocks, panels int)

// mulWideAVX512 is mulWide, 4 rows of weights and 4 of x at a time.
func mulWideAVX512(dst []float32, f Format, w []byte, rows int, x []float32, n int) {
	k := len(x) / n
	if k == 0 {
		mulWide(dst, f, w, rows, x, n)
		return
	}
	dst, w, x = dst[:n*PanelRows], w[:2*rows*k], x[:n*k]
	whole := rows - rows%avx512Wide
	for i := 0; i < n; i += avx512Wide {
		xs := min(avx512Wide, n-i)
		for r := 0; r < whole; r += avx512Wide {
			mulFourAVX512(&dst[i*PanelRows+r], f, &w[2*r*k], 2*k, &x[i*k], k, xs)
		}
		for r := whole; r < rows; r++ {
			var four [avx512Wide * PanelRows]float32 // the products of one row of weights, each four times
			mulFourAVX512(&four[0], f, &w[2*r*k], 0, &x[i*k], k, xs)
			for j := range xs {
				dst[(i+j)*PanelRows+r] = four[j*PanelRows]
			}
		}
	}
}

// mulFourAVX512 multiplies 4 rows of weights that are stride bytes apart.
func mulFourAVX512(dst *float32, f Format, w *byte, stride int, x *float32, k, n int) {
	if f == BF16 {
		mulBFloatAVX512(dst, w, stride, x, k, n)
	} else {
		mulHalfAVX512(dst, w, stride, x, k, n)
	}
}

//go:noescape
func mulHalfAVX512(dst *float32, w *byte, stride int, x *float32, k, n int)

//go:noescape
func mulBFloatAVX512(dst *float32, w *byte, stride int, x *float32, k, n int)
