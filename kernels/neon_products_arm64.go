package kernels

// neonTile is how many rows of activations share the unpacked weights: with 8 rows of a panel, 16 accumulators of two
// lanes a number.
const neonTile = 4

// useNEONProducts puts its functions into s.
func useNEONProducts(s *set) {
	s.tile = neonTile
	s.quantise = quantiseNEON
	s.mul = eachPanel(mulNEON)
	s.mulWide = mulWideNEON
}

// quantiseNEON is quantiseRow.
func quantiseNEON(a *activations, i int, x []float32) bool {
	g, r := a.row(i)
	if g.blocks == 0 {
		return true
	}
	x = x[:g.blocks*Block]
	last := (g.blocks-1)*g.rows + r
	codes := g.codes[r*quarter:][:g.blocks*g.rows*Block-r*quarter]
	scales, starts := g.scales[r:last+1], g.starts[r:last+1]
	return quantiseBlocksNEON(&codes[0], &scales[0], &starts[0], &x[0], g.blocks, g.rows)
}

//go:noescape
func quantiseBlocksNEON(codes *int8, scales *float32, starts *int32, x *float32, blocks, rows int) bool

// mulNEON is mulPanel.
func mulNEON(dst []float32, p panel, g group) {
	dst, codes, scales := p.operands(dst, g)
	if g.blocks == 0 {
		return
	}
	mulPanelNEON(&dst[0], &codes[0], &scales[0], &g.codes[0], &g.scales[0], g.rows, g.blocks, p.format == NF4)
}

// operands clears dst and cuts what a product of a panel with a group writes and reads to its length.
func (p panel) operands(dst []float32, g group) (cleared []float32, codes, scales []byte) {
	size := int8BlockBytes
	if p.format == NF4 {
		size = nf4BlockBytes
	}
	dst = dst[:g.rows*PanelRows]
	clear(dst)
	return dst, p.codes[:g.blocks*size], p.scales[:g.blocks*scaleBlockBytes]
}

//go:noescape
func mulPanelNEON(dst *float32, codes, scales *byte, acts *int8, actScales *float32, rows, blocks int, nf4 bool)

// wideRows is how many rows of x share the widened weights.
const wideRows = 4

// mulWideNEON is mulWide.
func mulWideNEON(dst []float32, f Format, w []byte, rows int, x []float32, n int) {
	k := len(x) / n
	if k == 0 || k%Lanes != 0 {
		mulWide(dst, f, w, rows, x, n)
		return
	}
	w, x, dst = w[:2*rows*k], x[:n*k], dst[:(n-1)*PanelRows+rows]
	for i := 0; i < n; i += wideRows {
		for r := range rows {
			dotWideNEON(&dst[i*PanelRows+r], &w[2*r*k], &x[i*k], k, min(wideRows, n-i), f == BF16)
		}
	}
}

//go:noescape
func dotWideNEON(dst *float32, w *byte, x *float32, k, n int, bf16 bool)
