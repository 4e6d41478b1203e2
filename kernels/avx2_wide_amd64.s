#include "textflag.h"

// Offsets in wideDots.
#define WEIGHTS 0
#define X 32
#define STEPS 48
#define REST 56
#define RESTWEIGHTS 64
#define RESTX 192
#define DOTS 320

// Widening 8 weights to float32.
#define F16(from, to) \
	VCVTPH2PS from, to

#define BF16(from, to) \
	VPMOVZXWD from, to \
	VPSLLD    $16, to, to

// ADDDOT adds products of widened weights with x to the sums of 8 lanes.
#define ADDDOT(w, x, temp, sum) \
	VMULPS x, w, temp \
	VADDPS temp, sum, sum

// SUMLANES adds up 16 lanes: l+8, then l+4, l+2, l+1.
#define SUMLANES(low, high, lowX, to) \
	VADDPS       high, low, low  \
	VEXTRACTF128 $1, low, X14    \
	VADDPS       X14, lowX, lowX \
	VPERMILPD    $1, lowX, X14   \
	VADDPS       X14, lowX, lowX \
	VMOVSHDUP    lowX, X14       \
	VADDSS       X14, lowX, lowX \
	VMOVSS       lowX, to

#define CLEARSUMS \
	VXORPS Y0, Y0, Y0 \
	VXORPS Y1, Y1, Y1 \
	VXORPS Y2, Y2, Y2 \
	VXORPS Y3, Y3, Y3 \
	VXORPS Y4, Y4, Y4 \
	VXORPS Y5, Y5, Y5 \
	VXORPS Y6, Y6, Y6 \
	VXORPS Y7, Y7, Y7

#define SUMS \
	SUMLANES(Y0, Y1, X0, DOTS(DI))      \
	SUMLANES(Y2, Y3, X2, (DOTS+4)(DI))  \
	SUMLANES(Y4, Y5, X4, (DOTS+8)(DI))  \
	SUMLANES(Y6, Y7, X6, (DOTS+12)(DI)) \
	VZEROUPPER

// AHEAD is how far ahead weights are prefetched (avx2_products_amd64.s says why).
#define AHEAD 6144

// WEIGHTROW4 adds 16 products of a row of weights with x in Y8 and Y9.
#define WEIGHTROW4(WIDEN, w, sum0, sum1) \
	PREFETCHT0 AHEAD(w)(AX*2)  \
	WIDEN((w)(AX*2), Y10)      \
	WIDEN(16(w)(AX*2), Y11)    \
	ADDDOT(Y10, Y8, Y10, sum0) \
	ADDDOT(Y11, Y9, Y11, sum1)

// DOTS4 makes the dot products of 4 rows of weights with one row of x, 16 numbers of each a step. What is left after whole
// steps is one more step, of the copies in d.
//
//	DI d, SI x, R8-R11 weights, AX index, CX end
//	Y0 Y1 ... Y6 Y7 lanes 0-7 and 8-15 of each sum, Y8 Y9 x, Y10 Y11 products
#define DOTS4(WIDEN) \
	MOVQ    d+0(FP), DI               \
	MOVQ    X(DI), SI                 \
	MOVQ    WEIGHTS(DI), R8           \
	MOVQ    (WEIGHTS+8)(DI), R9       \
	MOVQ    (WEIGHTS+16)(DI), R10     \
	MOVQ    (WEIGHTS+24)(DI), R11     \
	MOVQ    STEPS(DI), CX             \
	MOVQ    REST(DI), DX              \
	CLEARSUMS                         \
	XORQ    AX, AX                    \
	SHLQ    $4, CX                    \
	JZ      rest                      \
step:                                     \
	VMOVUPS (SI)(AX*4), Y8            \
	VMOVUPS 32(SI)(AX*4), Y9          \
	WEIGHTROW4(WIDEN, R8, Y0, Y1)     \
	WEIGHTROW4(WIDEN, R9, Y2, Y3)     \
	WEIGHTROW4(WIDEN, R10, Y4, Y5)    \
	WEIGHTROW4(WIDEN, R11, Y6, Y7)    \
	ADDQ    $16, AX                   \
	CMPQ    AX, CX                    \
	JLT     step                      \
