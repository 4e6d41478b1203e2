// The functions of avxvnni_products_amd64.s with the instruction in its EVEX form, which means the same and runs on
// processors with AVX-512's VNNI. Only tests call them: processors that have AVX-VNNI are rarer among those that run
// tests. (Programs do not contain them: the linker leaves out what nothing calls.)
#define DOT(W, w, sum, n) VPDPBUSD Y14, W, sum

#include "avxvnni_amd64.h"

// func nf4RowEVEX(dst *float32, codes, scales *byte, acts *int8, actScales *float32, starts *int32, blocks int)
TEXT ·nf4RowEVEX(SB), NOSPLIT, $0-56
	NF4ROW
	RET

// func int8RowEVEX(dst *float32, codes, scales *byte, acts *int8, actScales *float32, starts *int32, blocks int)
TEXT ·int8RowEVEX(SB), NOSPLIT, $0-56
	INT8ROW
	RET

// func addRowsEVEX(dst *float32, codes *byte, blockBytes int, scales *byte, acts *int8, actScales *float32,
//	starts *int32, blocks, rows int, work *tileWork)
//
// Adds the products of a panel with up to 24 rows to dst.
TEXT ·addRowsEVEX(SB), NOSPLIT, $16-80
#include "tile_amd64.h"

// func codeOfVNNI() (vex, evex [3]uintptr)
//
// Where the functions of both files begin.
TEXT ·codeOfVNNI(SB), NOSPLIT, $0-48
	LEAQ ·nf4RowVNNI(SB), AX
	MOVQ AX, vex_0+0(FP)
	LEAQ ·int8RowVNNI(SB), AX
	MOVQ AX, vex_1+8(FP)
	LEAQ ·addRowsVNNI(SB), AX
	MOVQ AX, vex_2+16(FP)
	LEAQ ·nf4RowEVEX(SB), AX
	MOVQ AX, evex_0+24(FP)
	LEAQ ·int8RowEVEX(SB), AX
	MOVQ AX, evex_1+32(FP)
	LEAQ ·addRowsEVEX(SB), AX
	MOVQ AX, evex_2+40(FP)
	RET
