#include "textflag.h"

// The products of consecutive panels of 16 rows of weights with 1 to 12 rows of activations: mulPanel in AVX-512 with VNNI.
//
// An output row is a 32-bit lane. VPDPBUSD takes 64 weights as bytes without sign (the code plus 128; 4 of each of the
// 16 rows, that is half a line of nf4 or a line of int8) and 4 activations, broadcast to all lanes, and adds the 4
// products of each lane to a sum of int32. The sums begin at the block's starts, which takes the 128s off again. Each
// pair of registers of weights meets all rows of activations before the next is unpacked.
//
//	DX  dst                          Z24, Z25  weights k..k+3 and k+4..k+7 of all 16 rows
//	SI  codes of the block           Z26       the block's weight scales
//	DI  weight scales of the block   Z27       Z26 times a row's scale
//	AX  activations of the block     Z28       nf4: the table of levels
//	R8  their scales                 Z29       nf4: 0F in each byte
//	R9  their starts                 Z30       nf4: 1/127
//	CX  blocks after this segment    Z0-Z23    the sums, see EACH1
//	BX  blocks left in the segment
//	R10 panels left

// levels is the code book of nf4 plus 128 each, as bytes.
DATA levels<>+0(SB)/8, $0x8074695C4E3D2801
DATA levels<>+8(SB)/8, $0xFFDCC7B8AB9F948A
GLOBL levels<>(SB), RODATA|NOPTR, $16

DATA nibbles<>+0(SB)/4, $0x0F0F0F0F
GLOBL nibbles<>(SB), RODATA|NOPTR, $4

DATA inv127<>+0(SB)/4, $0x3C010204
GLOBL inv127<>(SB), RODATA|NOPTR, $4

// EACHn does OP for each of n rows of activations: at is passed on, i is the row, sum its sum of the block, odd a second
// one (for up to 8 rows only), segment its sum of the segment.
#define EACH1(OP, at) OP(at, 0, Z0, Z8, Z12)
#define EACH2(OP, at) EACH1(OP, at); OP(at, 1, Z1, Z9, Z13)
#define EACH3(OP, at) EACH2(OP, at); OP(at, 2, Z2, Z10, Z14)
#define EACH4(OP, at) EACH3(OP, at); OP(at, 3, Z3, Z11, Z15)
#define EACH5(OP, at) EACH4(OP, at); OP(at, 4, Z4, Z20, Z16)
#define EACH6(OP, at) EACH5(OP, at); OP(at, 5, Z5, Z21, Z17)
#define EACH7(OP, at) EACH6(OP, at); OP(at, 6, Z6, Z22, Z18)
#define EACH8(OP, at) EACH7(OP, at); OP(at, 7, Z7, Z23, Z19)
#define EACH9(OP, at) EACH8(OP, at); OP(at, 8, Z8, Z8, Z20)
#define EACH10(OP, at) EACH9(OP, at); OP(at, 9, Z9, Z9, Z21)
#define EACH11(OP, at) EACH10(OP, at); OP(at, 10, Z10, Z10, Z22)
#define EACH12(OP, at) EACH11(OP, at); OP(at, 11, Z11, Z11, Z23)

// The steps of one row. CLEAR comes first, START and FINISH around a block, EVEN and ODD multiply the weights in Z24 and
// Z25 with what is at and at+4 from the row's activations, TOTAL ends a segment.
#define CLEAR(at, i, sum, odd, segment) \
	VPXORD  segment, segment, segment; \
	VMOVUPS segment, (64*i)(DX)

#define START(at, i, sum, odd, segment) \
	VPBROADCASTD (4*i)(R9), sum

#define EVEN(at, i, sum, odd, segment) \
	VPDPBUSD.BCST (16*i+at)(AX), Z24, sum

#define ODD(at, i, sum, odd, segment) \
	VPDPBUSD.BCST (16*i+at+4)(AX), Z25, sum

#define FINISH(at, i, sum, odd, segment) \
	VMULPS.BCST (4*i)(R8), Z26, Z27; \
	VCVTDQ2PS   sum, sum; \
	VMULPS      Z27, sum, sum; \
	VADDPS      sum, segment, segment

#define TOTAL(at, i, sum, odd, segment) \
	VADDPS  (64*i)(DX), segment, segment; \
	VMOVUPS segment, (64*i)(DX); \
	VPXORD  segment, segment, segment

