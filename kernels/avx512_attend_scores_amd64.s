#include "textflag.h"
#include "avx512_rows_amd64.h"

// The scores of queries with the keys of a cache.

// ASK asks for 8 lines ahead, a few at a time: more at once would hold up the loads behind them.
#define ASK(at) \
	PREFETCHT1 (at)(DI); \
	PREFETCHT1 (at+64)(DI); \
	PREFETCHT1 (at+128)(DI); \
	PREFETCHT1 (at+192)(DI); \
	PREFETCHT1 (at+256)(DI); \
	PREFETCHT1 (at+320)(DI); \
	PREFETCHT1 (at+384)(DI); \
	PREFETCHT1 (at+448)(DI)

// index says which words of the scales of 16 tokens (4 each) are those of unit b: 4t+b at 32*b + 2*t.
#define INDEX(b, at) \
	DATA index<>+(at+0)(SB)/8, $(0x000C000800040000+b*0x0001000100010001); \
	DATA index<>+(at+8)(SB)/8, $(0x001C001800140010+b*0x0001000100010001); \
	DATA index<>+(at+16)(SB)/8, $(0x002C002800240020+b*0x0001000100010001); \
	DATA index<>+(at+24)(SB)/8, $(0x003C003800340030+b*0x0001000100010001)

INDEX(0, 0)
INDEX(1, 32)
INDEX(2, 64)
INDEX(3, 96)
GLOBL index<>(SB), RODATA|NOPTR, $128

// KEYS loads 64 codes at an offset of four tokens, from a register on, and takes their sign off (xor 0x80).
#define KEYS(off, at, a, b, c, d) \
	VPXORD off(at), Z31, a; \
	VPXORD off(at)(R8*1), Z31, b; \
	VPXORD off(at)(R8*2), Z31, c; \
	VPXORD off(at)(R9*1), Z31, d

// SQUARE turns the 4x4 dwords of each 128-bit lane of a..d around: a has the first dwords of a, b, c and d then, and so on.
#define SQUARE(a, b, c, d) \
	VPUNPCKLDQ  b, a, Z20; \
	VPUNPCKHDQ  b, a, Z21; \
	VPUNPCKLDQ  d, c, b; \
	VPUNPCKHDQ  d, c, d; \
	VPUNPCKLQDQ b, Z20, a; \
	VPUNPCKHQDQ b, Z20, b; \
	VPUNPCKLQDQ d, Z21, c; \
	VPUNPCKHQDQ d, Z21, d

// LANES turns the 4x4 lanes of a..d around in the same way.
#define LANES(a, b, c, d) \
	VSHUFI32X4 $0x44, b, a, Z20; \
	VSHUFI32X4 $0xEE, b, a, Z21; \
	VSHUFI32X4 $0x44, d, c, b; \
	VSHUFI32X4 $0xEE, d, c, d; \
	VSHUFI32X4 $0x88, b, Z20, a; \
	VSHUFI32X4 $0xDD, b, Z20, b; \
	VSHUFI32X4 $0x88, d, Z21, c; \
	VSHUFI32X4 $0xDD, d, Z21, d

// TURN loads two units, 64 codes, of 16 tokens and turns them around, so that a register has 4 codes of each token: Z0..Z7
// have the first unit's, Z8..Z15 the second's.
#define TURN(off) \
	KEYS(off, SI, Z0, Z1, Z2, Z3); \
	SQUARE(Z0, Z1, Z2, Z3); \
	KEYS(off, R10, Z4, Z5, Z6, Z7); \
	SQUARE(Z4, Z5, Z6, Z7); \
	KEYS(off, R11, Z8, Z9, Z10, Z11); \
	SQUARE(Z8, Z9, Z10, Z11); \
	KEYS(off, R12, Z12, Z13, Z14, Z15); \
	SQUARE(Z12, Z13, Z14, Z15); \
	LANES(Z0, Z4, Z8, Z12); \
	LANES(Z1, Z5, Z9, Z13); \
	LANES(Z2, Z6, Z10, Z14); \
	LANES(Z3, Z7, Z11, Z15)

