// What the loops over 16 numbers share: instructions for four registers at once, the sum of 16 lanes, and Exp (NUMERICS
// rule 3). Include it after neon_arm64.h.

// EACH and EACH1 apply an instruction to four registers from d, n and m on; EACH1 has the same m for all, EACHE the
// same element i of the same m.
#define EACH(op, d, n, m)     op(d, n, m); op(d+1, n+1, m+1); op(d+2, n+2, m+2); op(d+3, n+3, m+3)
#define EACH1(op, d, n, m)    op(d, n, m); op(d+1, n+1, m); op(d+2, n+2, m); op(d+3, n+3, m)
#define EACHE(op, d, n, m, i) op(d, n, m, i); op(d+1, n+1, m, i); op(d+2, n+2, m, i); op(d+3, n+3, m, i)

// BELOW4S is FCMGT the other way round: where Vm < Vn, false for a NaN.
#define BELOW4S(d, n, m) FCMGT4S(d, m, n)

// FILL puts 32 bits into each element of a register. It uses R27.
#define FILL(bits, v) \
	MOVD $bits, R27 \
	VDUP R27, v.S4

// SUM_LANES adds up the 16 lanes in four registers (NUMERICS rule 2): l and l+8, then +4, +2, +1. The sum is element 0 of
// the first, and the second is used.
#define SUM_LANES(a, b, c, d) \
	FADD4S(a, a, c) \
	FADD4S(b, b, d) \
	FADD4S(a, a, b) \
	DUP_HIGH(b, a) \
	FADD4S(a, a, b) \
	FADDP4S(a, a, a)

// DUP_HIGH is DUP Vd.2D, Vn.D[1]: the upper half of a register in both halves.
#define DUP_HIGH(d, n) WORD $(0x4E180400 | (n)<<5 | (d))

// EXP_CONSTANTS prepares EXP: V16 to V24. Below cut, given as bits, the result is 0.
//
//	V16 log2e, ln2hi, ln2lo, exp7   V17 roundShift   V18..V22 exp6, exp5, exp4, exp3, exp2   V23 1   V24 cut
#define EXP_CONSTANTS(cut) \
	VMOVQ $0x3F3172003FB8AA3B, $0x39500D0135BFBE8E, V16 \
	FILL(0x4B400000, V17) \
	FILL(0x3AB60B61, V18) \
	FILL(0x3C088889, V19) \
	FILL(0x3D2AAAAB, V20) \
	FILL(0x3E2AAAAB, V21) \
	FILL(0x3F000000, V22) \
	FILL(0x3F800000, V23) \
	FILL(cut, V24)

// EXP gives V8..V11 = Exp(V0..V3), step by step as the Go function has it; it uses V0..V15. What is below the cut is
// computed as e^0 times 0, so that no step of it overflows. The power of two: the low bits of x*log2e + roundShift are n,
// and moved up by 23 plus the bits of 1 they are those of 2^n.
#define EXP \
	EACH1(BELOW4S, 12, 0, 24) \
	EACH(BIC16B, 0, 0, 12) \
	EACHE(FMULE4S, 4, 0, 16, 0) \
	EACH1(FADD4S, 4, 4, 17) \
	EACH1(FSUB4S, 8, 4, 17) \
	VSHL $23, V4.S4, V4.S4 \
	VSHL $23, V5.S4, V5.S4 \
	VSHL $23, V6.S4, V6.S4 \
	VSHL $23, V7.S4, V7.S4 \
	VADD V23.S4, V4.S4, V4.S4 \
	VADD V23.S4, V5.S4, V5.S4 \
	VADD V23.S4, V6.S4, V6.S4 \
	VADD V23.S4, V7.S4, V7.S4 \
	EACH(BIC16B, 4, 4, 12) \
	EACHE(FMULE4S, 12, 8, 16, 1) \
	EACH(FSUB4S, 0, 0, 12) \
	EACHE(FMULE4S, 12, 8, 16, 2) \
	EACH(FSUB4S, 0, 0, 12) \
	EACHE(FMULE4S, 8, 0, 16, 3) \
	EACH1(FADD4S, 8, 8, 18) \
	EACH(FMUL4S, 8, 8, 0) \
	EACH1(FADD4S, 8, 8, 19) \
	EACH(FMUL4S, 8, 8, 0) \
	EACH1(FADD4S, 8, 8, 20) \
	EACH(FMUL4S, 8, 8, 0) \
	EACH1(FADD4S, 8, 8, 21) \
	EACH(FMUL4S, 8, 8, 0) \
	EACH1(FADD4S, 8, 8, 22) \
	EACH(FMUL4S, 12, 0, 0) \
	EACH(FMUL4S, 8, 12, 8) \
	EACH(FADD4S, 8, 8, 0) \
	EACH1(FADD4S, 8, 8, 23) \
	EACH(FMUL4S, 8, 8, 4)
