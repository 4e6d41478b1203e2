#include "textflag.h"
#include "neon_arm64.h"

// Row r keeps in V(4r) to V(4r+3) the sums of 8 rows of the panel, two lanes each: of elements 0 and 1, and of 2 and 3, of each
// four. LD4R repeats each 4 bytes of the activations for the 4 rows of a register of weights. Two products of bytes are
// added as int16, where |2 * 128 * 127| < 2^15 fits and a third would not; SADALP adds pairs of these to the lanes.
#define MULTIPLY(r) \
	VLD4R.P 16(R3), [V24.S4, V25.S4, V26.S4, V27.S4]; \
	SMULL8H(28, 16, 24);                              \
	SMULL28H(29, 16, 24);                             \
	SMLAL8H(28, 18, 25);                              \
	SMLAL28H(29, 18, 25);                             \
	SADALP4S(4*r, 28);                                \
	SADALP4S(4*r+1, 29);                              \
	SMULL8H(28, 17, 24);                              \
	SMULL28H(29, 17, 24);                             \
	SMLAL8H(28, 19, 25);                              \
	SMLAL28H(29, 19, 25);                             \
	SADALP4S(4*r+2, 28);                              \
	SADALP4S(4*r+3, 29);                              \
	SMULL8H(28, 20, 26);                              \
	SMULL28H(29, 20, 26);                             \
	SMLAL8H(28, 22, 27);                              \
	SMLAL28H(29, 22, 27);                             \
	SADALP4S(4*r, 28);                                \
	SADALP4S(4*r+1, 29);                              \
	SMULL8H(28, 21, 26);                              \
	SMULL28H(29, 21, 26);                             \
	SMLAL8H(28, 23, 27);                              \
	SMLAL28H(29, 23, 27);                             \
	SADALP4S(4*r+2, 28);                              \
	SADALP4S(4*r+3, 29)

#define PRODUCTS \
	MULTIPLY(0);             \
	TBNZ $1, R8, multiplied; \
	MULTIPLY(1);             \
	TBNZ $2, R8, multiplied; \
	MULTIPLY(2);             \
	TBNZ $3, R8, multiplied; \
	MULTIPLY(3)

// A row's term is float32(sum) * (weight's scale * the row's own scale).
#define TERM(r) \
	FMOVS.P 4(R4), F24;          \
	FLDPQ (R11), (F25, F26);     \
	ADDP4S(16, 4*r, 4*r+1);      \
	ADDP4S(17, 4*r+2, 4*r+3);    \
	SCVTF4S(16, 16);             \
	SCVTF4S(17, 17);             \
	FMULE4S(18, 28, 24, 0);      \
	FMULE4S(19, 29, 24, 0);      \
	FMUL4S(16, 16, 18);          \
	FMUL4S(17, 17, 19);          \
	FADD4S(25, 25, 16);          \
	FADD4S(26, 26, 17);          \
	FSTPQ.P (F25, F26), 64(R11); \
	ZERO16B(4*r);                \
	ZERO16B(4*r+1);              \
	ZERO16B(4*r+2);              \
	ZERO16B(4*r+3)

#define TERMS \
	TERM(0);            \
	TBNZ $1, R8, added; \
	TERM(1);            \
	TBNZ $2, R8, added; \
	TERM(2);            \
	TBNZ $3, R8, added; \
	TERM(3)

// func mulPanelNEON(dst *float32, codes, scales *byte, acts *int8, actScales *float32, rows, blocks int, nf4 bool)
//
// It adds to dst (rows, 16), which holds zeros, the products of a panel's blocks with 1 to 4 rows of activations.
TEXT ·mulPanelNEON(SB), NOSPLIT, $512-57
	MOVD  dst+0(FP), R0
	MOVD  codes+8(FP), R1
	MOVD  scales+16(FP), R2
	MOVD  acts+24(FP), R3
	MOVD  actScales+32(FP), R4
	MOVD  rows+40(FP), R5
	MOVD  blocks+48(FP), R6
	MOVBU nf4+56(FP), R7
#include "neon_panel_arm64.h"

// The largest of |V(a)|, |V(b)|, |V(c)| and |V(d)| as bits goes to V16..V19, lane by lane.
#define LARGEST(a, b, c, d) \
	FABS4S(20, a);                 \
	FABS4S(21, b);                 \
	FABS4S(22, c);                 \
	FABS4S(23, d);                 \
	VUMAX V20.S4, V16.S4, V16.S4;  \
	VUMAX V21.S4, V17.S4, V17.S4;  \
	VUMAX V22.S4, V18.S4, V18.S4;  \
	VUMAX V23.S4, V19.S4, V19.S4

