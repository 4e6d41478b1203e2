#include "textflag.h"

// The same over the float16 cache, 32 numbers (a line of the processor's cache) at a time. Tokens lie 2*width bytes apart.

// func scoresHalfLoopAVX2(dst, x *float32, root float32, keys *byte, width, tokens, units int)
//
// dst[t] = (the dot product of x and token t's key, by lanes) * root.
//
//	DI dst   SI x   R8 the token's key   R9 where in it, R10 2*width   CX tokens left   DX units left
//	Y0 Y1 lanes   X13 root
TEXT ·scoresHalfLoopAVX2(SB), NOSPLIT, $0-56
	MOVQ   dst+0(FP), DI
	VMOVSS root+16(FP), X13
	MOVQ   keys+24(FP), R8
	MOVQ   width+32(FP), R10
	MOVQ   tokens+40(FP), CX
	ADDQ   R10, R10

score:
	MOVQ   x+8(FP), SI
	MOVQ   units+48(FP), DX
	MOVQ   R8, R9
	VXORPS Y0, Y0, Y0
	VXORPS Y1, Y1, Y1

scoreUnit:
	VCVTPH2PS (R9), Y2
	VCVTPH2PS 16(R9), Y3
	VCVTPH2PS 32(R9), Y4
	VCVTPH2PS 48(R9), Y5
	VMULPS    (SI), Y2, Y2
	VMULPS    32(SI), Y3, Y3
	VMULPS    64(SI), Y4, Y4
	VMULPS    96(SI), Y5, Y5
	VADDPS    Y2, Y0, Y0
	VADDPS    Y3, Y1, Y1
	VADDPS    Y4, Y0, Y0
	VADDPS    Y5, Y1, Y1
	ADDQ      $64, R9
	ADDQ      $128, SI
	DECQ      DX
	JNZ       scoreUnit

	// l and l+8, then +4, +2, +1.
	VADDPS       Y1, Y0, Y0
	VEXTRACTF128 $1, Y0, X1
	VADDPS       X1, X0, X0
	VMOVHLPS     X0, X0, X1
	VADDPS       X1, X0, X0
	VMOVSHDUP    X0, X1
	VADDSS       X1, X0, X0
	VMULSS       X13, X0, X0
	VMOVSS       X0, (DI)
	ADDQ         $4, DI
	ADDQ         R10, R8
	DECQ         CX
	JNZ          score
	VZEROUPPER
	RET

// func valuesHalfLoopAVX2(total, p *float32, codes *byte, width, tokens, units int)
//
// total += p * value, token by token: for each unit, whose 32 sums stay in registers, one pass over the tokens. A token of
// weight 0 is left out.
//
//	DI total   SI p   BX the first token's values, R8 the token's   R10 2*width   CX tokens left   DX units left
//	Y8..Y11 sums   Y0 the weight
TEXT ·valuesHalfLoopAVX2(SB), NOSPLIT, $0-48
	MOVQ total+0(FP), DI
	MOVQ codes+16(FP), BX
	MOVQ width+24(FP), R10
	MOVQ units+40(FP), DX
	ADDQ R10, R10

valueUnit:
	MOVQ    p+8(FP), SI
	MOVQ    tokens+32(FP), CX
	MOVQ    BX, R8
	VMOVUPS (DI), Y8
	VMOVUPS 32(DI), Y9
	VMOVUPS 64(DI), Y10
	VMOVUPS 96(DI), Y11

value:
	MOVL         (SI), AX
	TESTL        AX, AX
	JEQ          nextValue
	VBROADCASTSS (SI), Y0
	VCVTPH2PS    (R8), Y1
	VCVTPH2PS    16(R8), Y2
	VCVTPH2PS    32(R8), Y3
	VCVTPH2PS    48(R8), Y4
	VMULPS       Y0, Y1, Y1
	VMULPS       Y0, Y2, Y2
	VMULPS       Y0, Y3, Y3
	VMULPS       Y0, Y4, Y4
	VADDPS       Y1, Y8, Y8
	VADDPS       Y2, Y9, Y9
	VADDPS       Y3, Y10, Y10
	VADDPS       Y4, Y11, Y11

nextValue:
	ADDQ $4, SI
	ADDQ R10, R8
	DECQ CX
	JNZ  value

	VMOVUPS Y8, (DI)
	VMOVUPS Y9, 32(DI)
	VMOVUPS Y10, 64(DI)
	VMOVUPS Y11, 96(DI)
	ADDQ    $128, DI
	ADDQ    $64, BX
	DECQ    DX
	JNZ     valueUnit
	VZEROUPPER
	RET
