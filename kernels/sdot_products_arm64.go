package kernels

// sdotTile is how many rows of activations share the unpacked weights: with 8 rows of a panel, 16 accumulators.
const sdotTile = 8

// useSDOTProducts puts its functions into s.
func useSDOTProducts(s *set) {
	s.tile = sdotTile
	s.mul = eachPanel(mulSDOT)
}

// mulSDOT is mulPanel.
func mulSDOT(dst []float32, p panel, g group) {
	dst, codes, scales := p.operands(dst, g)
	if g.blocks == 0 {
		return
	}
	mulPanelSDOT(&dst[0], &codes[0], &scales[0], &g.codes[0], &g.scales[0], g.rows, g.blocks, p.format == NF4)
}

//go:noescape
func mulPanelSDOT(dst *float32, codes, scales *byte, acts *int8, actScales *float32, rows, blocks int, nf4 bool)
