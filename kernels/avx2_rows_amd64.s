#include "textflag.h"

// Loops over rows, 8 numbers a step where nothing else is said. CX counts what is left. Where a sum or a maximum is made,
// several registers are in flight, so that no step waits for the one before.

// |x| as bits, and 2^-60 as bits less 1: what is not above counts as zero.
DATA absMask<>+0(SB)/4, $0x7FFFFFFF
GLOBL absMask<>(SB), RODATA|NOPTR, $4
DATA tinyLess<>+0(SB)/4, $0x217FFFFF
GLOBL tinyLess<>(SB), RODATA|NOPTR, $4

// LARGEST gives in the 32-bit register OUT the largest lane of Y, as unsigned; X is the lower half of Y.
#define LARGEST(Y, X, OUT) \
	VEXTRACTI128 $1, Y, X15;   \
	VPMAXUD      X15, X, X;    \
	VPSHUFD      $0x4E, X, X15; \
	VPMAXUD      X15, X, X;    \
	VPSHUFD      $0xB1, X, X15; \
	VPMAXUD      X15, X, X;    \
	VMOVD        X, OUT

// func squaresLoopAVX2(lanes *[Lanes]float32, x *float32, n int) (most uint32)
//
// The sum of squares by lanes (rule 2), where |x| < 2^-60 counts as 0 (rule 4), and the largest |x| as bits.
//
//	Y0 Y1 the lanes   Y2 Y3 the largest   Y12 |x|'s mask   Y13 2^-60
//
// 16 numbers a step.
TEXT ·squaresLoopAVX2(SB), NOSPLIT, $0-28
	MOVQ         lanes+0(FP), DI
	MOVQ         x+8(FP), SI
	MOVQ         n+16(FP), CX
	VPBROADCASTD absMask<>(SB), Y12
	VPBROADCASTD tinyLess<>(SB), Y13
	VPXOR        Y0, Y0, Y0
	VPXOR        Y1, Y1, Y1
	VPXOR        Y2, Y2, Y2
	VPXOR        Y3, Y3, Y3

squares:
	VPAND    (SI), Y12, Y4
	VPAND    32(SI), Y12, Y5
	VPMAXUD  Y4, Y2, Y2
	VPMAXUD  Y5, Y3, Y3
	VPCMPGTD Y13, Y4, Y6 // no sign: signed does as well
	VPCMPGTD Y13, Y5, Y7
	VPAND    Y6, Y4, Y4
	VPAND    Y7, Y5, Y5
	VMULPS   Y4, Y4, Y4
	VMULPS   Y5, Y5, Y5
	VADDPS   Y4, Y0, Y0
	VADDPS   Y5, Y1, Y1
	ADDQ     $64, SI
	SUBQ     $16, CX
	JNZ      squares

	VMOVUPS Y0, (DI)
	VMOVUPS Y1, 32(DI)
	VPMAXUD Y3, Y2, Y2
	LARGEST(Y2, X2, AX)
	MOVL    AX, most+24(FP)
	VZEROUPPER
	RET

// func normLoopAVX2(dst, x, gain *float32, n int, r float32)
//
// dst = (x * r) * gain.
TEXT ·normLoopAVX2(SB), NOSPLIT, $0-36
	MOVQ         dst+0(FP), DI
	MOVQ         x+8(FP), SI
	MOVQ         gain+16(FP), DX
	MOVQ         n+24(FP), CX
	VBROADCASTSS r+32(FP), Y0

norm:
	VMULPS  (SI), Y0, Y1
	VMULPS  (DX), Y1, Y1
	VMOVUPS Y1, (DI)
	ADDQ    $32, SI
	ADDQ    $32, DX
	ADDQ    $32, DI
	SUBQ    $8, CX
	JNZ     norm
	VZEROUPPER
	RET

// func roundLoopAVX2(x *float32, n int, down, up float32)
//
// x = float32(float16(x * down)) * up, float16 by rounding to nearest even (the immediate 0).
TEXT ·roundLoopAVX2(SB), NOSPLIT, $0-24
	MOVQ         x+0(FP), SI
	MOVQ         n+8(FP), CX
	VBROADCASTSS down+16(FP), Y0
	VBROADCASTSS up+20(FP), Y1

round:
	VMULPS    (SI), Y0, Y2
	VCVTPS2PH $0, Y2, X2
	VCVTPH2PS X2, Y2
	VMULPS    Y2, Y1, Y2
	VMOVUPS   Y2, (SI)
	ADDQ      $32, SI
	SUBQ      $8, CX
	JNZ       round
	VZEROUPPER
	RET

// func roundHalfLoopAVX2(half *byte, x *float32, n int, down, up float32)
//
// The same, and the float16s go to half.
TEXT ·roundHalfLoopAVX2(SB), NOSPLIT, $0-32
	MOVQ         half+0(FP), DI
	MOVQ         x+8(FP), SI
	MOVQ         n+16(FP), CX
	VBROADCASTSS down+24(FP), Y0
	VBROADCASTSS up+28(FP), Y1

