#include "textflag.h"
#include "neon_arm64.h"
#include "neon_lanes_arm64.h"

// Attention over a cache of 8-bit codes, or of float16. Scores and values take four tokens at once; where fewer are left,
// what belongs to the others is read from the last one, or not at all.

// CACHE_POINTERS sets the pointers of four tokens: R10..R13 to their codes, R14..R17 to their scales, from those of the
// first. w is the distance of codes and sw that of scales; where fewer than four tokens are left, the last one's stand in
// for the missing. It uses R24 and R25.
#define CACHE_POINTERS(codes, scales, w, sw, left) \
	MOVD codes, R10 \
	MOVD scales, R14 \
	CMP  $2, left \
	CSEL GE, w, ZR, R24 \
	CSEL GE, sw, ZR, R25 \
	ADD  R24, R10, R11 \
	ADD  R25, R14, R15 \
	CMP  $3, left \
	CSEL GE, w, ZR, R24 \
	CSEL GE, sw, ZR, R25 \
	ADD  R24, R11, R12 \
	ADD  R25, R15, R16 \
	CMP  $4, left \
	CSEL GE, w, ZR, R24 \
	CSEL GE, sw, ZR, R25 \
	ADD  R24, R12, R13 \
	ADD  R25, R16, R17

// CACHE_SCALES reads the next scale of each of the four tokens into V8, and moves R14..R17 on. The integer units put them
// together: loads into single lanes would wait for each other, and take turns with the arithmetic. It uses R24 and R25.
#define CACHE_SCALES \
	MOVHU.P 2(R14), R24 \
	MOVHU.P 2(R15), R25 \
	ORR     R25<<16, R24, R24 \
	MOVHU.P 2(R16), R25 \
	ORR     R25<<32, R24, R24 \
	MOVHU.P 2(R17), R25 \
	ORR     R25<<48, R24, R24 \
	FMOVD   R24, F8 \
	FCVTL4S(8, 8)

// QUERY adds to acc the terms of a unit of four keys, V0..V7, with scales V8, and of one query, whose codes are at R24 and
// scale at R25; then it moves these on to the next query. A product of codes is at most 127*128, two of them fit into 16
// bits. It uses V9..V19.
#define QUERY(acc) \
	VLD1 (R24), [V9.B16, V10.B16] \
	FMOVS (R25), F19 \
	ADD   R21, R24, R24 \
	ADD   R22, R25, R25 \
	SMULL8H(11, 0, 9) \
	SMULL8H(12, 1, 10) \
	SMULL8H(13, 2, 9) \
	SMULL8H(14, 3, 10) \
	SMULL8H(15, 4, 9) \
	SMULL8H(16, 5, 10) \
	SMULL8H(17, 6, 9) \
	SMULL8H(18, 7, 10) \
	SMLAL28H(11, 0, 9) \
	SMLAL28H(12, 1, 10) \
	SMLAL28H(13, 2, 9) \
	SMLAL28H(14, 3, 10) \
	SMLAL28H(15, 4, 9) \
	SMLAL28H(16, 5, 10) \
	SMLAL28H(17, 6, 9) \
	SMLAL28H(18, 7, 10) \
	SADDLP4S(11, 11) \
	SADDLP4S(13, 13) \
	SADDLP4S(15, 15) \
	SADDLP4S(17, 17) \
	SADALP4S(11, 12) \
	SADALP4S(13, 14) \
	SADALP4S(15, 16) \
	SADALP4S(17, 18) \
	FMULE4S(19, 8, 19, 0) \
	VADDP V13.S4, V11.S4, V11.S4 \
	VADDP V17.S4, V15.S4, V15.S4 \
	VADDP V15.S4, V11.S4, V11.S4 \
	SCVTF4S(11, 11) \
	FMUL4S(11, 11, 19) \
	FADD4S(acc, acc, 11)