rest:                                     \
	TESTQ   DX, DX                    \
	JZ      end                       \
	XORQ    DX, DX                    \
	XORQ    AX, AX                    \
	MOVQ    $16, CX                   \
	LEAQ    RESTX(DI), SI             \
	LEAQ    RESTWEIGHTS(DI), R8       \
	LEAQ    (RESTWEIGHTS+32)(DI), R9  \
	LEAQ    (RESTWEIGHTS+64)(DI), R10 \
	LEAQ    (RESTWEIGHTS+96)(DI), R11 \
	JMP     step                      \
end:                                      \
	SUMS

// HALF2X2 adds 8 products for each pair of rows: at is 0 for the first lanes, 1 for the last.
#define HALF2X2(WIDEN, at, sum00, sum01, sum10, sum11) \
	WIDEN((16*at)(R8)(AX*2), Y8)    \
	WIDEN((16*at)(R9)(AX*2), Y9)    \
	VMOVUPS (32*at)(SI)(AX*4), Y10  \
	VMOVUPS (32*at)(R10)(AX*4), Y11 \
	ADDDOT(Y8, Y10, Y12, sum00)     \
	ADDDOT(Y9, Y10, Y13, sum01)     \
	ADDDOT(Y8, Y11, Y14, sum10)     \
	ADDDOT(Y9, Y11, Y15, sum11)

// DOTS2X2 makes the dot products of 2 rows of weights with 2 rows of x in the same way.
//
//	DI d, SI R10 x, R8 R9 weights, AX index, CX end
//	Y0 Y1 ... Y6 Y7 lanes 0-7 and 8-15 of each sum, Y8 Y9 weights, Y10 Y11 x, Y12-Y15 products
#define DOTS2X2(WIDEN) \
	MOVQ  d+0(FP), DI                 \
	MOVQ  X(DI), SI                   \
	MOVQ  (X+8)(DI), R10              \
	MOVQ  WEIGHTS(DI), R8             \
	MOVQ  (WEIGHTS+8)(DI), R9         \
	MOVQ  STEPS(DI), CX               \
	MOVQ  REST(DI), DX                \
	CLEARSUMS                         \
	XORQ  AX, AX                      \
	SHLQ  $4, CX                      \
	JZ    rest                        \
step:                                     \
	HALF2X2(WIDEN, 0, Y0, Y2, Y4, Y6) \
	HALF2X2(WIDEN, 1, Y1, Y3, Y5, Y7) \
	ADDQ  $16, AX                     \
	CMPQ  AX, CX                      \
	JLT   step                        \
rest:                                     \
	TESTQ DX, DX                      \
	JZ    end                         \
	XORQ  DX, DX                      \
	XORQ  AX, AX                      \
	MOVQ  $16, CX                     \
	LEAQ  RESTX(DI), SI               \
	LEAQ  (RESTX+64)(DI), R10         \
	LEAQ  RESTWEIGHTS(DI), R8         \
	LEAQ  (RESTWEIGHTS+32)(DI), R9    \
	JMP   step                        \
end:                                      \
	SUMS

// func f16Dots4AVX2(d *wideDots)
TEXT ·f16Dots4AVX2(SB), NOSPLIT, $0-8
	DOTS4(F16)
	RET

// func bf16Dots4AVX2(d *wideDots)
TEXT ·bf16Dots4AVX2(SB), NOSPLIT, $0-8
	DOTS4(BF16)
	RET

// func f16Dots2x2AVX2(d *wideDots)
TEXT ·f16Dots2x2AVX2(SB), NOSPLIT, $0-8
	DOTS2X2(F16)
	RET

// func bf16Dots2x2AVX2(d *wideDots)
TEXT ·bf16Dots2x2AVX2(SB), NOSPLIT, $0-8
	DOTS2X2(BF16)
	RET
