#include "textflag.h"

// The 16 levels of nf4 (nf4Levels), once for each half of a register.
DATA levelsAVX2<>+0(SB)/8, $0x00F4E9DCCEBDA881
DATA levelsAVX2<>+8(SB)/8, $0x7F5C47382B1F140A
DATA levelsAVX2<>+16(SB)/8, $0x00F4E9DCCEBDA881
DATA levelsAVX2<>+24(SB)/8, $0x7F5C47382B1F140A
GLOBL levelsAVX2<>(SB), RODATA|NOPTR, $32

DATA constsAVX2<>+0(SB)/4, $0x0F0F0F0F  // a nibble of each byte
DATA constsAVX2<>+4(SB)/4, $0x00010001  // ones, as 16-bit numbers
DATA constsAVX2<>+8(SB)/4, $0x80808080  // the sign of each byte
DATA constsAVX2<>+12(SB)/4, $0x3C010204 // 1/127
DATA constsAVX2<>+16(SB)/4, $0x7FFFFFFF // all but the sign of a float32
DATA constsAVX2<>+20(SB)/4, $0x42FE0000 // 127
GLOBL constsAVX2<>(SB), RODATA|NOPTR, $24

#define LEVELS levelsAVX2<>(SB)
#define NIBBLES constsAVX2<>+0(SB)
#define ONES constsAVX2<>+4(SB)
#define SIGNS constsAVX2<>+8(SB)
#define INV127 constsAVX2<>+12(SB)
#define MAGNITUDE constsAVX2<>+16(SB)
#define C127 constsAVX2<>+20(SB)

// AHEAD is how far ahead weights are prefetched. The processor's own prefetching ends with a page, and with so much to do
// for a line few loads are under way at once: without it one row reads memory at four fifths of the speed. (Beyond the
// end of memory a prefetch does nothing.)
#define AHEAD 6144

// A product of bytes takes the magnitude of the activation as the unsigned side and the weight with the activation's
// sign as the signed one. A pair's sum is at most 2*127*127 = 32258: VPMADDUBSW does not saturate. (No weight is -128, which
// VPSIGNB could not negate.)

// ---- one row ----

// ADDLINE adds the products of weights Y6 (rows 0-7) and Y7 (rows 8-15) with the activations Y4 of magnitude Y5, to Y0 and
// Y1. Y13 holds ones.
#define ADDLINE \
	VPSIGNB    Y4, Y6, Y6  \
	VPSIGNB    Y4, Y7, Y7  \
	VPMADDUBSW Y6, Y5, Y6  \
	VPMADDUBSW Y7, Y5, Y7  \
	VPMADDWD   Y13, Y6, Y6 \
	VPMADDWD   Y13, Y7, Y7 \
	VPADDD     Y6, Y0, Y0  \
	VPADDD     Y7, Y1, Y1

// NF4LINE takes line i of a block: at = 64i, k = 8i.
#define NF4LINE(at, k) \
	PREFETCHT1   (at+AHEAD)(SI)  \
	VMOVDQU      at(SI), Y2      \
	VMOVDQU      (at+32)(SI), Y3 \
	VPBROADCASTD k(R8), Y4       \
	VPBROADCASTD k(SP), Y5       \
	VPAND        Y14, Y2, Y6     \
	VPAND        Y14, Y3, Y7     \
	VPSHUFB      Y6, Y15, Y6     \
	VPSHUFB      Y7, Y15, Y7     \
	ADDLINE                      \
	VPBROADCASTD (k+4)(R8), Y4   \
	VPBROADCASTD (k+4)(SP), Y5   \
	VPSRLW       $4, Y2, Y2      \
	VPSRLW       $4, Y3, Y3      \
	VPAND        Y14, Y2, Y6     \
	VPAND        Y14, Y3, Y7     \
	VPSHUFB      Y6, Y15, Y6     \
	VPSHUFB      Y7, Y15, Y7     \
	ADDLINE

// INT8LINE takes line i of a block: at = 64i, k = 4i. Y14 holds signs.
#define INT8LINE(at, k) \
	PREFETCHT1   (at+AHEAD)(SI)       \
	VPBROADCASTD k(R8), Y4            \
	VPBROADCASTD k(SP), Y5            \
	VPXOR        at(SI), Y14, Y6      \
	VPXOR        (at+32)(SI), Y14, Y7 \
	ADDLINE

// ABSROW writes the magnitudes of the block's 64 activations to the frame.
#define ABSROW \
	VPABSB  (R8), Y6   \
	VPABSB  32(R8), Y7 \
	VMOVDQU Y6, (SP)   \
	VMOVDQU Y7, 32(SP)

