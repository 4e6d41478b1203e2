#include "textflag.h"

// The products of AVX-VNNI, as macros over DOT(W, w, sum, n): it adds to each 32-bit number of sum = Yn the products of 4
// weights without sign, of W = Yw, with 4 activations, of Y14.

// The 16 levels of nf4 plus 128.
DATA levelsVNNI<>+0(SB)/8, $0x8074695C4E3D2801
DATA levelsVNNI<>+8(SB)/8, $0xFFDCC7B8AB9F948A
GLOBL levelsVNNI<>(SB), RODATA|NOPTR, $16

DATA constsVNNI<>+0(SB)/4, $0x0F0F0F0F // a nibble of each byte
DATA constsVNNI<>+4(SB)/4, $0x3C010204 // 1/127
GLOBL constsVNNI<>(SB), RODATA|NOPTR, $8

#define LEVELS levelsVNNI<>(SB)
#define NIBBLES constsVNNI<>+0(SB)
#define INV127 constsVNNI<>+4(SB)

// AHEAD is how far ahead weights are prefetched (avx2_products_amd64.s says why).
#define AHEAD 6144

// ---- one row ----

// NF4LINE adds the products of 64 bytes of nf4, k being the first column: those of the low nibbles to Y0 and Y1, those of
// the high ones to Y2 and Y3, so that four chains of additions run beside each other.
#define NF4LINE(at, k) \
	PREFETCHT0   (at+AHEAD)(SI)  \
	VMOVDQU      at(SI), Y4      \
	VMOVDQU      (at+32)(SI), Y5 \
	VPBROADCASTD k(R8), Y14      \
	VPAND        Y11, Y4, Y12    \
	VPAND        Y11, Y5, Y13    \
	VPSHUFB      Y12, Y15, Y12   \
	VPSHUFB      Y13, Y15, Y13   \
	DOT(Y12, 12, Y0, 0)          \
	DOT(Y13, 13, Y1, 1)          \
	VPBROADCASTD (k+4)(R8), Y14  \
	VPSRLW       $4, Y4, Y4      \
	VPSRLW       $4, Y5, Y5      \
	VPAND        Y11, Y4, Y12    \
	VPAND        Y11, Y5, Y13    \
	VPSHUFB      Y12, Y15, Y12   \
	VPSHUFB      Y13, Y15, Y13   \
	DOT(Y12, 12, Y2, 2)          \
	DOT(Y13, 13, Y3, 3)

// INT8LINES adds the products of 128 bytes of int8.
#define INT8LINES(at, k) \
	PREFETCHT0   (at+AHEAD)(SI)    \
	PREFETCHT0   (at+AHEAD+64)(SI) \
	VMOVDQU      at(SI), Y12       \
	VMOVDQU      (at+32)(SI), Y13  \
	VPBROADCASTD k(R8), Y14        \
	DOT(Y12, 12, Y0, 0)            \
	DOT(Y13, 13, Y1, 1)            \
	VMOVDQU      (at+64)(SI), Y12  \
	VMOVDQU      (at+96)(SI), Y13  \
	VPBROADCASTD (k+4)(R8), Y14    \
	DOT(Y12, 12, Y2, 2)            \
	DOT(Y13, 13, Y3, 3)

#define BEGINBLOCK \
	VPBROADCASTD (BX), Y0   \
	VMOVDQA      Y0, Y1     \
	VPXOR        Y2, Y2, Y2 \
	VPXOR        Y3, Y3, Y3

// ENDBLOCK adds the terms, float32(d) * (w * a) with w in Y4 and Y5, to the segment Y7, Y8.
#define ENDBLOCK \
	VBROADCASTSS (R9), Y6   \
	VPADDD       Y2, Y0, Y0 \
	VPADDD       Y3, Y1, Y1 \
	VMULPS       Y6, Y4, Y4 \
	VMULPS       Y6, Y5, Y5 \
	VCVTDQ2PS    Y0, Y0     \
	VCVTDQ2PS    Y1, Y1     \
	VMULPS       Y4, Y0, Y0 \
	VMULPS       Y5, Y1, Y1 \
	VADDPS       Y0, Y7, Y7 \
	VADDPS       Y1, Y8, Y8 \
	ADDQ         $32, DX    \
	ADDQ         $64, R8    \
	ADDQ         $4, R9     \
	ADDQ         $4, BX

// ENDSEGMENT adds the segment to the totals Y9, Y10 and begins the next.
#define ENDSEGMENT \
	VADDPS Y7, Y9, Y9   \
	VADDPS Y8, Y10, Y10 \
	VXORPS Y7, Y7, Y7   \
	VXORPS Y8, Y8, Y8   \
	MOVQ   $8, DI

#define BEGIN \
	MOVQ         codes+8(FP), SI      \
	MOVQ         scales+16(FP), DX    \
	MOVQ         acts+24(FP), R8      \
	MOVQ         actScales+32(FP), R9 \
	MOVQ         starts+40(FP), BX    \
	MOVQ         blocks+48(FP), CX    \
	MOVQ         $8, DI               \
	VBROADCASTI128 LEVELS, Y15        \
	VPBROADCASTD NIBBLES, Y11         \
	VXORPS       Y7, Y7, Y7           \
	VXORPS       Y8, Y8, Y8           \
	VXORPS       Y9, Y9, Y9           \
	VXORPS       Y10, Y10, Y10