// ADD_TERM adds the terms of query i's unit b to its sums: float32(d) * (qs * ks).
#define ADD_TERM(i, b, sum, t0, t1, t2, t3, t4, t5, t6, t7) \
	VPBROADCASTD   (16*i+4*b)(DX), Z20; \
	VPDPBUSD.BCST  (128*i+32*b)(BX), t0, Z20; \
	VPDPBUSD.BCST  (128*i+32*b+4)(BX), t1, Z20; \
	VPDPBUSD.BCST  (128*i+32*b+8)(BX), t2, Z20; \
	VPDPBUSD.BCST  (128*i+32*b+12)(BX), t3, Z20; \
	VPDPBUSD.BCST  (128*i+32*b+16)(BX), t4, Z20; \
	VPDPBUSD.BCST  (128*i+32*b+20)(BX), t5, Z20; \
	VPDPBUSD.BCST  (128*i+32*b+24)(BX), t6, Z20; \
	VPDPBUSD.BCST  (128*i+32*b+28)(BX), t7, Z20; \
	VMULPS.BCST    (16*i+4*b)(AX), Z26, Z21; \
	VCVTDQ2PS      Z20, Z20; \
	VMULPS         Z21, Z20, Z20; \
	VADDPS         Z20, sum, sum

#define FIRST(i, b, sum)  ADD_TERM(i, b, sum, Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7)
#define SECOND(i, b, sum) ADD_TERM(i, b, sum, Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15)

// UNIT adds the terms of unit b for all queries.
#define UNIT(b, TERM, end) \
	VMOVDQU16 index<>+(32*b)(SB), Y26; \
	VPERMI2W  Z25, Z24, Z26; \
	VCVTPH2PS Y26, Z26; \
	TERM(0, b, Z16); \
	CMPQ      CX, $2; \
	JLT       end; \
	TERM(1, b, Z17); \
	JEQ       end; \
	TERM(2, b, Z18); \
	CMPQ      CX, $4; \
	JLT       end; \
	TERM(3, b, Z19); \
end:

// func scores512(dst *float32, stride int, codes *int8, own *float32, starts *int32, n int, root float32, keys, scales *byte, width, tokens, ahead int)
//
// The scores of n = 1..4 queries of 128 elements with at least 16 tokens. A turn takes 16 tokens, one in each lane; the last
// one goes back to have as many. The keys are turned around, once for all queries, so that one VPDPBUSD multiplies 4 codes
// of each token with 4 of a query. Keys are its side without sign; the sum starts at the query's start. Meanwhile a turn asks for
// the codes of 16 tokens ahead.
//
//	SI, R10, R11, R12  the keys of tokens 0, 4, 8 and 12 of the turn   R8, R9  width, and 3 times
//	R14, R15  their scales, width/16   R13  the turn's first token   DI  its place in dst
//	BX, AX, DX  the queries' codes, scales and starts   CX  n
//	Z16..Z19  sums of each query   Z24, Z25  scales [token][unit]   Z26  scales of the unit   Z31  0x80 in each byte
TEXT ·scores512(SB), NOSPLIT, $0-96
	MOVQ         codes+16(FP), BX
	MOVQ         n+40(FP), CX
	MOVQ         width+72(FP), R8
	LEAQ         (R8)(R8*2), R9
	MOVL         $0x80808080, AX
	VPBROADCASTD AX, Z31
	MOVL         $0x02, AX
	KMOVW        AX, K1
	MOVL         $0x04, AX
	KMOVW        AX, K2
	MOVL         $0x08, AX
	KMOVW        AX, K3
	MOVL         $0x10, AX
	KMOVW        AX, K4
	MOVL         $0x20, AX
	KMOVW        AX, K5
	MOVL         $0x40, AX
	KMOVW        AX, K6
	MOVL         $0x80, AX
	KMOVW        AX, K7
	XORL         R13, R13