// func neonScores(dst *float32, stride int, codes *int8, qs *float32, n, units int, root float32, keys, scales *byte, width, tokens int)
//
// For each four tokens, for each unit, for each query: the unit's four dot products times the scales, added to the query's
// four sums.
//
// R0 dst, R1 its stride in bytes, R2 codes and R3 scales of the queries, R4 n, R5 units, R6 keys and R7 their scales, R8
// width, R26 width/16, R9 tokens left; R10..R17 what is read of four tokens, R19 codes and R20 scales of the queries' unit,
// R21 size, R22 4*units, R23 units left; V27 root, V28..V31 the sums of four queries; V0..V19 as QUERY has it.
TEXT ·neonScores(SB), NOSPLIT, $0-88
	MOVD  dst+0(FP), R0
	MOVD  stride+8(FP), R1
	MOVD  codes+16(FP), R2
	MOVD  qs+24(FP), R3
	MOVD  n+32(FP), R4
	MOVD  units+40(FP), R5
	FMOVS root+48(FP), F27
	MOVD  keys+56(FP), R6
	MOVD  scales+64(FP), R7
	MOVD  width+72(FP), R8
	MOVD  tokens+80(FP), R9
	LSL   $2, R1, R1
	LSR   $4, R8, R26
	LSL   $5, R5, R21
	LSL   $2, R5, R22

tokens:
	CACHE_POINTERS(R6, R7, R8, R26, R9)
	VEOR V28.B16, V28.B16, V28.B16
	VEOR V29.B16, V29.B16, V29.B16
	VEOR V30.B16, V30.B16, V30.B16
	VEOR V31.B16, V31.B16, V31.B16
	MOVD R2, R19
	MOVD R3, R20
	MOVD R5, R23

unit:
	VLD1.P 32(R10), [V0.B16, V1.B16]
	VLD1.P 32(R11), [V2.B16, V3.B16]
	VLD1.P 32(R12), [V4.B16, V5.B16]
	VLD1.P 32(R13), [V6.B16, V7.B16]
	CACHE_SCALES
	MOVD   R19, R24
	MOVD   R20, R25
	QUERY(28)
	CMP    $2, R4
	BLT    next
	QUERY(29)
	CMP    $3, R4
	BLT    next
	QUERY(30)
	CMP    $4, R4
	BLT    next
	QUERY(31)

next:
	ADD  $32, R19, R19
	ADD  $4, R20, R20
	SUBS $1, R23, R23
	BNE  unit

	EACHE(FMULE4S, 28, 28, 27, 0)
	VST1 [V28.S4], (R0)
	ADD  R1, R0, R24
	CMP  $2, R4
	BLT  stored
	VST1 [V29.S4], (R24)
	ADD  R1, R24, R24
	CMP  $3, R4
	BLT  stored
	VST1 [V30.S4], (R24)
	ADD  R1, R24, R24
	CMP  $4, R4
	BLT  stored
	VST1 [V31.S4], (R24)

stored:
	ADD  $16, R0, R0
	ADD  R8<<2, R6, R6
	ADD  R26<<2, R7, R7
	SUBS $4, R9, R9
	BGT  tokens
	RET

// VALUES adds 16 values of token i, whose codes come from a pointer that is moved on, to the sums of n queries (R1): V0..V3,
// V4..V7, V8..V11 and V12..V15; their weights are element i of V28..V31. It uses V16..V23.
#define VALUES(i, codes, done) \
	VLD1.P 16(codes), [V20.B16] \
	SXTL28H(21, 20) \
	SXTL8H(20, 20) \
	SXTL4S(16, 20) \
	SXTL24S(17, 20) \
	SXTL4S(18, 21) \
	SXTL24S(19, 21) \
	SCVTF4S(16, 16) \
	SCVTF4S(17, 17) \
	SCVTF4S(18, 18) \
	SCVTF4S(19, 19) \
	EACHE(FMULE4S, 20, 16, 28, i) \
	EACH(FADD4S, 0, 0, 20) \
	CMP    $2, R1 \
	BLT    done \
	EACHE(FMULE4S, 20, 16, 29, i) \
	EACH(FADD4S, 4, 4, 20) \
	CMP    $3, R1 \
	BLT    done \
	EACHE(FMULE4S, 20, 16, 30, i) \
	EACH(FADD4S, 8, 8, 20) \
	CMP    $4, R1 \
	BLT    done \
	EACHE(FMULE4S, 20, 16, 31, i) \
	EACH(FADD4S, 12, 12, 20) \
done:

