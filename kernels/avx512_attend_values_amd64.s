#include "textflag.h"

// Sums of the values of a cache times their weights, token by token. The loops for 128 elements ask for what lies ahead of each
// token.

// SKIP goes to a label where a token's weight (or each of the weights or'ed together in a register) is 0.
#define SKIP(r, label) \
	TESTL r, r; \
	JZ    label

// WEIGHTS leaves a weight times the scales of 4 units on the stack.
#define WEIGHTS(p, at) \
	VMULPS.BCST p, X30, X31; \
	VMOVUPS     X31, at(SP)

// VALUE makes float32s of 16 codes.
#define VALUE(at, z) \
	VPMOVSXBD at(SI), z; \
	VCVTDQ2PS z, z

// TERM adds 16 values times the weight that is on the stack to sums. Each product is rounded before.
#define TERM(z, weight, sums) \
	VMULPS.BCST weight(SP), z, Z31; \
	VADDPS      Z31, sums, sums

// func values512x1(total, p *float32, codes, scales *byte, width, tokens, ahead int)
//
// For one query and 128 elements. A turn of the loop is a token.
//
//	Z0..Z7 sums   SI, R8  codes, width   R9, R10  scales, width/16   DX  p
TEXT ·values512x1(SB), NOSPLIT, $16-56
	MOVQ total+0(FP), DI
	MOVQ p+8(FP), DX
	MOVQ codes+16(FP), SI
	MOVQ scales+24(FP), R9
	MOVQ width+32(FP), R8
	MOVQ tokens+40(FP), CX
	MOVQ R8, R10
	SHRQ $4, R10
	MOVQ ahead+48(FP), R15
	VMOVUPS 0(DI), Z0
	VMOVUPS 64(DI), Z1
	VMOVUPS 128(DI), Z2
	VMOVUPS 192(DI), Z3
	VMOVUPS 256(DI), Z4
	VMOVUPS 320(DI), Z5
	VMOVUPS 384(DI), Z6
	VMOVUPS 448(DI), Z7

loop:
	PREFETCHT1 (SI)(R15*1)
	PREFETCHT1 64(SI)(R15*1)
	MOVL      (DX), AX
	SKIP(AX, next)
	VCVTPH2PS (R9), X30
	WEIGHTS((DX), 0)
	VALUE(0, Z16)
	VALUE(16, Z17)
	VALUE(32, Z18)
	VALUE(48, Z19)
	VALUE(64, Z20)
	VALUE(80, Z21)
	VALUE(96, Z22)
	VALUE(112, Z23)
	TERM(Z16, 0, Z0)
	TERM(Z17, 0, Z1)
	TERM(Z18, 4, Z2)
	TERM(Z19, 4, Z3)
	TERM(Z20, 8, Z4)
	TERM(Z21, 8, Z5)
	TERM(Z22, 12, Z6)
	TERM(Z23, 12, Z7)

next:
	ADDQ $4, DX
	ADDQ R8, SI
	ADDQ R10, R9
	DECQ CX
	JNZ  loop

	VMOVUPS Z0, 0(DI)
	VMOVUPS Z1, 64(DI)
	VMOVUPS Z2, 128(DI)
	VMOVUPS Z3, 192(DI)
	VMOVUPS Z4, 256(DI)
	VMOVUPS Z5, 320(DI)
	VMOVUPS Z6, 384(DI)
	VMOVUPS Z7, 448(DI)
	VZEROUPPER
	RET