loop:
	// The scales of the 16 tokens, 8 bytes each.
	MOVQ         R8, R15
	SHRQ         $4, R15
	MOVQ         R15, R14
	IMULQ        R13, R14
	ADDQ         scales+64(FP), R14
	LEAQ         (R15)(R15*2), AX
	LEAQ         (R14)(R15*4), DX
	VMOVQ        (R14), X24
	VPBROADCASTQ (R14)(R15*1), K1, Z24
	VPBROADCASTQ (R14)(R15*2), K2, Z24
	VPBROADCASTQ (R14)(AX*1), K3, Z24
	VPBROADCASTQ (DX), K4, Z24
	VPBROADCASTQ (DX)(R15*1), K5, Z24
	VPBROADCASTQ (DX)(R15*2), K6, Z24
	VPBROADCASTQ (DX)(AX*1), K7, Z24
	LEAQ         (R14)(R15*8), R14
	LEAQ         (DX)(R15*8), DX
	VMOVQ        (R14), X25
	VPBROADCASTQ (R14)(R15*1), K1, Z25
	VPBROADCASTQ (R14)(R15*2), K2, Z25
	VPBROADCASTQ (R14)(AX*1), K3, Z25
	VPBROADCASTQ (DX), K4, Z25
	VPBROADCASTQ (DX)(R15*1), K5, Z25
	VPBROADCASTQ (DX)(R15*2), K6, Z25
	VPBROADCASTQ (DX)(AX*1), K7, Z25

	MOVQ   R8, SI
	IMULQ  R13, SI
	ADDQ   keys+56(FP), SI
	LEAQ   (SI)(R8*4), R10
	LEAQ   (SI)(R8*8), R11
	LEAQ   (R10)(R8*8), R12
	MOVQ   SI, DI
	ADDQ   ahead+88(FP), DI
	MOVQ   own+24(FP), AX
	MOVQ   starts+32(FP), DX
	VPXORD Z16, Z16, Z16
	VPXORD Z17, Z17, Z17
	VPXORD Z18, Z18, Z18
	VPXORD Z19, Z19, Z19
	ASK(0)
	TURN(0)
	ASK(512)
	UNIT(0, FIRST, unit1)
	ASK(1024)
	UNIT(1, SECOND, unit2)
	ASK(1536)
	TURN(64)
	UNIT(2, FIRST, unit3)
	UNIT(3, SECOND, store)

	VBROADCASTSS root+48(FP), Z20
	MOVQ         dst+0(FP), DI
	LEAQ         (DI)(R13*4), DI
	MOVQ         stride+8(FP), R14
	SHLQ         $2, R14
	VMULPS       Z20, Z16, Z16
	VMOVUPS      Z16, (DI)
	CMPQ         CX, $2
	JLT          next
	VMULPS       Z20, Z17, Z17
	VMOVUPS      Z17, (DI)(R14*1)
	JEQ          next
	VMULPS       Z20, Z18, Z18
	VMOVUPS      Z18, (DI)(R14*2)
	CMPQ         CX, $4
	JLT          next
	LEAQ         (DI)(R14*2), DI
	VMULPS       Z20, Z19, Z19
	VMOVUPS      Z19, (DI)(R14*1)

next:
	ADDQ    $16, R13
	MOVQ    tokens+80(FP), R14
	CMPQ    R13, R14
	JGE     done
	SUBQ    $16, R14
	CMPQ    R13, R14
	CMOVQGT R14, R13
	JMP     loop

done:
	VZEROUPPER
	RET

// func scoresByUnit512(dst *float32, codes *int8, own *float32, starts *int32, units int, root float32, keys, scales *byte, width, tokens int)
//
// The scores of one query with tokens one by one, of any number of units each.
//
//	X5 sum   Y6 0x80 in each byte   R10, R11  the unit's codes and scale   BX, AX, DX  the query's
TEXT ·scoresByUnit512(SB), NOSPLIT, $0-80
	MOVQ         dst+0(FP), DI
	MOVQ         keys+48(FP), SI
	MOVQ         scales+56(FP), R14
	MOVQ         width+64(FP), R8
	MOVQ         R8, R15
	SHRQ         $4, R15
	MOVQ         tokens+72(FP), CX
	MOVL         $0x80808080, AX
	VPBROADCASTD AX, Y6

token:
	MOVQ  codes+8(FP), BX
	MOVQ  own+16(FP), AX
	MOVQ  starts+24(FP), DX
	MOVQ  units+32(FP), R9
	MOVQ  SI, R10
	MOVQ  R14, R11
	VPXOR X5, X5, X5