// func neonValues(total *float32, n, units int, p *float32, stride int, codes, scales *byte, width, tokens int)
//
// For each four tokens, for each unit, for each half of it: the sums of all queries are read, gain the values of the four
// tokens one after another, and are written back. Four tokens whose weights are all 0 are left out.
//
// R0 total, R1 n, R2 units, R3 p, R4 its stride in bytes, R5 codes, R6 scales, R7 width, R8 width/16, R9 tokens left;
// R10..R17 what is read of four tokens, R19 sums of the first query's half, R20 4*size, R21 units left, R22 halves left;
// V8 scales, V28..V31 weights, else as VALUES has it.
TEXT ·neonValues(SB), NOSPLIT, $0-72
	MOVD total+0(FP), R0
	MOVD n+8(FP), R1
	MOVD units+16(FP), R2
	MOVD p+24(FP), R3
	MOVD stride+32(FP), R4
	MOVD codes+40(FP), R5
	MOVD scales+48(FP), R6
	MOVD width+56(FP), R7
	MOVD tokens+64(FP), R9
	LSL  $2, R4, R4
	LSR  $4, R7, R8
	LSL  $7, R2, R20

tokens:
	MOVD R3, R24
	MOVD R1, R25
	VEOR V0.B16, V0.B16, V0.B16

any:
	VLD1 (R24), [V1.B16]
	VORR V1.B16, V0.B16, V0.B16
	ADD  R4, R24, R24
	SUBS $1, R25, R25
	BNE  any
	UMAXV4S(0, 0)
	FMOVS F0, R24
	CBZW R24, added

	CACHE_POINTERS(R5, R6, R7, R8, R9)
	MOVD R0, R19
	MOVD R2, R21

unit:
	CACHE_SCALES
	MOVD R3, R24
	VLD1 (R24), [V28.S4]
	FMUL4S(28, 28, 8)
	CMP  $2, R1
	BLT  weighed
	ADD  R4, R24, R24
	VLD1 (R24), [V29.S4]
	FMUL4S(29, 29, 8)
	CMP  $3, R1
	BLT  weighed
	ADD  R4, R24, R24
	VLD1 (R24), [V30.S4]
	FMUL4S(30, 30, 8)
	CMP  $4, R1
	BLT  weighed
	ADD  R4, R24, R24
	VLD1 (R24), [V31.S4]
	FMUL4S(31, 31, 8)

weighed:
	MOVD $2, R22

half:
	MOVD R19, R24
	VLD1 (R24), [V0.S4, V1.S4, V2.S4, V3.S4]
	CMP  $2, R1
	BLT  first
	ADD  R20, R24, R24
	VLD1 (R24), [V4.S4, V5.S4, V6.S4, V7.S4]
	CMP  $3, R1
	BLT  first
	ADD  R20, R24, R24
	VLD1 (R24), [V8.S4, V9.S4, V10.S4, V11.S4]
	CMP  $4, R1
	BLT  first
	ADD  R20, R24, R24
	VLD1 (R24), [V12.S4, V13.S4, V14.S4, V15.S4]

first:
	VALUES(0, R10, second)
	CMP  $2, R9
	BLT  write
	VALUES(1, R11, third)
	CMP  $3, R9
	BLT  write
	VALUES(2, R12, fourth)
	CMP  $4, R9
	BLT  write
	VALUES(3, R13, write)
	VST1.P [V0.S4, V1.S4, V2.S4, V3.S4], 64(R19)
	SUB  $64, R19, R24
	CMP  $2, R1
	BLT  written
	ADD  R20, R24, R24
	VST1 [V4.S4, V5.S4, V6.S4, V7.S4], (R24)
	CMP  $3, R1
	BLT  written
	ADD  R20, R24, R24
	VST1 [V8.S4, V9.S4, V10.S4, V11.S4], (R24)
	CMP  $4, R1
	BLT  written
	ADD  R20, R24, R24
	VST1 [V12.S4, V13.S4, V14.S4, V15.S4], (R24)

written:
	SUBS $1, R22, R22
	BNE  half
	SUBS $1, R21, R21
	BNE  unit

added:
	ADD  $16, R3, R3
	ADD  R7<<2, R5, R5
	ADD  R8<<2, R6, R6
	SUBS $4, R9, R9
	BGT  tokens
	RET

