package kernels

// useAVXVNNIProducts puts its functions into s.
func useAVXVNNIProducts(s *set) { s.mul = eachPanel(mulVNNI) }

// mulVNNI is mulPanel, for groups of up to avx2Tile rows.
func mulVNNI(dst []float32, p panel, g group) {
	if g.rows == 0 || g.blocks == 0 {
		clear(dst)
		return
	}
	dst = dst[:g.rows*PanelRows]
	codes, scales := p.codes[:p.codeBytes(g.blocks)], p.scales[:g.blocks*scaleBlockBytes]
	n := g.blocks * g.rows
	acts, actScales, starts := g.codes[:n*Block], g.scales[:n], g.starts[:n]
	switch {
	case g.rows > avx2Tile:
		panic("kernels: a group has more rows than a tile")
	case g.rows > 1:
		clear(dst)
		var work tileWork
		addRowsVNNI(&dst[0], &codes[0], len(codes)/g.blocks, &scales[0], &acts[0], &actScales[0], &starts[0],
			g.blocks, g.rows, &work)
	case p.format == NF4:
		nf4RowVNNI(&dst[0], &codes[0], &scales[0], &acts[0], &actScales[0], &starts[0], g.blocks)
	default:
		int8RowVNNI(&dst[0], &codes[0], &scales[0], &acts[0], &actScales[0], &starts[0], g.blocks)
	}
}

//go:noescape
func nf4RowVNNI(dst *float32, codes, scales *byte, acts *int8, actScales *float32, starts *int32, blocks int)

//go:noescape
func int8RowVNNI(dst *float32, codes, scales *byte, acts *int8, actScales *float32, starts *int32, blocks int)

//go:noescape
func addRowsVNNI(dst *float32, codes *byte, blockBytes int, scales *byte, acts *int8, actScales *float32,
	starts *int32, blocks, rows int, work *tileWork)