unit:
	VPXOR        (R10), Y6, Y0
	VMOVD        (DX), X1
	VPDPBUSD     (BX), Y0, Y1
	VEXTRACTI128 $1, Y1, X2
	VPADDD       X2, X1, X1
	VPSHUFD      $0x4E, X1, X2
	VPADDD       X2, X1, X1
	VPSHUFD      $0xB1, X1, X2
	VPADDD       X2, X1, X1
	VCVTDQ2PS    X1, X1
	MOVWLZX      (R11), R12
	VMOVD        R12, X2
	VCVTPH2PS    X2, X2
	VMULSS       (AX), X2, X2
	VMULSS       X2, X1, X1
	VADDSS       X1, X5, X5
	ADDQ         $32, R10
	ADDQ         $2, R11
	ADDQ         $32, BX
	ADDQ         $4, AX
	ADDQ         $4, DX
	DECQ         R9
	JNZ          unit

	VMULSS root+40(FP), X5, X5
	VMOVSS X5, (DI)
	ADDQ   $4, DI
	ADDQ   R8, SI
	ADDQ   R15, R14
	DECQ   CX
	JNZ    token
	VZEROUPPER
	RET

// func scoresHalf512(dst, x *float32, size int, root float32, keys *byte, width, tokens int)
//
// The products of x, of 16's multiple of elements, and float16 keys, by lanes, times root. Four tokens at a time, so that
// their sums do not wait for each other; the last ones alone.
//
//	Z0, Z6, Z7, Z8 sums of tokens   SI, R10  keys   R8, R9  bytes of a token, and 3 times   BX  x
TEXT ·scoresHalf512(SB), NOSPLIT, $0-56
	MOVQ dst+0(FP), DI
	MOVQ keys+32(FP), SI
	MOVQ width+40(FP), R8
	ADDQ R8, R8
	LEAQ (R8)(R8*2), R9
	MOVQ tokens+48(FP), CX
	SUBQ $4, CX
	JLT  few

four:
	MOVQ   x+8(FP), BX
	MOVQ   size+16(FP), DX
	MOVQ   SI, R10
	VPXORD Z0, Z0, Z0
	VPXORD Z6, Z6, Z6
	VPXORD Z7, Z7, Z7
	VPXORD Z8, Z8, Z8

lanesOfFour:
	VMOVUPS   (BX), Z1
	VCVTPH2PS (R10), Z2
	VCVTPH2PS (R10)(R8*1), Z3
	VCVTPH2PS (R10)(R8*2), Z4
	VCVTPH2PS (R10)(R9*1), Z5
	VMULPS    Z1, Z2, Z2
	VMULPS    Z1, Z3, Z3
	VMULPS    Z1, Z4, Z4
	VMULPS    Z1, Z5, Z5
	VADDPS    Z2, Z0, Z0
	VADDPS    Z3, Z6, Z6
	VADDPS    Z4, Z7, Z7
	VADDPS    Z5, Z8, Z8
	ADDQ      $64, BX
	ADDQ      $32, R10
	SUBQ      $16, DX
	JNZ       lanesOfFour

	SUM_LANES(Z0, Y0, X0, Y1, X1)
	SUM_LANES(Z6, Y6, X6, Y2, X2)
	SUM_LANES(Z7, Y7, X7, Y3, X3)
	SUM_LANES(Z8, Y8, X8, Y4, X4)
	VMOVSS root+24(FP), X1
	VMULSS X1, X0, X0
	VMULSS X1, X6, X6
	VMULSS X1, X7, X7
	VMULSS X1, X8, X8
	VMOVSS X0, (DI)
	VMOVSS X6, 4(DI)
	VMOVSS X7, 8(DI)
	VMOVSS X8, 12(DI)
	ADDQ   $16, DI
	LEAQ   (SI)(R8*4), SI
	SUBQ   $4, CX
	JGE    four

few:
	ADDQ $4, CX
	JZ   done

one:
	MOVQ   x+8(FP), BX
	MOVQ   size+16(FP), DX
	MOVQ   SI, R10
	VPXORD Z0, Z0, Z0

lanesOfOne:
	VCVTPH2PS (R10), Z2
	VMULPS    (BX), Z2, Z2
	VADDPS    Z2, Z0, Z0
	ADDQ      $64, BX
	ADDQ      $32, R10
	SUBQ      $16, DX
	JNZ       lanesOfOne

	SUM_LANES(Z0, Y0, X0, Y1, X1)
	VMULSS root+24(FP), X0, X0
	VMOVSS X0, (DI)
	ADDQ   $4, DI
	ADDQ   R8, SI
	DECQ   CX
	JNZ    one

done:
	VZEROUPPER
	RET
