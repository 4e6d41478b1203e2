// DOT is VPDPBUSD Y14, W, sum in the VEX form of AVX-VNNI, which Go's assembler does not know:
//
//	C4, then R X B mmmmm, W vvvv L pp, opcode, ModRM
//
// R, B and vvvv are stored inverted. R is bit 3 of n, the sum; X is unused; B is bit 3 of 14, the activations; mmmmm = 2 is
// the map 0F38; W = 0; vvvv is w, the weights; L = 1 is 256 bits; pp = 1 is the prefix 66; ModRM is 3, n and 14 without
// their bits 3.
#define DOT(W, w, sum, n) \
	BYTE $0xC4                   \
	BYTE $((((~n)&8)<<4) | 0x42) \
	BYTE $((((~w)&15)<<3) | 5)   \
	BYTE $0x50                   \
	BYTE $(0xC0 | ((n&7)<<3) | (14&7))

#include "avxvnni_amd64.h"

// func nf4RowVNNI(dst *float32, codes, scales *byte, acts *int8, actScales *float32, starts *int32, blocks int)
TEXT ·nf4RowVNNI(SB), NOSPLIT, $0-56
	NF4ROW
	RET

// func int8RowVNNI(dst *float32, codes, scales *byte, acts *int8, actScales *float32, starts *int32, blocks int)
TEXT ·int8RowVNNI(SB), NOSPLIT, $0-56
	INT8ROW
	RET

// func addRowsVNNI(dst *float32, codes *byte, blockBytes int, scales *byte, acts *int8, actScales *float32,
//	starts *int32, blocks, rows int, work *tileWork)
//
// Adds the products of a panel with up to 24 rows to dst.
TEXT ·addRowsVNNI(SB), NOSPLIT, $16-80
#include "tile_amd64.h"
