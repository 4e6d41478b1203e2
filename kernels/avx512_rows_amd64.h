// What the AVX-512 loops over rows and those of attention share.

// TAIL_MASK makes K7 the mask of the first n < 16 numbers; it uses AX and CX, n is in CX.
#define TAIL_MASK \
	MOVL  $1, AX; \
	SHLL  CX, AX; \
	SUBL  $1, AX; \
	KMOVW AX, K7

// SUM_LANES leaves the sum of the 16 lanes of Z0 in X0, in the order of NUMERICS rule 2: l and l+8, then +4, +2, +1.
#define SUM_LANES(z0, y0, x0, y1, x1) \
	VEXTRACTF64X4 $1, z0, y1; \
	VADDPS        y1, y0, y0; \
	VEXTRACTF128  $1, y0, x1; \
	VADDPS        x1, x0, x0; \
	VPERMILPD     $1, x0, x1; \
	VADDPS        x1, x0, x0; \
	VMOVSHDUP     x0, x1; \
	VADDSS        x1, x0, x0

// MAX_LANES leaves the largest of the 16 unsigned lanes of Z0 in every lane of X0.
#define MAX_LANES(z0, y0, x0, y1, x1) \
	VEXTRACTI64X4 $1, z0, y1; \
	VPMAXUD       y1, y0, y0; \
	VEXTRACTI128  $1, y0, x1; \
	VPMAXUD       x1, x0, x0; \
	VPSHUFD       $0x4E, x0, x1; \
	VPMAXUD       x1, x0, x0; \
	VPSHUFD       $0xB1, x0, x1; \
	VPMAXUD       x1, x0, x0

// EXP_CONSTANTS loads what EXP needs: Z16..Z26 as avx512Exp lists them, Z27 the exponent of 1.
#define EXP_CONSTANTS \
	VBROADCASTSS ·avx512Exp+0(SB), Z16; \
	VBROADCASTSS ·avx512Exp+4(SB), Z17; \
	VBROADCASTSS ·avx512Exp+8(SB), Z18; \
	VBROADCASTSS ·avx512Exp+12(SB), Z19; \
	VBROADCASTSS ·avx512Exp+16(SB), Z20; \
	VBROADCASTSS ·avx512Exp+20(SB), Z21; \
	VBROADCASTSS ·avx512Exp+24(SB), Z22; \
	VBROADCASTSS ·avx512Exp+28(SB), Z23; \
	VBROADCASTSS ·avx512Exp+32(SB), Z24; \
	VBROADCASTSS ·avx512Exp+36(SB), Z25; \
	VBROADCASTSS ·avx512Exp+40(SB), Z26; \
	MOVL         $127, AX; \
	VPBROADCASTD AX, Z27

// EXP writes Exp of the lanes of x to p, 0 in the lanes that are not in K1 (NUMERICS rule 3, step by step as Exp has it).
// n, r and t are scratch.
#define EXP(x, p, n, r, t) \
	VMULPS   Z16, x, t; \
	VADDPS   Z17, t, t; \
	VSUBPS   Z17, t, n; \
	VMULPS   Z18, n, r; \
	VSUBPS   r, x, r; \
	VMULPS   Z19, n, n; \
	VSUBPS   n, r, r; \
	VMULPS   Z20, r, p; \
	VADDPS   Z21, p, p; \
	VMULPS   r, p, p; \
	VADDPS   Z22, p, p; \
	VMULPS   r, p, p; \
	VADDPS   Z23, p, p; \
	VMULPS   r, p, p; \
	VADDPS   Z24, p, p; \
	VMULPS   r, p, p; \
	VADDPS   Z25, p, p; \
	VMULPS   r, r, n; \
	VMULPS   p, n, p; \
	VADDPS   r, p, p; \
	VADDPS   Z26, p, p; \
	VPADDD   Z27, t, t; \
	VPSLLD   $23, t, t; \
	VMULPS.Z t, p, K1, p
