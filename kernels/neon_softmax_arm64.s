#include "textflag.h"
#include "neon_arm64.h"
#include "neon_lanes_arm64.h"

// What happens to a row of scores. Each loop takes 16 at once; n is a positive multiple of 16.

// func neonBias(s *float32, n int, slope float32, first int)
//
// R0 s, R1 n, R2 first; V0..V3 scores, V4..V7 the integers first+j, V8..V11 products, V16 slope, V17 16.
TEXT ·neonBias(SB), NOSPLIT, $0-32
	MOVD  s+0(FP), R0
	MOVD  n+8(FP), R1
	FMOVS slope+16(FP), F16
	MOVD  first+24(FP), R2
	VMOVQ $0x0000000100000000, $0x0000000300000002, V4
	VDUP  R2, V0.S4
	FILL(4, V1)
	FILL(16, V17)
	VADD  V0.S4, V4.S4, V4.S4
	VADD  V1.S4, V4.S4, V5.S4
	VADD  V1.S4, V5.S4, V6.S4
	VADD  V1.S4, V6.S4, V7.S4

loop:
	VLD1 (R0), [V0.S4, V1.S4, V2.S4, V3.S4]
	SCVTF4S(8, 4)
	SCVTF4S(9, 5)
	SCVTF4S(10, 6)
	SCVTF4S(11, 7)
	EACHE(FMULE4S, 8, 8, 16, 0)
	EACH(FADD4S, 0, 0, 8)
	VADD V17.S4, V4.S4, V4.S4
	VADD V17.S4, V5.S4, V5.S4
	VADD V17.S4, V6.S4, V6.S4
	VADD V17.S4, V7.S4, V7.S4
	VST1.P [V0.S4, V1.S4, V2.S4, V3.S4], 64(R0)
	SUBS $16, R1, R1
	BNE  loop
	RET

// func neonLargest(s *float32, n int) float32
//
// A score takes the place of the largest so far in its lane if it is above that: so a NaN never does.
//
// R0 s, R1 n; V0..V3 scores, V4..V7 the largest so far, V16..V19 where it changes.
TEXT ·neonLargest(SB), NOSPLIT, $0-20
	MOVD s+0(FP), R0
	MOVD n+8(FP), R1
	FILL(0xFF800000, V4)
	FILL(0xFF800000, V5)
	FILL(0xFF800000, V6)
	FILL(0xFF800000, V7)

loop:
	VLD1.P 64(R0), [V0.S4, V1.S4, V2.S4, V3.S4]
	EACH(FCMGT4S, 16, 0, 4)
	VBIT   V16.B16, V0.B16, V4.B16
	VBIT   V17.B16, V1.B16, V5.B16
	VBIT   V18.B16, V2.B16, V6.B16
	VBIT   V19.B16, V3.B16, V7.B16
	SUBS   $16, R1, R1
	BNE    loop

	FMAX4S(4, 4, 5)
	FMAX4S(6, 6, 7)
	FMAX4S(4, 4, 6)
	FMAXV4S(4, 4)
	FMOVS F4, ret+16(FP)
	RET

// func neonSoftWeights(s *float32, n int, most float32, lanes *[16]float32) float32
//
// s = Exp(s - most), or 0 where s - most < -41.5; the lanes gain them.
//
// R0 s, R1 n, R2 lanes; V0..V15 of EXP, V16..V24 its constants, V25 most, V28..V31 the lanes.
TEXT ·neonSoftWeights(SB), NOSPLIT, $0-36
	MOVD  s+0(FP), R0
	MOVD  n+8(FP), R1
	FMOVS most+16(FP), F25
	MOVD  lanes+24(FP), R2
	VDUP  V25.S[0], V25.S4
	EXP_CONSTANTS(0xC2260000) // -41.5
	VLD1  (R2), [V28.S4, V29.S4, V30.S4, V31.S4]

loop:
	VLD1 (R0), [V0.S4, V1.S4, V2.S4, V3.S4]
	EACH1(FSUB4S, 0, 0, 25)
	EXP
	VST1.P [V8.S4, V9.S4, V10.S4, V11.S4], 64(R0)
	EACH(FADD4S, 28, 28, 8)
	SUBS $16, R1, R1
	BNE  loop

	VST1 [V28.S4, V29.S4, V30.S4, V31.S4], (R2)
	SUM_LANES(28, 29, 30, 31)
	FMOVS F28, ret+32(FP)
	RET