// CODES makes integers of 4 registers of numbers times V21.S[0].
#define CODES(a, b, c, d) \
	FMULE4S(a, a, 21, 0); \
	FMULE4S(b, b, 21, 0); \
	FMULE4S(c, c, 21, 0); \
	FMULE4S(d, d, 21, 0); \
	FCVTNS4S(a, a);       \
	FCVTNS4S(b, b);       \
	FCVTNS4S(c, c);       \
	FCVTNS4S(d, d)

// func quantiseBlocksNEON(codes *int8, scales *float32, starts *int32, x *float32, blocks, rows int) bool
//
// It quantises blocks of 64 numbers as one row of a group of rows: the next quarter of its codes is 16*rows bytes further
// on, the next scale and start are 4*rows. A block stays in registers, V0..V15.
TEXT ·quantiseBlocksNEON(SB), NOSPLIT, $0-49
	MOVD  codes+0(FP), R0
	MOVD  scales+8(FP), R1
	MOVD  starts+16(FP), R2
	MOVD  x+24(FP), R3
	MOVD  blocks+32(FP), R4
	MOVD  rows+40(FP), R5
	LSL   $4, R5, R6       // from quarter to quarter
	LSL   $2, R5, R7       // from block to block of scales and starts
	MOVD  $1, R8           // all blocks are finite
	MOVD  $0x21800000, R9  // 2^-60
	MOVD  $0x7F800000, R10 // infinity
	MOVD  $0x42FE0000, R11
	FMOVS R11, F30         // 127
	MOVD  $0x3C010204, R11
	FMOVS R11, F31         // the contract's c, 1/127

block:
	VLD1.P 64(R3), [V0.S4, V1.S4, V2.S4, V3.S4]
	VLD1.P 64(R3), [V4.S4, V5.S4, V6.S4, V7.S4]
	VLD1.P 64(R3), [V8.S4, V9.S4, V10.S4, V11.S4]
	VLD1.P 64(R3), [V12.S4, V13.S4, V14.S4, V15.S4]

	// An integer maximum of the bits keeps a NaN, as the largest of all.
	FABS4S(16, 0)
	FABS4S(17, 1)
	FABS4S(18, 2)
	FABS4S(19, 3)
	LARGEST(4, 5, 6, 7)
	LARGEST(8, 9, 10, 11)
	LARGEST(12, 13, 14, 15)
	VUMAX V17.S4, V16.S4, V16.S4
	VUMAX V19.S4, V18.S4, V18.S4
	VUMAX V18.S4, V16.S4, V16.S4
	UMAXV4S(20, 16)
	VMOV  V20.S[0], R11
	CMPW  R9, R11
	BLO   zeros
	CMPW  R10, R11
	BHS   bad

	FDIVS F20, F30, F21 // 127 / m
	FMULS F31, F20, F22 // the scale
	CODES(0, 1, 2, 3)
	CODES(4, 5, 6, 7)
	CODES(8, 9, 10, 11)
	CODES(12, 13, 14, 15)

	// The low bytes of 16 integers are the codes of a quarter.
	VUZP1 V1.H8, V0.H8, V0.H8
	VUZP1 V3.H8, V2.H8, V2.H8
	VUZP1 V5.H8, V4.H8, V4.H8
	VUZP1 V7.H8, V6.H8, V6.H8
	VUZP1 V9.H8, V8.H8, V8.H8
	VUZP1 V11.H8, V10.H8, V10.H8
	VUZP1 V13.H8, V12.H8, V12.H8
	VUZP1 V15.H8, V14.H8, V14.H8
	VUZP1 V2.B16, V0.B16, V0.B16
	VUZP1 V6.B16, V4.B16, V4.B16
	VUZP1 V10.B16, V8.B16, V8.B16
	VUZP1 V14.B16, V12.B16, V12.B16

store:
	VST1.P [V0.B16], (R0)(R6)
	VST1.P [V4.B16], (R0)(R6)
	VST1.P [V8.B16], (R0)(R6)
	VST1.P [V12.B16], (R0)(R6)
	FMOVS  F22, (R1)
	ADD    R7, R1
	SADDLP8H(16, 0)
	SADALP8H(16, 4)
	SADALP8H(16, 8)
	SADALP8H(16, 12)
	SADDLV8H(16, 16)
	VMOV   V16.S[0], R11
	NEG    R11<<7, R11
	MOVW   R11, (R2)
	ADD    R7, R2
	SUB    $1, R4
	CBNZ   R4, block
	MOVB   R8, ret+48(FP)
	RET