// func neonScoresHalf(dst, x *float32, size int, root float32, keys *byte, width, tokens int)
//
// R0 dst, R1 x, R2 size, R3 keys, R4 bytes from key to key, R5 tokens left; R6 in x, R7 in the key, R8 elements left;
// V0..V3 of x, V4 and V5 float16s, V20..V23 the key, V16..V19 lanes, V27 root.
TEXT ·neonScoresHalf(SB), NOSPLIT, $0-56
	MOVD  dst+0(FP), R0
	MOVD  x+8(FP), R1
	MOVD  size+16(FP), R2
	FMOVS root+24(FP), F27
	MOVD  keys+32(FP), R3
	MOVD  width+40(FP), R4
	MOVD  tokens+48(FP), R5
	LSL   $1, R4, R4

token:
	MOVD R1, R6
	MOVD R3, R7
	MOVD R2, R8
	VEOR V16.B16, V16.B16, V16.B16
	VEOR V17.B16, V17.B16, V17.B16
	VEOR V18.B16, V18.B16, V18.B16
	VEOR V19.B16, V19.B16, V19.B16

loop:
	VLD1.P 32(R7), [V4.H8, V5.H8]
	VLD1.P 64(R6), [V0.S4, V1.S4, V2.S4, V3.S4]
	FCVTL4S(20, 4)
	FCVTL24S(21, 4)
	FCVTL4S(22, 5)
	FCVTL24S(23, 5)
	EACH(FMUL4S, 0, 20, 0)
	EACH(FADD4S, 16, 16, 0)
	SUBS   $16, R8, R8
	BNE    loop

	SUM_LANES(16, 17, 18, 19)
	FMULS   F27, F16, F16
	FMOVS.P F16, 4(R0)
	ADD     R4, R3, R3
	SUBS    $1, R5, R5
	BNE     token
	RET

// VALUES_HALF adds 16 values of token i, which come from a pointer that is moved on, to V0..V3; the weight is element i of
// V28. It uses V16..V21.
#define VALUES_HALF(i, codes) \
	VLD1.P 32(codes), [V20.H8, V21.H8] \
	FCVTL4S(16, 20) \
	FCVTL24S(17, 20) \
	FCVTL4S(18, 21) \
	FCVTL24S(19, 21) \
	EACHE(FMULE4S, 16, 16, 28, i) \
	EACH(FADD4S, 0, 0, 16)

// func neonValuesHalf(total *float32, size int, p *float32, codes *byte, width, tokens int)
//
// For each four tokens, for each 16 elements: the sums are read, gain the values of the four tokens one after another, and
// are written back. Four tokens whose weights are all 0 are left out.
//
// R0 total, R1 size, R2 p, R3 codes, R4 bytes from token to token, R5 tokens left; R10..R13 in the codes of four tokens, R6
// in total, R7 elements left; V28 weights, else as VALUES_HALF has it.
TEXT ·neonValuesHalf(SB), NOSPLIT, $0-48
	MOVD total+0(FP), R0
	MOVD size+8(FP), R1
	MOVD p+16(FP), R2
	MOVD codes+24(FP), R3
	MOVD width+32(FP), R4
	MOVD tokens+40(FP), R5
	LSL  $1, R4, R4

tokens:
	VLD1.P 16(R2), [V28.S4]
	UMAXV4S(0, 28)
	FMOVS  F0, R6
	CBZW   R6, added
	MOVD   R3, R10
	ADD    R4, R10, R11
	ADD    R4, R11, R12
	ADD    R4, R12, R13
	MOVD   R0, R6
	MOVD   R1, R7

loop:
	VLD1 (R6), [V0.S4, V1.S4, V2.S4, V3.S4]
	VALUES_HALF(0, R10)
	CMP  $2, R5
	BLT  write
	VALUES_HALF(1, R11)
	CMP  $3, R5
	BLT  write
	VALUES_HALF(2, R12)
	CMP  $4, R5
	BLT  write
	VALUES_HALF(3, R13)

write:
	VST1.P [V0.S4, V1.S4, V2.S4, V3.S4], 64(R6)
	SUBS   $16, R7, R7
	BNE    loop

added:
	ADD  R4<<2, R3, R3
	SUBS $4, R5, R5
	BGT  tokens
	RET