// func values512x2(total *float32, size int, p *float32, stride int, codes, scales *byte, width, tokens, ahead int)
//
// For two queries and 128 elements; total and p of the second are size and stride numbers further on.
//
//	Z0..Z7, Z8..Z15 sums   SI, R8  codes, width   R9, R10  scales, width/16   DX, R11  p, bytes of stride
TEXT ·values512x2(SB), NOSPLIT, $32-72
	MOVQ total+0(FP), DI
	MOVQ size+8(FP), BX
	MOVQ p+16(FP), DX
	MOVQ stride+24(FP), R11
	MOVQ codes+32(FP), SI
	MOVQ scales+40(FP), R9
	MOVQ width+48(FP), R8
	MOVQ tokens+56(FP), CX
	MOVQ R8, R10
	SHRQ $4, R10
	SHLQ $2, R11
	LEAQ (DI)(BX*4), BX
	MOVQ ahead+64(FP), R15
	VMOVUPS 0(DI), Z0
	VMOVUPS 64(DI), Z1
	VMOVUPS 128(DI), Z2
	VMOVUPS 192(DI), Z3
	VMOVUPS 256(DI), Z4
	VMOVUPS 320(DI), Z5
	VMOVUPS 384(DI), Z6
	VMOVUPS 448(DI), Z7
	VMOVUPS 0(BX), Z8
	VMOVUPS 64(BX), Z9
	VMOVUPS 128(BX), Z10
	VMOVUPS 192(BX), Z11
	VMOVUPS 256(BX), Z12
	VMOVUPS 320(BX), Z13
	VMOVUPS 384(BX), Z14
	VMOVUPS 448(BX), Z15

loop:
	PREFETCHT1 (SI)(R15*1)
	PREFETCHT1 64(SI)(R15*1)
	MOVL      (DX), AX
	ORL       (DX)(R11*1), AX
	SKIP(AX, next)
	VCVTPH2PS (R9), X30
	WEIGHTS((DX), 0)
	WEIGHTS((DX)(R11*1), 16)
	VALUE(0, Z16)
	TERM(Z16, 0, Z0)
	TERM(Z16, 16, Z8)
	VALUE(16, Z17)
	TERM(Z17, 0, Z1)
	TERM(Z17, 16, Z9)
	VALUE(32, Z18)
	TERM(Z18, 4, Z2)
	TERM(Z18, 20, Z10)
	VALUE(48, Z19)
	TERM(Z19, 4, Z3)
	TERM(Z19, 20, Z11)
	VALUE(64, Z20)
	TERM(Z20, 8, Z4)
	TERM(Z20, 24, Z12)
	VALUE(80, Z21)
	TERM(Z21, 8, Z5)
	TERM(Z21, 24, Z13)
	VALUE(96, Z22)
	TERM(Z22, 12, Z6)
	TERM(Z22, 28, Z14)
	VALUE(112, Z23)
	TERM(Z23, 12, Z7)
	TERM(Z23, 28, Z15)

next:
	ADDQ $4, DX
	ADDQ R8, SI
	ADDQ R10, R9
	DECQ CX
	JNZ  loop

	VMOVUPS Z0, 0(DI)
	VMOVUPS Z1, 64(DI)
	VMOVUPS Z2, 128(DI)
	VMOVUPS Z3, 192(DI)
	VMOVUPS Z4, 256(DI)
	VMOVUPS Z5, 320(DI)
	VMOVUPS Z6, 384(DI)
	VMOVUPS Z7, 448(DI)
	VMOVUPS Z8, 0(BX)
	VMOVUPS Z9, 64(BX)
	VMOVUPS Z10, 128(BX)
	VMOVUPS Z11, 192(BX)
	VMOVUPS Z12, 256(BX)
	VMOVUPS Z13, 320(BX)
	VMOVUPS Z14, 384(BX)
	VMOVUPS Z15, 448(BX)
	VZEROUPPER
	RET

// func values512x4(total *float32, size int, p *float32, stride int, codes, scales *byte, width, tokens, ahead int)
//
// For four queries and 128 elements, in two passes of 64: the sums of all would not fit into the registers.
//
//	Z0..Z3, Z4..Z7, Z8..Z11, Z12..Z15 sums   SI, R8  codes, width   R9, R10  scales, width/16
//	DX, R11, R12  p, bytes of stride, and 3 times   DI, BX, R13  total, bytes of size, and 3 times   R14 passes
TEXT ·values512x4(SB), NOSPLIT, $64-72
	MOVQ total+0(FP), DI
	MOVQ size+8(FP), BX
	MOVQ stride+24(FP), R11
	MOVQ width+48(FP), R8
	MOVQ R8, R10
	SHRQ $4, R10
	SHLQ $2, R11
	LEAQ (R11)(R11*2), R12
	SHLQ $2, BX
	LEAQ (BX)(BX*2), R13
	MOVQ codes+32(FP), SI
	MOVQ scales+40(FP), R9
	MOVL $2, R14

