#include "textflag.h"

// Exp as exp.go has it, for 8 numbers: the same steps, each product rounded, nothing fused. Constants are whole vectors in
// memory, for registers would not do.

#define EIGHT(AT, BITS) \
	DATA exp<>+(AT+0)(SB)/4, $BITS;  \
	DATA exp<>+(AT+4)(SB)/4, $BITS;  \
	DATA exp<>+(AT+8)(SB)/4, $BITS;  \
	DATA exp<>+(AT+12)(SB)/4, $BITS; \
	DATA exp<>+(AT+16)(SB)/4, $BITS; \
	DATA exp<>+(AT+20)(SB)/4, $BITS; \
	DATA exp<>+(AT+24)(SB)/4, $BITS; \
	DATA exp<>+(AT+28)(SB)/4, $BITS

EIGHT(0, 0x3FB8AA3B)   // log2e
EIGHT(32, 0x4B400000)  // roundShift
EIGHT(64, 0x3F317200)  // ln2hi
EIGHT(96, 0x35BFBE8E)  // ln2lo
EIGHT(128, 0x39500D01) // exp7
EIGHT(160, 0x3AB60B61) // exp6
EIGHT(192, 0x3C088889) // exp5
EIGHT(224, 0x3D2AAAAB) // exp4
EIGHT(256, 0x3E2AAAAB) // exp3
EIGHT(288, 0x3F000000) // exp2
EIGHT(320, 0x3F800000) // 1
EIGHT(352, 0xB4C0007F) // 127 - roundShiftBits
EIGHT(384, 0xC2AE0000) // -87
EIGHT(416, 0xC2260000) // scoreCut
EIGHT(448, 0x80000000) // a sign
GLOBL exp<>(SB), RODATA|NOPTR, $480

// EXP makes e^X of X, without Exp's cut at -87. N, R and P are scratch.
#define EXP(X, N, R, P) \
	VMULPS exp<>+0(SB), X, N;   \
	VADDPS exp<>+32(SB), N, N;  \ // shifted: n in the low bits
	VSUBPS exp<>+32(SB), N, P;  \ // n
	VMULPS exp<>+64(SB), P, R;  \
	VSUBPS R, X, R;             \ // x - n*ln2hi
	VMULPS exp<>+96(SB), P, P;  \
	VSUBPS P, R, R;             \ // r
	VMULPS exp<>+128(SB), R, P; \
	VADDPS exp<>+160(SB), P, P; \
	VMULPS R, P, P;             \
	VADDPS exp<>+192(SB), P, P; \
	VMULPS R, P, P;             \
	VADDPS exp<>+224(SB), P, P; \
	VMULPS R, P, P;             \
	VADDPS exp<>+256(SB), P, P; \
	VMULPS R, P, P;             \
	VADDPS exp<>+288(SB), P, P; \
	VMULPS R, R, X;             \
	VMULPS P, X, P;             \ // (r*r)*p
	VADDPS R, P, P;             \
	VADDPS exp<>+320(SB), P, P; \
	VPADDD exp<>+352(SB), N, N; \
	VPSLLD $23, N, N;           \ // 2^n
	VMULPS N, P, X

// func swiGLULoopAVX2(dst, gate, up *float32, n int)
//
// dst = silu(gate) * up, 8 numbers a step: with t = Exp(-|z|), silu(z) is (z >= 0 ? z : z*t) / (1 + t). A comparison with a
// NaN is false (the predicates 17, less, and 29, greater or equal), as in Go.
//
//	Y0 -|z|, then t   Y4 z   Y5 where t is 0   Y6 the numerator   Y7 where z >= 0   Y8 zeros
TEXT ·swiGLULoopAVX2(SB), NOSPLIT, $0-32
	MOVQ   dst+0(FP), DI
	MOVQ   gate+8(FP), SI
	MOVQ   up+16(FP), DX
	MOVQ   n+24(FP), CX
	VXORPS Y8, Y8, Y8