// ADDTERM adds the block's terms, float32(d) * (w * a) with d in Y0 and Y1 and w in Y2 and Y3, to the segment Y11, Y12.
#define ADDTERM \
	VBROADCASTSS (R9), Y4     \
	VMULPS       Y4, Y2, Y2   \
	VMULPS       Y4, Y3, Y3   \
	VCVTDQ2PS    Y0, Y0       \
	VCVTDQ2PS    Y1, Y1       \
	VMULPS       Y2, Y0, Y0   \
	VMULPS       Y3, Y1, Y1   \
	VADDPS       Y0, Y11, Y11 \
	VADDPS       Y1, Y12, Y12

// ENDSEGMENT adds the segment to the totals Y9, Y10 and begins the next.
#define ENDSEGMENT \
	VADDPS Y11, Y9, Y9   \
	VADDPS Y12, Y10, Y10 \
	VXORPS Y11, Y11, Y11 \
	VXORPS Y12, Y12, Y12

// func nf4RowAVX2(dst *float32, codes, scales *byte, acts *int8, actScales *float32, blocks int)
//
// The products of a panel of nf4 with one row. A loop over blocks; each output row has its lane of two registers.
//
//	SI codes, DX scales, R8 activations, R9 their scales, CX blocks left, BX blocks left in the segment
//	Y0 Y1 sums of the block, Y9 Y10 totals, Y11 Y12 sums of the segment, Y13 ones, Y14 nibble mask, Y15 levels
TEXT ·nf4RowAVX2(SB), NOSPLIT, $64-48
	MOVQ         codes+8(FP), SI
	MOVQ         scales+16(FP), DX
	MOVQ         acts+24(FP), R8
	MOVQ         actScales+32(FP), R9
	MOVQ         blocks+40(FP), CX
	MOVQ         $8, BX
	VMOVDQU      LEVELS, Y15
	VPBROADCASTD NIBBLES, Y14
	VPBROADCASTD ONES, Y13
	VXORPS       Y9, Y9, Y9
	VXORPS       Y10, Y10, Y10
	VXORPS       Y11, Y11, Y11
	VXORPS       Y12, Y12, Y12

block:
	ABSROW
	VPXOR        Y0, Y0, Y0
	VPXOR        Y1, Y1, Y1
	NF4LINE(0, 0)
	NF4LINE(64, 8)
	NF4LINE(128, 16)
	NF4LINE(192, 24)
	NF4LINE(256, 32)
	NF4LINE(320, 40)
	NF4LINE(384, 48)
	NF4LINE(448, 56)
	VCVTPH2PS    (DX), Y2
	VCVTPH2PS    16(DX), Y3
	VBROADCASTSS INV127, Y5
	VMULPS       Y5, Y2, Y2
	VMULPS       Y5, Y3, Y3
	ADDTERM
	ADDQ         $512, SI
	ADDQ         $32, DX
	ADDQ         $64, R8
	ADDQ         $4, R9
	DECQ         BX
	JNZ          next
	ENDSEGMENT
	MOVQ         $8, BX

next:
	DECQ CX
	JNZ  block

	// The last segment, which may be short. (An empty one is +0 and changes no sum.)
	ENDSEGMENT
	MOVQ    dst+0(FP), DI
	VMOVUPS Y9, (DI)
	VMOVUPS Y10, 32(DI)
	VZEROUPPER
	RET

// func int8RowAVX2(dst *float32, codes, scales *byte, acts *int8, actScales *float32, blocks int)
//
// The products of a panel of int8 with one row, as nf4RowAVX2 makes them; Y14 holds signs, Y15 nothing.
TEXT ·int8RowAVX2(SB), NOSPLIT, $64-48
	MOVQ         codes+8(FP), SI
	MOVQ         scales+16(FP), DX
	MOVQ         acts+24(FP), R8
	MOVQ         actScales+32(FP), R9
	MOVQ         blocks+40(FP), CX
	MOVQ         $8, BX
	VPBROADCASTD SIGNS, Y14
	VPBROADCASTD ONES, Y13
	VXORPS       Y9, Y9, Y9
	VXORPS       Y10, Y10, Y10
	VXORPS       Y11, Y11, Y11
	VXORPS       Y12, Y12, Y12

block:
	ABSROW
	VPXOR     Y0, Y0, Y0
	VPXOR     Y1, Y1, Y1
	INT8LINE(0, 0)
	INT8LINE(64, 4)
	INT8LINE(128, 8)
	INT8LINE(192, 12)
	INT8LINE(256, 16)
	INT8LINE(320, 20)
	INT8LINE(384, 24)
	INT8LINE(448, 28)
	INT8LINE(512, 32)
	INT8LINE(576, 36)
	INT8LINE(640, 40)
	INT8LINE(704, 44)
	INT8LINE(768, 48)
	INT8LINE(832, 52)
	INT8LINE(896, 56)
	INT8LINE(960, 60)
	VCVTPH2PS (DX), Y2
	VCVTPH2PS 16(DX), Y3
	ADDTERM
	ADDQ      $1024, SI
	ADDQ      $32, DX
	ADDQ      $64, R8
	ADDQ      $4, R9
	DECQ      BX
	JNZ       next
	ENDSEGMENT
	MOVQ      $8, BX

