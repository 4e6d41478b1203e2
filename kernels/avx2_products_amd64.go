package kernels

// useAVX2Products puts its functions into s.
func useAVX2Products(s *set) {
	s.tile = avx2Tile
	s.quantise, s.mul, s.mulWide = quantiseAVX2, eachPanel(mulAVX2), mulWideAVX2
}

// avx2Tile is how many rows share one unpacking of a block of weights, which costs some 5 % of the products at 24. A tile of
// the longest rows of real models (24 x 13,696 x 16) takes some 80 us, which nothing can interrupt.
const avx2Tile = 24

// tileWork is what the product of a panel with several rows needs beside its arguments: the term scales of a block of
// weights, the rows' sums of the current segment, the block's weights, and the rows' activations as pairs. Only assembly
// looks into it: tile_amd64.h has the offsets.
type tileWork [4*PanelRows + 4*avx2Tile*PanelRows + 2*PanelRows*Block + 2*avx2Tile*Block]byte

// mulAVX2 is mulPanel.
func mulAVX2(dst []float32, p panel, g group) {
	if g.rows == 0 || g.blocks == 0 {
		clear(dst)
		return
	}
	dst = dst[:g.rows*PanelRows]
	codes, scales := p.codes[:p.codeBytes(g.blocks)], p.scales[:g.blocks*scaleBlockBytes]
	acts, actScales := g.codes[:g.blocks*g.rows*Block], g.scales[:g.blocks*g.rows]
	starts := g.starts[:g.blocks*g.rows]
	switch {
	case g.rows > avx2Tile:
		panic("kernels: a group has more rows than a tile")
	case g.rows > 1:
		clear(dst)
		var work tileWork
		addRowsAVX2(&dst[0], &codes[0], len(codes)/g.blocks, &scales[0], &acts[0], &actScales[0], &starts[0],
			g.blocks, g.rows, &work)
	case p.format == NF4:
		nf4RowAVX2(&dst[0], &codes[0], &scales[0], &acts[0], &actScales[0], g.blocks)
	default:
		int8RowAVX2(&dst[0], &codes[0], &scales[0], &acts[0], &actScales[0], g.blocks)
	}
}

// codeBytes is the length of so many blocks' codes.
func (p panel) codeBytes(blocks int) int {
	if p.format == NF4 {
		return blocks * nf4BlockBytes
	}
	return blocks * int8BlockBytes
}

//go:noescape
func nf4RowAVX2(dst *float32, codes, scales *byte, acts *int8, actScales *float32, blocks int)

//go:noescape
func int8RowAVX2(dst *float32, codes, scales *byte, acts *int8, actScales *float32, blocks int)

//go:noescape
func addRowsAVX2(dst *float32, codes *byte, blockBytes int, scales *byte, acts *int8, actScales *float32,
	starts *int32, blocks, rows int, work *tileWork)

// quantiseAVX2 is quantiseRow.
func quantiseAVX2(a *activations, i int, x []float32) bool {
	g, r := a.row(i)
	if g.blocks == 0 {
		return true
	}
	x = x[:g.blocks*Block]
	codes, scales, starts := g.codes[r*quarter:], g.scales[r:], g.starts[r:]
	return quantiseBlocksAVX2(&codes[0], &scales[0], &starts[0], &x[0], g.blocks, g.rows)
}

//go:noescape
func quantiseBlocksAVX2(codes *int8, scales *float32, starts *int32, x *float32, blocks, rows int) bool