// Up to 8 rows have two sums each, as a sum waits 4 cycles for the one before.
#define START2(at, i, sum, odd, segment) \
	START(at, i, sum, odd, segment); \
	VPXORD odd, odd, odd

#define ODD2(at, i, sum, odd, segment) \
	VPDPBUSD.BCST (16*i+at+4)(AX), Z25, odd

#define FINISH2(at, i, sum, odd, segment) \
	VPADDD odd, sum, sum; \
	FINISH(at, i, sum, odd, segment)

// ahead is how far before their use weights are brought into the second-level cache. A core waits for at most 24 lines of
// its first-level cache at once, which is too few for the latency of memory; and the processor's own prefetching ends with
// each page and is slow where there is much to compute between two lines. (On Zen 4, 4 KiB are too few, and 8 KiB mostly do a
// little worse than 6.) Asking beyond the end of the weights is harmless: it never faults and reads nothing into the program.
#define ahead 6144

// NF4PAIR unpacks line i of a block. The bits of a neighbour that the shift of words brings in go with the high nibbles'
// mask.
#define NF4PAIR(i) \
	VMOVDQU64  (64*i)(SI), Z24; \
	PREFETCHT1 (64*i+ahead)(SI); \
	VPSRLW     $4, Z24, Z25; \
	VPANDD     Z29, Z24, Z24; \
	VPANDD     Z29, Z25, Z25; \
	VPSHUFB    Z24, Z28, Z24; \
	VPSHUFB    Z25, Z28, Z25

// INT8PAIR loads lines 2i and 2i+1.
#define INT8PAIR(i) \
	VMOVDQU64  (128*i)(SI), Z24; \
	PREFETCHT1 (128*i+ahead)(SI); \
	VMOVDQU64  (128*i+64)(SI), Z25; \
	PREFETCHT1 (128*i+64+ahead)(SI)

#define NF4SCALES \
	VCVTPH2PS (DI), Z26; \
	VMULPS    Z30, Z26, Z26

#define INT8SCALES \
	VCVTPH2PS (DI), Z26

// PRODUCTS is the loop for n rows, with the names of its three labels.
#define PRODUCTS(n, EACH, START, ODD, FINISH, PAIR, SCALES, bytes, panel, segment, block) \
panel: \
	MOVQ acts+24(FP), AX; \
	MOVQ scales+32(FP), R8; \
	MOVQ starts+40(FP), R9; \
	MOVQ blocks+56(FP), CX; \
	EACH(CLEAR, 0); \
segment: \
	MOVQ    $8, BX; \
	CMPQ    CX, BX; \
	CMOVQLT CX, BX; \
	SUBQ    BX, CX; \
	PCALIGN $64; \
block: \
	EACH(START, 0); \
	PAIR(0); EACH(EVEN, 0); EACH(ODD, 0); \
	PAIR(1); EACH(EVEN, 8); EACH(ODD, 8); \
	PAIR(2); EACH(EVEN, 16*n); EACH(ODD, 16*n); \
	PAIR(3); EACH(EVEN, 16*n+8); EACH(ODD, 16*n+8); \
	PAIR(4); EACH(EVEN, 32*n); EACH(ODD, 32*n); \
	PAIR(5); EACH(EVEN, 32*n+8); EACH(ODD, 32*n+8); \
	PAIR(6); EACH(EVEN, 48*n); EACH(ODD, 48*n); \
	PAIR(7); EACH(EVEN, 48*n+8); EACH(ODD, 48*n+8); \
	SCALES; \
	EACH(FINISH, 0); \
	ADDQ $bytes, SI; \
	ADDQ $32, DI; \
	ADDQ $(64*n), AX; \
	ADDQ $(4*n), R8; \
	ADDQ $(4*n), R9; \
	DECQ BX; \
	JNZ  block; \
	EACH(TOTAL, 0); \
	TESTQ CX, CX; \
	JNZ   segment; \
	ADDQ $(64*n), DX; \
	DECQ R10; \
	JNZ  panel; \
	VZEROUPPER; \
	RET

#define NF4(n, EACH, panel, segment, block) \
	PRODUCTS(n, EACH, START, ODD, FINISH, NF4PAIR, NF4SCALES, 512, panel, segment, block)