pass:
	MOVQ p+16(FP), DX
	MOVQ tokens+56(FP), CX
	MOVQ ahead+64(FP), R15
	VMOVUPS 0(DI), Z0
	VMOVUPS 64(DI), Z1
	VMOVUPS 128(DI), Z2
	VMOVUPS 192(DI), Z3
	VMOVUPS 0(DI)(BX*1), Z4
	VMOVUPS 64(DI)(BX*1), Z5
	VMOVUPS 128(DI)(BX*1), Z6
	VMOVUPS 192(DI)(BX*1), Z7
	VMOVUPS 0(DI)(BX*2), Z8
	VMOVUPS 64(DI)(BX*2), Z9
	VMOVUPS 128(DI)(BX*2), Z10
	VMOVUPS 192(DI)(BX*2), Z11
	VMOVUPS 0(DI)(R13*1), Z12
	VMOVUPS 64(DI)(R13*1), Z13
	VMOVUPS 128(DI)(R13*1), Z14
	VMOVUPS 192(DI)(R13*1), Z15

loop:
	PREFETCHT1 (SI)(R15*1)
	PREFETCHT1 64(SI)(R15*1)
	MOVL      (DX), AX
	ORL       (DX)(R11*1), AX
	ORL       (DX)(R11*2), AX
	ORL       (DX)(R12*1), AX
	SKIP(AX, next)
	VMOVD     (R9), X30
	VCVTPH2PS X30, X30
	WEIGHTS((DX), 0)
	WEIGHTS((DX)(R11*1), 16)
	WEIGHTS((DX)(R11*2), 32)
	WEIGHTS((DX)(R12*1), 48)
	VALUE(0, Z16)
	TERM(Z16, 0, Z0)
	TERM(Z16, 16, Z4)
	TERM(Z16, 32, Z8)
	TERM(Z16, 48, Z12)
	VALUE(16, Z17)
	TERM(Z17, 0, Z1)
	TERM(Z17, 16, Z5)
	TERM(Z17, 32, Z9)
	TERM(Z17, 48, Z13)
	VALUE(32, Z18)
	TERM(Z18, 4, Z2)
	TERM(Z18, 20, Z6)
	TERM(Z18, 36, Z10)
	TERM(Z18, 52, Z14)
	VALUE(48, Z19)
	TERM(Z19, 4, Z3)
	TERM(Z19, 20, Z7)
	TERM(Z19, 36, Z11)
	TERM(Z19, 52, Z15)

next:
	ADDQ $4, DX
	ADDQ R8, SI
	ADDQ R10, R9
	DECQ CX
	JNZ  loop

	VMOVUPS Z0, 0(DI)
	VMOVUPS Z1, 64(DI)
	VMOVUPS Z2, 128(DI)
	VMOVUPS Z3, 192(DI)
	VMOVUPS Z4, 0(DI)(BX*1)
	VMOVUPS Z5, 64(DI)(BX*1)
	VMOVUPS Z6, 128(DI)(BX*1)
	VMOVUPS Z7, 192(DI)(BX*1)
	VMOVUPS Z8, 0(DI)(BX*2)
	VMOVUPS Z9, 64(DI)(BX*2)
	VMOVUPS Z10, 128(DI)(BX*2)
	VMOVUPS Z11, 192(DI)(BX*2)
	VMOVUPS Z12, 0(DI)(R13*1)
	VMOVUPS Z13, 64(DI)(R13*1)
	VMOVUPS Z14, 128(DI)(R13*1)
	VMOVUPS Z15, 192(DI)(R13*1)
	MOVQ codes+32(FP), SI
	MOVQ scales+40(FP), R9
	ADDQ $64, SI
	ADDQ $4, R9
	ADDQ $256, DI
	DECQ R14
	JNZ  pass
	VZEROUPPER
	RET

// func valuesOfUnit512(total, p *float32, codes, scales *byte, width, tokens int)
//
// For one query and one unit.
//
//	Z0, Z1 sums   SI, R8  codes, width   R9, R10  scale, width/16   DX  p
TEXT ·valuesOfUnit512(SB), NOSPLIT, $0-48
	MOVQ    total+0(FP), DI
	MOVQ    p+8(FP), DX
	MOVQ    codes+16(FP), SI
	MOVQ    scales+24(FP), R9
	MOVQ    width+32(FP), R8
	MOVQ    tokens+40(FP), CX
	MOVQ    R8, R10
	SHRQ    $4, R10
	VMOVUPS (DI), Z0
	VMOVUPS 64(DI), Z1

