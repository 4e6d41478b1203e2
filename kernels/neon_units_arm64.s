#include "textflag.h"
#include "neon_arm64.h"
#include "neon_lanes_arm64.h"

// How keys, values and queries become 8-bit codes, in units of 32.

// UNIT_MOST reads the next unit of 32 numbers from R2 into V0..V7, and gives their largest magnitude in F8: shifting the
// sign out keeps the order. It uses V8..V15.
#define UNIT_MOST \
	VLD1.P 64(R2), [V0.S4, V1.S4, V2.S4, V3.S4] \
	VLD1.P 64(R2), [V4.S4, V5.S4, V6.S4, V7.S4] \
	VSHL   $1, V0.S4, V8.S4 \
	VSHL   $1, V1.S4, V9.S4 \
	VSHL   $1, V2.S4, V10.S4 \
	VSHL   $1, V3.S4, V11.S4 \
	VSHL   $1, V4.S4, V12.S4 \
	VSHL   $1, V5.S4, V13.S4 \
	VSHL   $1, V6.S4, V14.S4 \
	VSHL   $1, V7.S4, V15.S4 \
	VUMAX  V9.S4, V8.S4, V8.S4 \
	VUMAX  V11.S4, V10.S4, V10.S4 \
	VUMAX  V13.S4, V12.S4, V12.S4 \
	VUMAX  V15.S4, V14.S4, V14.S4 \
	VUMAX  V10.S4, V8.S4, V8.S4 \
	VUMAX  V14.S4, V12.S4, V12.S4 \
	VUMAX  V12.S4, V8.S4, V8.S4 \
	UMAXV4S(8, 8) \
	VUSHR  $1, V8.S4, V8.S4

// UNIT_CONSTANTS prepares UNIT_CODES: V25 127, V26 inv127, V27 roundShift.
#define UNIT_CONSTANTS \
	FILL(0x42FE0000, V25) \
	FILL(0x3C010204, V26) \
	FILL(0x4B400000, V27)

// UNIT_CODES gives the scale of V0..V7 in F10 and their codes in V0 and V1: the nearest integers are in the low bytes of
// x * (127/m) + roundShift. With a scale of 0 they are anything. It uses V0..V9.
#define UNIT_CODES \
	FDIVS F8, F25, F9 \
	FMULS F26, F8, F10 \
	EACHE(FMULE4S, 0, 0, 9, 0) \
	EACHE(FMULE4S, 4, 4, 9, 0) \
	EACH1(FADD4S, 0, 0, 27) \
	EACH1(FADD4S, 4, 4, 27) \
	VUZP1 V1.H8, V0.H8, V0.H8 \
	VUZP1 V3.H8, V2.H8, V2.H8 \
	VUZP1 V5.H8, V4.H8, V4.H8 \
	VUZP1 V7.H8, V6.H8, V6.H8 \
	VUZP1 V2.B16, V0.B16, V0.B16 \
	VUZP1 V6.B16, V4.B16, V1.B16

// func neonStoreUnits(codes, scales *byte, x *float32, units int) uint32
//
// The scale as float16 decides: 0 makes the codes 0, and one that is not below an infinity stands for what is not finite
// or too large.
//
// R0 codes, R1 scales, R2 x, R3 units; R4 the unit's scale, R5 the largest; V0..V15 and V25..V27 as UNIT_CODES has it.
TEXT ·neonStoreUnits(SB), NOSPLIT, $0-36
	MOVD codes+0(FP), R0
	MOVD scales+8(FP), R1
	MOVD x+16(FP), R2
	MOVD units+24(FP), R3
	MOVD ZR, R5
	UNIT_CONSTANTS

unit:
	UNIT_MOST
	UNIT_CODES
	FCVTN4H(10, 10)
	VMOV   V10.H[0], R4
	MOVH.P R4, 2(R1)
	CMPW   R5, R4
	CSELW  HI, R4, R5, R5
	CBNZW  R4, store
	VEOR   V0.B16, V0.B16, V0.B16
	VEOR   V1.B16, V1.B16, V1.B16

store:
	VST1.P [V0.B16, V1.B16], 32(R0)
	SUBS   $1, R3, R3
	BNE    unit
	MOVW   R5, ret+32(FP)
	RET

// func neonQueryUnits(codes *int8, scales *float32, starts *int32, x *float32, units int) uint32
//
// Units below 2^-60 become zeros.
//
// R0 codes, R1 scales, R6 starts, R2 x, R3 units; R4 the unit's largest magnitude, R5 the largest of all, R7 2^-60; V0..V15
// and V25..V27 as UNIT_CODES has it.
TEXT ·neonQueryUnits(SB), NOSPLIT, $0-44
	MOVD codes+0(FP), R0
	MOVD scales+8(FP), R1
	MOVD starts+16(FP), R6
	MOVD x+24(FP), R2
	MOVD units+32(FP), R3
	MOVD ZR, R5
	MOVD $0x21800000, R7
	UNIT_CONSTANTS

unit:
	UNIT_MOST
	UNIT_CODES
	FMOVS F8, R4
	CMPW  R5, R4
	CSELW HI, R4, R5, R5
	CMPW  R7, R4
	BHS   store
	VEOR  V0.B16, V0.B16, V0.B16
	VEOR  V1.B16, V1.B16, V1.B16
	FMOVS ZR, F10

store:
	VST1.P  [V0.B16, V1.B16], 32(R0)
	FMOVS.P F10, 4(R1)
	SADDLP8H(2, 0)
	SADALP8H(2, 1)
	SADDLP4S(2, 2)
	VADDV   V2.S4, V2
	FMOVS   F2, R8
	NEGW    R8<<7, R8
	MOVW.P  R8, 4(R6)
	SUBS    $1, R3, R3
	BNE     unit
	MOVW    R5, ret+40(FP)
	RET