swiGLU:
	VMOVUPS   (SI), Y4
	VORPS     exp<>+448(SB), Y4, Y0
	VCMPPS    $17, exp<>+384(SB), Y0, Y5
	EXP(Y0, Y1, Y2, Y3)
	VANDNPS   Y0, Y5, Y0
	VMULPS    Y0, Y4, Y6
	VCMPPS    $29, Y8, Y4, Y7
	VBLENDVPS Y7, Y4, Y6, Y6
	VADDPS    exp<>+320(SB), Y0, Y0
	VDIVPS    Y0, Y6, Y6
	VMULPS    (DX), Y6, Y6
	VMOVUPS   Y6, (DI)
	ADDQ      $32, SI
	ADDQ      $32, DX
	ADDQ      $32, DI
	SUBQ      $8, CX
	JNZ       swiGLU
	VZEROUPPER
	RET

// 16 words of ones and 16 of zeros: what begins 16-r words in has the first r lanes of 16 set.
#define FOUR(AT, BITS) \
	DATA first<>+(AT+0)(SB)/8, $BITS; \
	DATA first<>+(AT+8)(SB)/8, $BITS

FOUR(0, -1)
FOUR(16, -1)
FOUR(32, -1)
FOUR(48, -1)
FOUR(64, 0)
FOUR(80, 0)
FOUR(96, 0)
FOUR(112, 0)
GLOBL first<>(SB), RODATA|NOPTR, $128

// WEIGHTS makes the weights of 16 scores: p = Exp(s - most), or 0 where s - most < scoreCut; the scores are in Y0 and Y4,
// most in Y15.
#define WEIGHTS \
	VSUBPS  Y15, Y0, Y0;                  \
	VSUBPS  Y15, Y4, Y4;                  \
	VCMPPS  $17, exp<>+416(SB), Y0, Y8;   \
	VCMPPS  $17, exp<>+416(SB), Y4, Y9;   \
	EXP(Y0, Y1, Y2, Y3);                  \
	EXP(Y4, Y5, Y6, Y7);                  \
	VANDNPS Y0, Y8, Y0;                   \
	VANDNPS Y4, Y9, Y4

// func softWeightsLoopAVX2(lanes *[Lanes]float32, s *float32, n int, most float32)
//
// Scores become weights, 16 a step, and are summed by lanes. n is any number from 1; of a last step of fewer, masks read and
// write what there is, and +0 is added to the lanes that have nothing.
//
//	Y0 Y4 the weights   Y10 Y11 the masks   Y12 Y13 the lanes   Y15 most
TEXT ·softWeightsLoopAVX2(SB), NOSPLIT, $0-28
	MOVQ         lanes+0(FP), DI
	MOVQ         s+8(FP), SI
	MOVQ         n+16(FP), CX
	VBROADCASTSS most+24(FP), Y15
	VXORPS       Y12, Y12, Y12
	VXORPS       Y13, Y13, Y13
	SUBQ         $16, CX
	JLT          rest

whole:
	VMOVUPS (SI), Y0
	VMOVUPS 32(SI), Y4
	WEIGHTS
	VMOVUPS Y0, (SI)
	VMOVUPS Y4, 32(SI)
	VADDPS  Y0, Y12, Y12
	VADDPS  Y4, Y13, Y13
	ADDQ    $64, SI
	SUBQ    $16, CX
	JGE     whole

rest:
	CMPQ       CX, $-16
	JEQ        end
	LEAQ       first<>(SB), AX
	NEGQ       CX                 // 16 - r
	VMOVUPS    (AX)(CX*4), Y10
	VMOVUPS    32(AX)(CX*4), Y11
	VMASKMOVPS (SI), Y10, Y0
	VMASKMOVPS 32(SI), Y11, Y4
	WEIGHTS
	VANDPS     Y10, Y0, Y0
	VANDPS     Y11, Y4, Y4
	VMASKMOVPS Y0, Y10, (SI)
	VMASKMOVPS Y4, Y11, 32(SI)
	VADDPS     Y0, Y12, Y12
	VADDPS     Y4, Y13, Y13

end:
	VMOVUPS Y12, (DI)
	VMOVUPS Y13, 32(DI)
	VZEROUPPER
	RET
