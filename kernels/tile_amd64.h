// What the products of a panel with several rows have in common on AVX2 and on AVX-VNNI: the loops, all but what is done
// with a group of weights, which is 4 columns of the 16 rows. The file that includes this begins a function and defines
//
//	UNPACKNF4, UNPACKINT8  make the weights of a block without sign (code + 128) and put into AX where they begin
//	PREPARE(LOOP)          makes the rows' activations of a block and puts into DI where they begin; LOOP is a label's name
//	FEWROWS                may go elsewhere with R14 rows, from where they come back to rowsEnd
//	GROUP(ROWS, at, k)     takes group at/64 from R12 on, and the activations k bytes from R13 on, by ROWS
//	ADDROW                 what ROWS does for a row
//	QUARTERBYTES           bytes of 4 groups
//
// Weights have no sign, so the sums of a row and a block begin at the row's start. Blocks are the outer loop: a block's
// weights are unpacked; then 6 rows at a time, and what is left over, go through the block, and their terms are added to
// the segments in work, which are zero at first.
//
//	SI codes, DX scales, R8 activations, R9 their scales, BX their starts, CX blocks left, R11 work,
//	R15 bytes of a quarter (16 columns) of all rows
//	of the rows at hand: DI activations, R9 scales, BX starts, R10 segments
//	within a block: AX weights, R12 weights and R13 activations of a quarter, R14 quarters left
//	Y0-Y11 sums (6 rows of 16), Y12 Y13 weights, Y14 Y15 temporary

// Offsets in tileWork, for 24 rows.
#define SCALES 0      // 16 float32
#define SEGMENTS 64   // [row][16] float32
#define WEIGHTS 1600  // up to 2048 bytes
#define EVENS 3648    // [quarter][row][16] bytes: pairs of 16-bit activations, columns 0 and 2 of each 4
#define ODDS 5184     // columns 1 and 3

// START begins a row's sums (-128 times the sum of its activations); at is 4 times its index among those at hand.
#define START(at, sum0, sum1) \
	VPBROADCASTD at(BX), sum0 \
	VMOVDQA      sum0, sum1

// TERM adds a row's terms, float32(d) * (w * a), to its segment.
#define TERM(at, sum0, sum1) \
	VBROADCASTSS at(R9), Y14                 \
	VMULPS       SCALES(R11), Y14, Y15       \
	VMULPS       (SCALES+32)(R11), Y14, Y14  \
	VCVTDQ2PS    sum0, sum0                  \
	VCVTDQ2PS    sum1, sum1                  \
	VMULPS       Y15, sum0, sum0             \
	VMULPS       Y14, sum1, sum1             \
	VADDPS       (16*at)(R10), sum0, sum0    \
	VADDPS       (16*at+32)(R10), sum1, sum1 \
	VMOVUPS      sum0, (16*at)(R10)          \
	VMOVUPS      sum1, (16*at+32)(R10)

// The same for the first rows at hand.
#define START1 START(0, Y0, Y1)
#define START2 START1; START(4, Y2, Y3)
#define START3 START2; START(8, Y4, Y5)
#define START4 START3; START(12, Y6, Y7)
#define START5 START4; START(16, Y8, Y9)
#define START6 START5; START(20, Y10, Y11)

#define TERM1 TERM(0, Y0, Y1)
#define TERM2 TERM1; TERM(4, Y2, Y3)
#define TERM3 TERM2; TERM(8, Y4, Y5)
#define TERM4 TERM3; TERM(12, Y6, Y7)
#define TERM5 TERM4; TERM(16, Y8, Y9)
#define TERM6 TERM5; TERM(20, Y10, Y11)

// ROWSn adds the products of the weights in Y12 and Y13 with 4 activations of each of n rows, k bytes from R13.
#define ROWS1(k) ADDROW(k, Y0, 0, Y1, 1)
#define ROWS2(k) ROWS1(k); ADDROW(k+16, Y2, 2, Y3, 3)
#define ROWS3(k) ROWS2(k); ADDROW(k+32, Y4, 4, Y5, 5)
#define ROWS4(k) ROWS3(k); ADDROW(k+48, Y6, 6, Y7, 7)
#define ROWS5(k) ROWS4(k); ADDROW(k+64, Y8, 8, Y9, 9)
#define ROWS6(k) ROWS5(k); ADDROW(k+80, Y10, 10, Y11, 11)