next:
	DECQ CX
	JNZ  block
	ENDSEGMENT
	MOVQ    dst+0(FP), DI
	VMOVUPS Y9, (DI)
	VMOVUPS Y10, 32(DI)
	VZEROUPPER
	RET

// ---- quantising ----

// MAX16 takes 16 numbers into the largest magnitudes Y14, as bits.
#define MAX16(at) \
	VPAND   at(SI), Y15, Y0      \
	VPAND   (at+32)(SI), Y15, Y1 \
	VPMAXUD Y0, Y14, Y14         \
	VPMAXUD Y1, Y14, Y14

// CODES16 writes a quarter of a block as codes, and adds their sum to Y13. VCVTPS2DQ rounds to nearest, ties to even.
// VPACKSSDW takes 4 and 4 numbers into each half of a register; VPERMQ puts them in order.
#define CODES16(at) \
	VMULPS     at(SI), Y12, Y0      \
	VMULPS     (at+32)(SI), Y12, Y1 \
	VCVTPS2DQ  Y0, Y0               \
	VCVTPS2DQ  Y1, Y1               \
	VPADDD     Y0, Y13, Y13         \
	VPADDD     Y1, Y13, Y13         \
	VPACKSSDW  Y1, Y0, Y0           \
	VPERMQ     $0xD8, Y0, Y0        \
	VEXTRACTI128 $1, Y0, X1         \
	VPACKSSWB  X1, X0, X0           \
	VMOVDQU    X0, (DI)             \
	ADDQ       R12, DI

// func quantiseBlocksAVX2(codes *int8, scales *float32, starts *int32, x *float32, blocks, rows int) bool
//
// Writes x as codes, scales and starts of one row of a group, block by block; false if a block is not finite.
//
//	DI codes, R8 scales, R9 starts, SI x, CX blocks left, R12 bytes from quarter to quarter, R13 from scale to scale
//	AX the largest magnitude's bits, R10 the largest of all, Y15 magnitude mask, Y12 127/m, Y13 sums of codes, Y14 magnitudes
TEXT ·quantiseBlocksAVX2(SB), NOSPLIT, $0-49
	MOVQ         codes+0(FP), DI
	MOVQ         scales+8(FP), R8
	MOVQ         starts+16(FP), R9
	MOVQ         x+24(FP), SI
	MOVQ         blocks+32(FP), CX
	MOVQ         rows+40(FP), R12
	LEAQ         (R12*4), R13
	SHLQ         $4, R12
	XORQ         R10, R10
	VPBROADCASTD MAGNITUDE, Y15

block:
	VPXOR        Y14, Y14, Y14
	MAX16(0)
	MAX16(64)
	MAX16(128)
	MAX16(192)
	VEXTRACTI128 $1, Y14, X0
	VPMAXUD      X0, X14, X0
	VPSHUFD      $0x4E, X0, X1
	VPMAXUD      X1, X0, X0
	VPSHUFD      $0xB1, X0, X1
	VPMAXUD      X1, X0, X0
	VMOVD        X0, AX
	CMPL         AX, R10
	CMOVLHI      AX, R10
	SUBL         $0x21800000, AX // 2^-60
	CMPL         AX, $(0x7F800000-0x21800000)
	JCC          zero            // below 2^-60 or not finite

	VMOVSS       C127, X1
	VDIVSS       X0, X1, X1
	VBROADCASTSS X1, Y12
	VMULSS       INV127, X0, X0
	VMOVSS       X0, (R8)
	VPXOR        Y13, Y13, Y13
	CODES16(0)
	CODES16(64)
	CODES16(128)
	CODES16(192)
	VEXTRACTI128 $1, Y13, X0
	VPADDD       X0, X13, X0
	VPSHUFD      $0x4E, X0, X1
	VPADDD       X1, X0, X0
	VPSHUFD      $0xB1, X0, X1
	VPADDD       X1, X0, X0
	VMOVD        X0, AX
	NEGL         AX
	SHLL         $7, AX          // -128 times the sum
	MOVL         AX, (R9)

next:
	ADDQ $256, SI
	ADDQ R13, R8
	ADDQ R13, R9
	DECQ CX
	JNZ  block
	CMPL R10, $0x7F800000
	SETCS ret+48(FP)
	VZEROUPPER
	RET

zero:
	VPXOR   X0, X0, X0
	VMOVDQU X0, (DI)
	VMOVDQU X0, (DI)(R12*1)
	VMOVDQU X0, (DI)(R12*2)
	ADDQ    R12, DI
	VMOVDQU X0, (DI)(R12*2)
	LEAQ    (DI)(R12*2), DI
	ADDQ    R12, DI
	MOVL    $0, (R8)
	MOVL    $0, (R9)
	JMP     next