roundHalf:
	VMULPS    (SI), Y0, Y2
	VCVTPS2PH $0, Y2, X2
	VMOVDQU   X2, (DI)
	VCVTPH2PS X2, Y2
	VMULPS    Y2, Y1, Y2
	VMOVUPS   Y2, (SI)
	ADDQ      $32, SI
	ADDQ      $16, DI
	SUBQ      $8, CX
	JNZ       roundHalf
	VZEROUPPER
	RET

// func widenLoopAVX2(dst *float32, half *byte, n int, up float32)
//
// dst = float32(half) * up.
TEXT ·widenLoopAVX2(SB), NOSPLIT, $0-28
	MOVQ         dst+0(FP), DI
	MOVQ         half+8(FP), SI
	MOVQ         n+16(FP), CX
	VBROADCASTSS up+24(FP), Y0

widen:
	VCVTPH2PS (SI), Y1
	VMULPS    Y1, Y0, Y1
	VMOVUPS   Y1, (DI)
	ADDQ      $16, SI
	ADDQ      $32, DI
	SUBQ      $8, CX
	JNZ       widen
	VZEROUPPER
	RET

// func rotateLoopAVX2(a, b, cos, sin *float32, n int)
//
// (a, b) = (a*cos - b*sin, b*cos + a*sin), each product rounded.
TEXT ·rotateLoopAVX2(SB), NOSPLIT, $0-40
	MOVQ a+0(FP), DI
	MOVQ b+8(FP), SI
	MOVQ cos+16(FP), R8
	MOVQ sin+24(FP), R9
	MOVQ n+32(FP), CX

rotate:
	VMOVUPS (DI), Y0
	VMOVUPS (SI), Y1
	VMOVUPS (R8), Y2
	VMOVUPS (R9), Y3
	VMULPS  Y2, Y0, Y4
	VMULPS  Y3, Y1, Y5
	VSUBPS  Y5, Y4, Y4 // Y4 - Y5
	VMULPS  Y2, Y1, Y6
	VMULPS  Y3, Y0, Y7
	VADDPS  Y7, Y6, Y6
	VMOVUPS Y4, (DI)
	VMOVUPS Y6, (SI)
	ADDQ    $32, DI
	ADDQ    $32, SI
	ADDQ    $32, R8
	ADDQ    $32, R9
	SUBQ    $8, CX
	JNZ     rotate
	VZEROUPPER
	RET

// func maxAbsLoopAVX2(x *float32, n int) uint32
//
// The largest |x| as bits: 32 numbers a step in Y0..Y3, then the rest.
TEXT ·maxAbsLoopAVX2(SB), NOSPLIT, $0-20
	MOVQ         x+0(FP), SI
	MOVQ         n+8(FP), CX
	VPBROADCASTD absMask<>(SB), Y12
	VPXOR        Y0, Y0, Y0
	VPXOR        Y1, Y1, Y1
	VPXOR        Y2, Y2, Y2
	VPXOR        Y3, Y3, Y3
	SUBQ         $32, CX
	JLT          few

four:
	VPAND   (SI), Y12, Y4
	VPAND   32(SI), Y12, Y5
	VPAND   64(SI), Y12, Y6
	VPAND   96(SI), Y12, Y7
	VPMAXUD Y4, Y0, Y0
	VPMAXUD Y5, Y1, Y1
	VPMAXUD Y6, Y2, Y2
	VPMAXUD Y7, Y3, Y3
	ADDQ    $128, SI
	SUBQ    $32, CX
	JGE     four

few:
	ADDQ $32, CX
	JZ   end

one:
	VPAND   (SI), Y12, Y4
	VPMAXUD Y4, Y0, Y0
	ADDQ    $32, SI
	SUBQ    $8, CX
	JNZ     one

end:
	VPMAXUD Y1, Y0, Y0
	VPMAXUD Y3, Y2, Y2
	VPMAXUD Y2, Y0, Y0
	LARGEST(Y0, X0, AX)
	MOVL    AX, ret+16(FP)
	VZEROUPPER
	RET

// func addLoopAVX2(dst, src *float32, n int)
TEXT ·addLoopAVX2(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ n+16(FP), CX

add:
	VMOVUPS (DI), Y0
	VADDPS  (SI), Y0, Y0
	VMOVUPS Y0, (DI)
	ADDQ    $32, DI
	ADDQ    $32, SI
	SUBQ    $8, CX
	JNZ     add
	VZEROUPPER
	RET

// func divideLoopAVX2(dst *float32, n int, by float32)
TEXT ·divideLoopAVX2(SB), NOSPLIT, $0-20
	MOVQ         dst+0(FP), DI
	MOVQ         n+8(FP), CX
	VBROADCASTSS by+16(FP), Y0

divide:
	VMOVUPS (DI), Y1
	VDIVPS  Y0, Y1, Y1 // Y1 / Y0
	VMOVUPS Y1, (DI)
	ADDQ    $32, DI
	SUBQ    $8, CX
	JNZ     divide
	VZEROUPPER
	RET