// END ends a loop over blocks. The last segment may be short. (An empty one is +0 and changes no sum.)
#define END \
	ENDSEGMENT            \
	MOVQ    dst+0(FP), DI \
	VMOVUPS Y9, (DI)      \
	VMOVUPS Y10, 32(DI)   \
	VZEROUPPER

// NF4ROW and INT8ROW make the products of a panel with one row; each output row has its lane of two registers.
//
//	SI codes, DX scales, R8 activations, R9 their scales, BX their starts, CX blocks left, DI blocks left in the segment
//	Y0-Y3 sums of the block, Y4-Y6 temporary, Y7 Y8 sums of the segment, Y9 Y10 totals, Y11 nibble mask, Y12 Y13
//	weights, Y14 activations, Y15 levels
#define NF4ROW \
	BEGIN                   \
block:                          \
	BEGINBLOCK              \
	NF4LINE(0, 0)           \
	NF4LINE(64, 8)          \
	NF4LINE(128, 16)        \
	NF4LINE(192, 24)        \
	NF4LINE(256, 32)        \
	NF4LINE(320, 40)        \
	NF4LINE(384, 48)        \
	NF4LINE(448, 56)        \
	VCVTPH2PS    (DX), Y4   \
	VCVTPH2PS    16(DX), Y5 \
	VBROADCASTSS INV127, Y6 \
	VMULPS       Y6, Y4, Y4 \
	VMULPS       Y6, Y5, Y5 \
	ENDBLOCK                \
	ADDQ         $512, SI   \
	DECQ         DI         \
	JNZ          next       \
	ENDSEGMENT              \
next:                           \
	DECQ         CX         \
	JNZ          block      \
	END

#define INT8ROW \
	BEGIN                   \
block:                          \
	BEGINBLOCK              \
	INT8LINES(0, 0)         \
	INT8LINES(128, 8)       \
	INT8LINES(256, 16)      \
	INT8LINES(384, 24)      \
	INT8LINES(512, 32)      \
	INT8LINES(640, 40)      \
	INT8LINES(768, 48)      \
	INT8LINES(896, 56)      \
	VCVTPH2PS    (DX), Y4   \
	VCVTPH2PS    16(DX), Y5 \
	ENDBLOCK                \
	ADDQ         $1024, SI  \
	DECQ         DI         \
	JNZ          next       \
	ENDSEGMENT              \
next:                           \
	DECQ         CX         \
	JNZ          block      \
	END

// ---- several rows: what tile_amd64.h wants. Weights are bytes, activations are read where they are. ----

#define QUARTERBYTES 256

// NF4UNPACK unpacks 64 bytes of nf4, two groups. Y13 holds levels, Y14 the nibble mask.
#define NF4UNPACK(at) \
	PREFETCHT0 (at+AHEAD)(SI)          \
	VMOVDQU at(SI), Y0                 \
	VMOVDQU (at+32)(SI), Y1            \
	VPAND   Y14, Y0, Y2                \
	VPAND   Y14, Y1, Y3                \
	VPSRLW  $4, Y0, Y0                 \
	VPSRLW  $4, Y1, Y1                 \
	VPAND   Y14, Y0, Y0                \
	VPAND   Y14, Y1, Y1                \
	VPSHUFB Y2, Y13, Y2                \
	VPSHUFB Y3, Y13, Y3                \
	VPSHUFB Y0, Y13, Y0                \
	VPSHUFB Y1, Y13, Y1                \
	VMOVDQU Y2, (WEIGHTS+2*at)(R11)    \
	VMOVDQU Y3, (WEIGHTS+2*at+32)(R11) \
	VMOVDQU Y0, (WEIGHTS+2*at+64)(R11) \
	VMOVDQU Y1, (WEIGHTS+2*at+96)(R11)

#define UNPACKNF4 \
	VBROADCASTI128 LEVELS, Y13  \
	VPBROADCASTD   NIBBLES, Y14 \
	NF4UNPACK(0)                \
	NF4UNPACK(64)               \
	NF4UNPACK(128)              \
	NF4UNPACK(192)              \
	NF4UNPACK(256)              \
	NF4UNPACK(320)              \
	NF4UNPACK(384)              \
	NF4UNPACK(448)              \
	LEAQ           WEIGHTS(R11), AX

#define INT8AHEAD(at) \
	PREFETCHT0 (at+AHEAD)(SI)     \
	PREFETCHT0 (at+AHEAD+64)(SI)  \
	PREFETCHT0 (at+AHEAD+128)(SI) \
	PREFETCHT0 (at+AHEAD+192)(SI)

#define UNPACKINT8 \
	INT8AHEAD(0)   \
	INT8AHEAD(256) \
	INT8AHEAD(512) \
	INT8AHEAD(768) \
	MOVQ SI, AX

#define PREPARE(LOOP) MOVQ R8, DI

#define FEWROWS

// ADDROW adds the products of a group with 4 activations of a row to the row's sums.
#define ADDROW(k, sum0, n0, sum1, n1) \
	VPBROADCASTD k(R13), Y14 \
	DOT(Y12, 12, sum0, n0)   \
	DOT(Y13, 13, sum1, n1)

#define GROUP(ROWS, at, k) \
	VMOVDQU at(R12), Y12      \
	VMOVDQU (at+32)(R12), Y13 \
	ROWS(k)