#define NF4TWO(n, EACH, panel, segment, block) \
	PRODUCTS(n, EACH, START2, ODD2, FINISH2, NF4PAIR, NF4SCALES, 512, panel, segment, block)

#define INT8(n, EACH, panel, segment, block) \
	PRODUCTS(n, EACH, START, ODD, FINISH, INT8PAIR, INT8SCALES, 1024, panel, segment, block)

#define INT8TWO(n, EACH, panel, segment, block) \
	PRODUCTS(n, EACH, START2, ODD2, FINISH2, INT8PAIR, INT8SCALES, 1024, panel, segment, block)

// ARGUMENTS loads the arguments and goes to the loop for so many rows.
#define ARGUMENTS \
	MOVQ dst+0(FP), DX; \
	MOVQ codes+8(FP), SI; \
	MOVQ weightScales+16(FP), DI; \
	MOVQ rows+48(FP), BX; \
	MOVQ panels+64(FP), R10; \
	CMPQ BX, $1; \
	JEQ  rows1; \
	CMPQ BX, $2; \
	JEQ  rows2; \
	CMPQ BX, $3; \
	JEQ  rows3; \
	CMPQ BX, $4; \
	JEQ  rows4; \
	CMPQ BX, $5; \
	JEQ  rows5; \
	CMPQ BX, $6; \
	JEQ  rows6; \
	CMPQ BX, $7; \
	JEQ  rows7; \
	CMPQ BX, $8; \
	JEQ  rows8; \
	CMPQ BX, $9; \
	JEQ  rows9; \
	CMPQ BX, $10; \
	JEQ  rows10; \
	CMPQ BX, $11; \
	JEQ  rows11

// func mulNF4AVX512(dst *float32, codes, weightScales *byte, acts *int8, scales *float32, starts *int32, rows, blocks, panels int)
//
// The products of nf4 panels, one or more, with 1 to 12 rows and one block or more, as set out at the top.
TEXT ·mulNF4AVX512(SB), NOSPLIT, $0-72
	VBROADCASTI32X4 levels<>(SB), Z28
	VPBROADCASTD    nibbles<>(SB), Z29
	VBROADCASTSS    inv127<>(SB), Z30
	ARGUMENTS
	NF4(12, EACH12, panel12, segment12, block12)

rows1:
	NF4TWO(1, EACH1, panel1, segment1, block1)

rows2:
	NF4TWO(2, EACH2, panel2, segment2, block2)

rows3:
	NF4TWO(3, EACH3, panel3, segment3, block3)

rows4:
	NF4TWO(4, EACH4, panel4, segment4, block4)

rows5:
	NF4TWO(5, EACH5, panel5, segment5, block5)

rows6:
	NF4TWO(6, EACH6, panel6, segment6, block6)

rows7:
	NF4TWO(7, EACH7, panel7, segment7, block7)

rows8:
	NF4TWO(8, EACH8, panel8, segment8, block8)

rows9:
	NF4(9, EACH9, panel9, segment9, block9)

rows10:
	NF4(10, EACH10, panel10, segment10, block10)

rows11:
	NF4(11, EACH11, panel11, segment11, block11)

// func mulInt8AVX512(dst *float32, codes, weightScales *byte, acts *int8, scales *float32, starts *int32, rows, blocks, panels int)
//
// The same for int8 panels.
TEXT ·mulInt8AVX512(SB), NOSPLIT, $0-72
	ARGUMENTS
	INT8(12, EACH12, panel12, segment12, block12)

rows1:
	INT8TWO(1, EACH1, panel1, segment1, block1)

rows2:
	INT8TWO(2, EACH2, panel2, segment2, block2)

rows3:
	INT8TWO(3, EACH3, panel3, segment3, block3)

rows4:
	INT8TWO(4, EACH4, panel4, segment4, block4)

rows5:
	INT8TWO(5, EACH5, panel5, segment5, block5)

rows6:
	INT8TWO(6, EACH6, panel6, segment6, block6)

rows7:
	INT8TWO(7, EACH7, panel7, segment7, block7)

rows8:
	INT8TWO(8, EACH8, panel8, segment8, block8)

rows9:
	INT8(9, EACH9, panel9, segment9, block9)

rows10:
	INT8(10, EACH10, panel10, segment10, block10)

rows11:
	INT8(11, EACH11, panel11, segment11, block11)
