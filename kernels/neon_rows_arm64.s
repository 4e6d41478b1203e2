#include "textflag.h"
#include "neon_arm64.h"
#include "neon_lanes_arm64.h"

// The loops of rows. Each takes 16 numbers at once, in four registers, so that four chains of operations run side by side;
// n is a positive multiple of 16.

// func neonMaxAbs(x *float32, n int) uint32
//
// The largest magnitude as bits. Shifting the sign out keeps the order and gives the bits times two.
//
// R0 x, R1 n; V0..V3 numbers, V4..V7 the largest so far.
TEXT ·neonMaxAbs(SB), NOSPLIT, $0-20
	MOVD x+0(FP), R0
	MOVD n+8(FP), R1
	VEOR V4.B16, V4.B16, V4.B16
	VEOR V5.B16, V5.B16, V5.B16
	VEOR V6.B16, V6.B16, V6.B16
	VEOR V7.B16, V7.B16, V7.B16

loop:
	VLD1.P 64(R0), [V0.S4, V1.S4, V2.S4, V3.S4]
	VSHL   $1, V0.S4, V0.S4
	VSHL   $1, V1.S4, V1.S4
	VSHL   $1, V2.S4, V2.S4
	VSHL   $1, V3.S4, V3.S4
	VUMAX  V0.S4, V4.S4, V4.S4
	VUMAX  V1.S4, V5.S4, V5.S4
	VUMAX  V2.S4, V6.S4, V6.S4
	VUMAX  V3.S4, V7.S4, V7.S4
	SUBS   $16, R1, R1
	BNE    loop

	VUMAX V5.S4, V4.S4, V4.S4
	VUMAX V7.S4, V6.S4, V6.S4
	VUMAX V6.S4, V4.S4, V4.S4
	UMAXV4S(4, 4)
	FMOVS F4, R0
	LSRW  $1, R0, R0
	MOVW  R0, ret+16(FP)
	RET

// func neonSquares(x *float32, n int) float32
//
// The sum by lanes of x*x, where |x| < 2^-60 counts as 0 (a NaN is not below, and makes the sum one).
//
// R0 x, R1 n; V0..V3 numbers, V4..V7 which are tiny, V16..V19 the lanes, V20 2^-60.
TEXT ·neonSquares(SB), NOSPLIT, $0-20
	MOVD x+0(FP), R0
	MOVD n+8(FP), R1
	FILL(0x21800000, V20)
	VEOR V16.B16, V16.B16, V16.B16
	VEOR V17.B16, V17.B16, V17.B16
	VEOR V18.B16, V18.B16, V18.B16
	VEOR V19.B16, V19.B16, V19.B16

loop:
	VLD1.P 64(R0), [V0.S4, V1.S4, V2.S4, V3.S4]
	FACGT4S(4, 20, 0)
	FACGT4S(5, 20, 1)
	FACGT4S(6, 20, 2)
	FACGT4S(7, 20, 3)
	EACH(BIC16B, 0, 0, 4)
	EACH(FMUL4S, 0, 0, 0)
	EACH(FADD4S, 16, 16, 0)
	SUBS $16, R1, R1
	BNE  loop

	SUM_LANES(16, 17, 18, 19)
	FMOVS F16, ret+16(FP)
	RET

// func neonNorm(dst, x, gain *float32, n int, r float32)
//
// dst = (x * r) * gain.
//
// R0 dst, R1 x, R2 gain, R3 n; V0..V3 numbers, V4..V7 gains, V16 r.
TEXT ·neonNorm(SB), NOSPLIT, $0-36
	MOVD  dst+0(FP), R0
	MOVD  x+8(FP), R1
	MOVD  gain+16(FP), R2
	MOVD  n+24(FP), R3
	FMOVS r+32(FP), F16

