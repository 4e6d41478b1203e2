#include "textflag.h"

// The products of 4 rows of 16-bit weights with 1 to 4 rows of float32: dotLanes in AVX-512. A register holds the 16 lanes
// of one product's sum. The last step may be shorter: it masks its loads, and what is masked counts as +0.
//
//	SI  weights of row 0      R10, R11  bytes to row 1, to row 3      Z16-Z19  16 weights of each row
//	DI  x of row 0            R12, R13  bytes to row 1, to row 3      Z20      16 numbers of a row of x
//	BX  weights of row 4      CX        numbers left                  Z21-Z24  products
//	DX  dst                   K1        which of 16 are there         Z0-Z15   the sums, see XROW1

// XROWSn does OP for each of n rows of x: where it is, where its products go, and its sums with the 4 rows of weights.
#define XROWS1(OP) OP((DI), (DX), Z0, Z1, Z2, Z3)
#define XROWS2(OP) XROWS1(OP); OP((DI)(R12*1), 64(DX), Z4, Z5, Z6, Z7)
#define XROWS3(OP) XROWS2(OP); OP((DI)(R12*2), 128(DX), Z8, Z9, Z10, Z11)
#define XROWS4(OP) XROWS3(OP); OP((DI)(R13*1), 192(DX), Z12, Z13, Z14, Z15)

#define CLEAR(x, to, s0, s1, s2, s3) \
	VPXORD s0, s0, s0; \
	VPXORD s1, s1, s1; \
	VPXORD s2, s2, s2; \
	VPXORD s3, s3, s3

#define MULTIPLY(x, to, s0, s1, s2, s3) \
	VMOVUPS.Z x, K1, Z20; \
	VMULPS    Z20, Z16, Z21; \
	VMULPS    Z20, Z17, Z22; \
	VMULPS    Z20, Z18, Z23; \
	VMULPS    Z20, Z19, Z24; \
	VADDPS    Z21, s0, s0; \
	VADDPS    Z22, s1, s1; \
	VADDPS    Z23, s2, s2; \
	VADDPS    Z24, s3, s3

// FOLD adds up lanes l and l+8, then l and l+4: of what comes out the lowest four lanes count.
#define FOLD(s) \
	VSHUFF32X4 $0x4E, s, s, Z20; \
	VADDPS     Z20, s, s; \
	VSHUFF32X4 $0xB1, s, s, Z20; \
	VADDPS     Z20, s, s

// STORE adds up the lanes of 4 sums, interleaved for the steps +2 and +1.
#define STORE(x, to, s0, s1, s2, s3) \
	FOLD(s0); \
	FOLD(s1); \
	FOLD(s2); \
	FOLD(s3); \
	VUNPCKLPS s1, s0, Z20; \
	VUNPCKHPS s1, s0, Z21; \
	VADDPS    Z21, Z20, Z20; \
	VUNPCKLPS s3, s2, Z22; \
	VUNPCKHPS s3, s2, Z23; \
	VADDPS    Z23, Z22, Z22; \
	VUNPCKLPD Z22, Z20, Z21; \
	VUNPCKHPD Z22, Z20, Z23; \
	VADDPS    Z23, Z21, Z20; \
	VMOVUPS   X20, to

#define HALF \
	VCVTPH2PS.Z (SI), K1, Z16; \
	VCVTPH2PS.Z (SI)(R10*1), K1, Z17; \
	VCVTPH2PS.Z (SI)(R10*2), K1, Z18; \
	VCVTPH2PS.Z (SI)(R11*1), K1, Z19

#define BFLOAT \
	VPMOVZXWD.Z (SI), K1, Z16; \
	VPMOVZXWD.Z (SI)(R10*1), K1, Z17; \
	VPMOVZXWD.Z (SI)(R10*2), K1, Z18; \
	VPMOVZXWD.Z (SI)(R11*1), K1, Z19; \
	VPSLLD      $16, Z16, Z16; \
	VPSLLD      $16, Z17, Z17; \
	VPSLLD      $16, Z18, Z18; \
	VPSLLD      $16, Z19, Z19

// PRODUCTS is the loop for some rows of x, with the names of its two labels. It brings the next 4 rows of weights into
// the second-level cache, which a core can have more lines on the way to than to the first.
#define PRODUCTS(XROWS, WEIGHTS, step, whole) \
	XROWS(CLEAR); \
	PCALIGN $64; \
step: \
	CMPQ  CX, $16; \
	JGE   whole; \
	MOVL  $1, AX; \
	SHLL  CX, AX; \
	DECL  AX; \
	KMOVW AX, K1; \
whole: \
	PREFETCHT1 (BX); \
	PREFETCHT1 (BX)(R10*1); \
	PREFETCHT1 (BX)(R10*2); \
	PREFETCHT1 (BX)(R11*1); \
	WEIGHTS; \
	XROWS(MULTIPLY); \
	ADDQ $32, SI; \
	ADDQ $32, BX; \
	ADDQ $64, DI; \
	SUBQ $16, CX; \
	JGT  step; \
	XROWS(STORE); \
	VZEROUPPER; \
	RET

// ARGUMENTS loads the arguments, sets K1 to all of 16, and goes to the loop for so many rows of x.
#define ARGUMENTS \
	MOVQ  dst+0(FP), DX; \
	MOVQ  w+8(FP), SI; \
	MOVQ  stride+16(FP), R10; \
	MOVQ  x+24(FP), DI; \
	MOVQ  k+32(FP), CX; \
	MOVQ  n+40(FP), AX; \
	LEAQ  (R10)(R10*2), R11; \
	LEAQ  (SI)(R10*4), BX; \
	MOVQ  CX, R12; \
	SHLQ  $2, R12; \
	LEAQ  (R12)(R12*2), R13; \
	MOVL  $0xFFFF, R8; \
	KMOVW R8, K1; \
	CMPQ  AX, $1; \
	JEQ   rows1; \
	CMPQ  AX, $2; \
	JEQ   rows2; \
	CMPQ  AX, $3; \
	JEQ   rows3

// func mulHalfAVX512(dst *float32, w *byte, stride int, x *float32, k, n int)
//
// Writes the products of 4 rows of k float16 weights, stride bytes apart, with 1 to 4 rows of x (n, k): those of row i
// to dst[16*i:][:4]. k is 1 or more.
TEXT ·mulHalfAVX512(SB), NOSPLIT, $0-48
	ARGUMENTS
	PRODUCTS(XROWS4, HALF, step4, whole4)

rows1:
	PRODUCTS(XROWS1, HALF, step1, whole1)

rows2:
	PRODUCTS(XROWS2, HALF, step2, whole2)

rows3:
	PRODUCTS(XROWS3, HALF, step3, whole3)

// func mulBFloatAVX512(dst *float32, w *byte, stride int, x *float32, k, n int)
//
// The same for bfloat16 weights.
TEXT ·mulBFloatAVX512(SB), NOSPLIT, $0-48
	ARGUMENTS
	PRODUCTS(XROWS4, BFLOAT, step4, whole4)

rows1:
	PRODUCTS(XROWS1, BFLOAT, step1, whole1)

rows2:
	PRODUCTS(XROWS2, BFLOAT, step2, whole2)

rows3:
	PRODUCTS(XROWS3, BFLOAT, step3, whole3)