bad:
	MOVD ZR, R8
zeros:
	VEOR V0.B16, V0.B16, V0.B16
	VEOR V4.B16, V4.B16, V4.B16
	VEOR V8.B16, V8.B16, V8.B16
	VEOR V12.B16, V12.B16, V12.B16
	VEOR V22.B16, V22.B16, V22.B16
	B    store

// PRODUCT adds to the lanes from V(a) on the products of 16 numbers at x with V16..V19; x moves on.
#define PRODUCT(a, x) \
	FLDPQ.P 32(x), (F20, F21); \
	FLDPQ.P 32(x), (F22, F23); \
	FMUL4S(20, 20, 16);        \
	FMUL4S(21, 21, 17);        \
	FMUL4S(22, 22, 18);        \
	FMUL4S(23, 23, 19);        \
	FADD4S(a, a, 20);          \
	FADD4S(a+1, a+1, 21);      \
	FADD4S(a+2, a+2, 22);      \
	FADD4S(a+3, a+3, 23)

// SUM adds the 16 lanes from V(a) on, 8 apart, then 4, 2 and 1, and stores the sum; dst moves on by a row.
#define SUM(a) \
	FADD4S(a, a, a+2);     \
	FADD4S(a+1, a+1, a+3); \
	FADD4S(a, a, a+1);     \
	EXT16B(20, a, a, 8);   \
	FADD4S(20, a, 20);     \
	FADDP4S(20, 20, 20);   \
	FMOVS.P F20, 64(R0)

// func dotWideNEON(dst *float32, w *byte, x *float32, k, n int, bf16 bool)
//
// It writes to dst, 64 bytes apart, the dot products of k 16-bit numbers, bfloat16 or float16, with n rows of k numbers
// x, by lanes. k is a multiple of 16, 1 <= n <= 4.
//
//	R2, R5, R6, R7 the rows of x   R8 1 << n   V0-V15 lanes, 4 registers a row
TEXT ·dotWideNEON(SB), NOSPLIT, $0-41
	MOVD  dst+0(FP), R0
	MOVD  w+8(FP), R1
	MOVD  x+16(FP), R2
	MOVD  k+24(FP), R3
	MOVD  n+32(FP), R4
	MOVBU bf16+40(FP), R9
	MOVD  $1, R8
	LSL   R4, R8, R8
	ADD   R3<<2, R2, R5
	ADD   R3<<2, R5, R6
	ADD   R3<<2, R6, R7
	VEOR  V0.B16, V0.B16, V0.B16
	VEOR  V1.B16, V1.B16, V1.B16
	VEOR  V2.B16, V2.B16, V2.B16
	VEOR  V3.B16, V3.B16, V3.B16
	VEOR  V4.B16, V4.B16, V4.B16
	VEOR  V5.B16, V5.B16, V5.B16
	VEOR  V6.B16, V6.B16, V6.B16
	VEOR  V7.B16, V7.B16, V7.B16
	VEOR  V8.B16, V8.B16, V8.B16
	VEOR  V9.B16, V9.B16, V9.B16
	VEOR  V10.B16, V10.B16, V10.B16
	VEOR  V11.B16, V11.B16, V11.B16
	VEOR  V12.B16, V12.B16, V12.B16
	VEOR  V13.B16, V13.B16, V13.B16
	VEOR  V14.B16, V14.B16, V14.B16
	VEOR  V15.B16, V15.B16, V15.B16

loop:
	FLDPQ.P 32(R1), (F24, F25)
	CBZ     R9, half
	SHLL4S(16, 24)
	SHLL24S(17, 24)
	SHLL4S(18, 25)
	SHLL24S(19, 25)
	B       multiply
half:
	FCVTL4S(16, 24)
	FCVTL24S(17, 24)
	FCVTL4S(18, 25)
	FCVTL24S(19, 25)
multiply:
	PRODUCT(0, R2)
	TBNZ $1, R8, multiplied
	PRODUCT(4, R5)
	TBNZ $2, R8, multiplied
	PRODUCT(8, R6)
	TBNZ $3, R8, multiplied
	PRODUCT(12, R7)
multiplied:
	SUB  $16, R3
	CBNZ R3, loop

	SUM(0)
	TBNZ $1, R8, done
	SUM(4)
	TBNZ $2, R8, done
	SUM(8)
	TBNZ $3, R8, done
	SUM(12)
done:
	RET