loop:
	VLD1.P 64(R1), [V0.S4, V1.S4, V2.S4, V3.S4]
	VLD1.P 64(R2), [V4.S4, V5.S4, V6.S4, V7.S4]
	EACHE(FMULE4S, 0, 0, 16, 0)
	EACH(FMUL4S, 0, 0, 4)
	VST1.P [V0.S4, V1.S4, V2.S4, V3.S4], 64(R0)
	SUBS   $16, R3, R3
	BNE    loop
	RET

// func neonRound(half *byte, x *float32, n int, down, up float32)
//
// Each x becomes float16(x * down) * up; the float16s go to half, unless that is nil.
//
// R0 half, R1 x, R2 n; V0..V3 numbers, V4 and V5 float16s, V16 down, V17 up.
TEXT ·neonRound(SB), NOSPLIT, $0-32
	MOVD  half+0(FP), R0
	MOVD  x+8(FP), R1
	MOVD  n+16(FP), R2
	FMOVS down+24(FP), F16
	FMOVS up+28(FP), F17

loop:
	VLD1 (R1), [V0.S4, V1.S4, V2.S4, V3.S4]
	EACHE(FMULE4S, 0, 0, 16, 0)
	FCVTN4H(4, 0)
	FCVTN4H(5, 2)
	FCVTN28H(4, 1)
	FCVTN28H(5, 3)
	CBZ  R0, widen
	VST1.P [V4.H8, V5.H8], 32(R0)

widen:
	FCVTL4S(0, 4)
	FCVTL24S(1, 4)
	FCVTL4S(2, 5)
	FCVTL24S(3, 5)
	EACHE(FMULE4S, 0, 0, 17, 0)
	VST1.P [V0.S4, V1.S4, V2.S4, V3.S4], 64(R1)
	SUBS   $16, R2, R2
	BNE    loop
	RET

// func neonWiden(dst *float32, half *byte, n int, up float32)
//
// dst = float16 * up.
//
// R0 dst, R1 half, R2 n; V0..V3 numbers, V4 and V5 float16s, V16 up.
TEXT ·neonWiden(SB), NOSPLIT, $0-28
	MOVD  dst+0(FP), R0
	MOVD  half+8(FP), R1
	MOVD  n+16(FP), R2
	FMOVS up+24(FP), F16

loop:
	VLD1.P 32(R1), [V4.H8, V5.H8]
	FCVTL4S(0, 4)
	FCVTL24S(1, 4)
	FCVTL4S(2, 5)
	FCVTL24S(3, 5)
	EACHE(FMULE4S, 0, 0, 16, 0)
	VST1.P [V0.S4, V1.S4, V2.S4, V3.S4], 64(R0)
	SUBS   $16, R2, R2
	BNE    loop
	RET

// func neonSwiGLU(dst, gate, up *float32, n int)
//
// dst = silu(gate) * up. With t = Exp(-|z|), silu(z) is (z, or z * t where z is negative) / (1 + t). dst may be gate or up.
//
// R0 dst, R1 gate, R2 up, R3 n; V0..V15 of EXP; V16..V24 its constants; V25 the sign bit.
TEXT ·neonSwiGLU(SB), NOSPLIT, $0-32
	MOVD dst+0(FP), R0
	MOVD gate+8(FP), R1
	MOVD up+16(FP), R2
	MOVD n+24(FP), R3
	EXP_CONSTANTS(0xC2AE0000) // -87
	FILL(0x80000000, V25)