loop:
	MOVL         (DX), AX
	SKIP(AX, next)
	MOVWLZX      (R9), AX
	VMOVD        AX, X30
	VCVTPH2PS    X30, X30
	VMULSS       (DX), X30, X30
	VBROADCASTSS X30, Z30
	VALUE(0, Z2)
	VALUE(16, Z3)
	VMULPS       Z30, Z2, Z2
	VMULPS       Z30, Z3, Z3
	VADDPS       Z2, Z0, Z0
	VADDPS       Z3, Z1, Z1

next:
	ADDQ    $4, DX
	ADDQ    R8, SI
	ADDQ    R10, R9
	DECQ    CX
	JNZ     loop
	VMOVUPS Z0, (DI)
	VMOVUPS Z1, 64(DI)
	VZEROUPPER
	RET

// HALF_TERM adds 16 float16 values times the weight in Z30 to sums.
#define HALF_TERM(at, z, sums) \
	VCVTPH2PS at(SI), z; \
	VMULPS    Z30, z, z; \
	VADDPS    z, sums, sums

// func valuesHalf512(total, p *float32, codes *byte, width, tokens int)
//
// For 128 elements of a float16 cache.
//
//	Z0..Z7 sums   SI, R8  values, bytes of a token   DX  p
TEXT ·valuesHalf512(SB), NOSPLIT, $0-40
	MOVQ total+0(FP), DI
	MOVQ p+8(FP), DX
	MOVQ codes+16(FP), SI
	MOVQ width+24(FP), R8
	MOVQ tokens+32(FP), CX
	ADDQ R8, R8
	VMOVUPS 0(DI), Z0
	VMOVUPS 64(DI), Z1
	VMOVUPS 128(DI), Z2
	VMOVUPS 192(DI), Z3
	VMOVUPS 256(DI), Z4
	VMOVUPS 320(DI), Z5
	VMOVUPS 384(DI), Z6
	VMOVUPS 448(DI), Z7

loop:
	MOVL         (DX), AX
	SKIP(AX, next)
	VPBROADCASTD AX, Z30
	HALF_TERM(0, Z16, Z0)
	HALF_TERM(32, Z17, Z1)
	HALF_TERM(64, Z18, Z2)
	HALF_TERM(96, Z19, Z3)
	HALF_TERM(128, Z20, Z4)
	HALF_TERM(160, Z21, Z5)
	HALF_TERM(192, Z22, Z6)
	HALF_TERM(224, Z23, Z7)

next:
	ADDQ $4, DX
	ADDQ R8, SI
	DECQ CX
	JNZ  loop

	VMOVUPS Z0, 0(DI)
	VMOVUPS Z1, 64(DI)
	VMOVUPS Z2, 128(DI)
	VMOVUPS Z3, 192(DI)
	VMOVUPS Z4, 256(DI)
	VMOVUPS Z5, 320(DI)
	VMOVUPS Z6, 384(DI)
	VMOVUPS Z7, 448(DI)
	VZEROUPPER
	RET

// func valuesHalfOfUnit512(total, p *float32, codes *byte, width, tokens int)
//
// For 32 elements of a float16 cache.
//
//	Z0, Z1 sums   SI, R8  values, bytes of a token   DX  p
TEXT ·valuesHalfOfUnit512(SB), NOSPLIT, $0-40
	MOVQ    total+0(FP), DI
	MOVQ    p+8(FP), DX
	MOVQ    codes+16(FP), SI
	MOVQ    width+24(FP), R8
	MOVQ    tokens+32(FP), CX
	ADDQ    R8, R8
	VMOVUPS (DI), Z0
	VMOVUPS 64(DI), Z1

loop:
	MOVL         (DX), AX
	SKIP(AX, next)
	VPBROADCASTD AX, Z30
	HALF_TERM(0, Z16, Z0)
	HALF_TERM(32, Z17, Z1)

next:
	ADDQ    $4, DX
	ADDQ    R8, SI
	DECQ    CX
	JNZ     loop
	VMOVUPS Z0, (DI)
	VMOVUPS Z1, 64(DI)
	VZEROUPPER
	RET