// THROUGH takes some rows through a block.
#define THROUGH(QUARTER, ROWS) \
	MOVQ DI, R13            \
	MOVQ AX, R12            \
	MOVQ $4, R14            \
QUARTER:                        \
	GROUP(ROWS, 0, 0)       \
	GROUP(ROWS, 64, 4)      \
	GROUP(ROWS, 128, 8)     \
	GROUP(ROWS, 192, 12)    \
	ADDQ R15, R13           \
	ADDQ $QUARTERBYTES, R12 \
	DECQ R14                \
	JNZ  QUARTER

	MOVQ codes+8(FP), SI
	MOVQ scales+24(FP), DX
	MOVQ acts+32(FP), R8
	MOVQ actScales+40(FP), R9
	MOVQ starts+48(FP), BX
	MOVQ blocks+56(FP), CX
	MOVQ rows+64(FP), R15
	MOVQ work+72(FP), R11
	SHLQ $4, R15

segment:
	MOVQ $8, blocksLeft-8(SP)

block:
	VCVTPH2PS    (DX), Y0
	VCVTPH2PS    16(DX), Y1
	CMPQ         blockBytes+16(FP), $512
	JNE          scales
	VBROADCASTSS INV127, Y2
	VMULPS       Y2, Y0, Y0
	VMULPS       Y2, Y1, Y1

scales:
	VMOVUPS Y0, SCALES(R11)
	VMOVUPS Y1, (SCALES+32)(R11)
	MOVQ    rows+64(FP), R14
	MOVQ    R14, rowsLeft-16(SP)
	LEAQ    SEGMENTS(R11), R10
	FEWROWS
	CMPQ    blockBytes+16(FP), $512
	JNE     int8
	UNPACKNF4
	JMP     unpacked

int8:
	UNPACKINT8

unpacked:
	PREPARE(prepare)
	CMPQ rowsLeft-16(SP), $6
	JLT  rest

rows6:
	START6
	THROUGH(quarter6, ROWS6)
	TERM6
	ADDQ $(6*16), DI
	ADDQ $(6*4), R9
	ADDQ $(6*4), BX
	ADDQ $(6*64), R10
	SUBQ $6, rowsLeft-16(SP)
	CMPQ rowsLeft-16(SP), $6
	JGE  rows6

rest:
	CMPQ rowsLeft-16(SP), $3
	JEQ  rows3
	JGT  rows4or5
	CMPQ rowsLeft-16(SP), $1
	JEQ  rows1
	JLT  rowsEnd

	START2
	THROUGH(quarter2, ROWS2)
	TERM2
	JMP rowsEnd

rows1:
	START1
	THROUGH(quarter1, ROWS1)
	TERM1
	JMP rowsEnd

rows3:
	START3
	THROUGH(quarter3, ROWS3)
	TERM3
	JMP rowsEnd

rows4or5:
	CMPQ rowsLeft-16(SP), $5
	JEQ  rows5
	START4
	THROUGH(quarter4, ROWS4)
	TERM4
	JMP rowsEnd

rows5:
	START5
	THROUGH(quarter5, ROWS5)
	TERM5

rowsEnd:
	MOVQ rowsLeft-16(SP), R14
	LEAQ (R9)(R14*4), R9
	LEAQ (BX)(R14*4), BX
	LEAQ (R8)(R15*4), R8
	ADDQ blockBytes+16(FP), SI
	ADDQ $32, DX
	DECQ CX
	JZ   total
	DECQ blocksLeft-8(SP)
	JNZ  block

total:
	// The end of a segment: 16 sums for each row, in 4 times the bytes of a quarter.
	MOVQ   dst+0(FP), DI
	LEAQ   SEGMENTS(R11), R10
	XORQ   AX, AX
	VXORPS Y0, Y0, Y0

add:
	VMOVUPS (DI)(AX*4), Y1
	VMOVUPS 32(DI)(AX*4), Y2
	VADDPS  (R10)(AX*4), Y1, Y1
	VADDPS  32(R10)(AX*4), Y2, Y2
	VMOVUPS Y1, (DI)(AX*4)
	VMOVUPS Y2, 32(DI)(AX*4)
	VMOVUPS Y0, (R10)(AX*4)
	VMOVUPS Y0, 32(R10)(AX*4)
	ADDQ    $16, AX
	CMPQ    AX, R15
	JNE     add
	TESTQ   CX, CX
	JNZ     segment
	VZEROUPPER
	RET