loop:
	VLD1 (R1), [V0.S4, V1.S4, V2.S4, V3.S4]
	VORR V25.B16, V0.B16, V0.B16
	VORR V25.B16, V1.B16, V1.B16
	VORR V25.B16, V2.B16, V2.B16
	VORR V25.B16, V3.B16, V3.B16
	EXP

	VLD1.P 64(R1), [V0.S4, V1.S4, V2.S4, V3.S4]
	EACH1(FADD4S, 4, 8, 23) // 1 + t
	EACH(FMUL4S, 8, 0, 8)   // z * t
	FCMGEZ4S(12, 0)
	FCMGEZ4S(13, 1)
	FCMGEZ4S(14, 2)
	FCMGEZ4S(15, 3)
	VBSL   V8.B16, V0.B16, V12.B16 // where z >= 0: z, else z * t
	VBSL   V9.B16, V1.B16, V13.B16
	VBSL   V10.B16, V2.B16, V14.B16
	VBSL   V11.B16, V3.B16, V15.B16
	EACH(FDIV4S, 12, 12, 4)
	VLD1.P 64(R2), [V0.S4, V1.S4, V2.S4, V3.S4]
	EACH(FMUL4S, 0, 12, 0)
	VST1.P [V0.S4, V1.S4, V2.S4, V3.S4], 64(R0)
	SUBS   $16, R3, R3
	BNE    loop
	RET

// func neonRotate(a, b, cos, sin *float32, n int)
//
// a, b = a*cos - b*sin, b*cos + a*sin.
//
// R0 a, R1 b, R2 cos, R3 sin, R4 n; V0..V3 a, V4..V7 b, V16..V19 cos, V20..V23 sin; V24..V31 products.
TEXT ·neonRotate(SB), NOSPLIT, $0-40
	MOVD a+0(FP), R0
	MOVD b+8(FP), R1
	MOVD cos+16(FP), R2
	MOVD sin+24(FP), R3
	MOVD n+32(FP), R4

loop:
	VLD1   (R0), [V0.S4, V1.S4, V2.S4, V3.S4]
	VLD1   (R1), [V4.S4, V5.S4, V6.S4, V7.S4]
	VLD1.P 64(R2), [V16.S4, V17.S4, V18.S4, V19.S4]
	VLD1.P 64(R3), [V20.S4, V21.S4, V22.S4, V23.S4]
	EACH(FMUL4S, 24, 0, 16) // a*cos
	EACH(FMUL4S, 28, 4, 20) // b*sin
	EACH(FMUL4S, 4, 4, 16)  // b*cos
	EACH(FMUL4S, 0, 0, 20)  // a*sin
	EACH(FSUB4S, 24, 24, 28)
	EACH(FADD4S, 4, 4, 0)
	VST1.P [V24.S4, V25.S4, V26.S4, V27.S4], 64(R0)
	VST1.P [V4.S4, V5.S4, V6.S4, V7.S4], 64(R1)
	SUBS   $16, R4, R4
	BNE    loop
	RET

// func neonAdd(dst, src *float32, n int)
//
// R0 dst, R1 src, R2 n; V0..V3 of dst, V4..V7 of src.
TEXT ·neonAdd(SB), NOSPLIT, $0-24
	MOVD dst+0(FP), R0
	MOVD src+8(FP), R1
	MOVD n+16(FP), R2

loop:
	VLD1   (R0), [V0.S4, V1.S4, V2.S4, V3.S4]
	VLD1.P 64(R1), [V4.S4, V5.S4, V6.S4, V7.S4]
	EACH(FADD4S, 0, 0, 4)
	VST1.P [V0.S4, V1.S4, V2.S4, V3.S4], 64(R0)
	SUBS   $16, R2, R2
	BNE    loop
	RET

// func neonDivide(dst *float32, n int, by float32)
//
// R0 dst, R1 n; V0..V3 of dst, V16 by.
TEXT ·neonDivide(SB), NOSPLIT, $0-20
	MOVD  dst+0(FP), R0
	MOVD  n+8(FP), R1
	FMOVS by+16(FP), F16
	VDUP  V16.S[0], V16.S4

loop:
	VLD1 (R0), [V0.S4, V1.S4, V2.S4, V3.S4]
	EACH1(FDIV4S, 0, 0, 16)
	VST1.P [V0.S4, V1.S4, V2.S4, V3.S4], 64(R0)
	SUBS   $16, R1, R1
	BNE    loop
	RET
