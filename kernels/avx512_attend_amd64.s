#include "textflag.h"
#include "avx512_rows_amd64.h"

// Attention but for its products with the cache: codes of queries, keys and values, and the way from scores to weights.

// UNIT_MOST loads a unit of 32 numbers into Z0 and Z1, and leaves its largest magnitude in every lane of X2.
//
//	Z31 mask of the magnitude
#define UNIT_MOST \
	VMOVUPS (SI), Z0; \
	VMOVUPS 64(SI), Z1; \
	VPANDD  Z31, Z0, Z2; \
	VPANDD  Z31, Z1, Z3; \
	VPMAXUD Z3, Z2, Z2; \
	MAX_LANES(Z2, Y2, X2, Y3, X3)

// UNIT_CODES stores the codes of Z0 and Z1, rne(x * inv), inv in every lane of Z6: the integer nearest to x * inv is in the
// low bits of its sum with roundShift, and its low byte is the code. The sums stay in Z0 and Z1.
//
//	Z30 roundShift
#define UNIT_CODES \
	VMULPS  Z6, Z0, Z0; \
	VMULPS  Z6, Z1, Z1; \
	VADDPS  Z30, Z0, Z0; \
	VADDPS  Z30, Z1, Z1; \
	VPMOVDB Z0, X2; \
	VPMOVDB Z1, X3; \
	VMOVDQU X2, (DI); \
	VMOVDQU X3, 16(DI)

// UNIT_CONSTANTS loads what these need, and X29 2^-60, X28 1/127, X27 127.
#define UNIT_CONSTANTS \
	MOVL         $0x7FFFFFFF, AX; \
	VPBROADCASTD AX, Z31; \
	MOVL         $0x4B400000, AX; \
	VPBROADCASTD AX, Z30; \
	MOVL         $(67<<23), AX; \
	VPBROADCASTD AX, X29; \
	MOVL         $0x3C010204, AX; \
	VPBROADCASTD AX, X28; \
	MOVL         $0x42FE0000, AX; \
	VPBROADCASTD AX, X27

// func storeUnits512(codes, scales *byte, x *float32, units int) (most, scale uint32)
//
// Units of 32 as codes with float16 scales, and the largest magnitude and float16 scale of all. Where a magnitude is below
// 2^-60, or the scale's float16 is 0, inv is made 0: so the codes are.
TEXT ·storeUnits512(SB), NOSPLIT, $0-40
	MOVQ   codes+0(FP), DI
	MOVQ   scales+8(FP), R8
	MOVQ   x+16(FP), SI
	MOVQ   units+24(FP), CX
	UNIT_CONSTANTS
	VPXORD X26, X26, X26 // the largest magnitudes
	VPXORD X25, X25, X25 // the largest scales

loop:
	UNIT_MOST
	VPMAXUD     X2, X26, X26
	VPCMPUD     $5, X29, X2, K1 // at least 2^-60
	VMULPS.Z    X28, X2, K1, X4
	VCVTPS2PH   $0, X4, X4      // to nearest even
	VPMOVZXWD   X4, X4
	VPMAXUD     X4, X25, X25
	VPEXTRW     $0, X4, (R8)
	VPTESTMD    X4, X4, K1
	VDIVPS.Z    X2, X27, K1, X6
	VBROADCASTSS X6, Z6
	UNIT_CODES
	ADDQ        $128, SI
	ADDQ        $32, DI
	ADDQ        $2, R8
	DECQ        CX
	JNZ         loop

	VMOVD X26, AX
	MOVL  AX, most+32(FP)
	VMOVD X25, AX
	MOVL  AX, scale+36(FP)
	VZEROUPPER
	RET

// func quantiseUnits512(codes *int8, scales *float32, starts *int32, x *float32, units int) (most uint32)
//
// Units of 32 as codes with float32 scales and -128 times the sum of their codes, and the largest magnitude of all.
TEXT ·quantiseUnits512(SB), NOSPLIT, $0-44
	MOVQ   codes+0(FP), DI
	MOVQ   scales+8(FP), R8
	MOVQ   starts+16(FP), R9
	MOVQ   x+24(FP), SI
	MOVQ   units+32(FP), CX
	UNIT_CONSTANTS
	VPXORD X26, X26, X26 // the largest magnitudes

loop:
	UNIT_MOST
	VPMAXUD      X2, X26, X26
	VPCMPUD      $5, X29, X2, K1 // at least 2^-60
	VMULPS.Z     X28, X2, K1, X4
	VMOVSS       X4, (R8)
	VDIVPS.Z     X2, X27, K1, X6
	VBROADCASTSS X6, Z6
	UNIT_CODES

	// Each of the 32 sums is its code plus the bits of roundShift. These vanish: 32 * 128 * 0x4B400000 is 0 modulo 2^32.
	VPADDD       Z1, Z0, Z0
	VEXTRACTI64X4 $1, Z0, Y1
	VPADDD       Y1, Y0, Y0
	VEXTRACTI128 $1, Y0, X1
	VPADDD       X1, X0, X0
	VPSHUFD      $0x4E, X0, X1
	VPADDD       X1, X0, X0
	VPSHUFD      $0xB1, X0, X1
	VPADDD       X1, X0, X0
	VMOVD        X0, AX
	SHLL         $7, AX
	NEGL         AX
	MOVL         AX, (R9)
	ADDQ         $128, SI
	ADDQ         $32, DI
	ADDQ         $4, R8
	ADDQ         $4, R9
	DECQ         CX
	JNZ          loop

	VMOVD X26, AX
	MOVL  AX, most+40(FP)
	VZEROUPPER
	RET

// count are the numbers 0..15.
DATA count<>+0(SB)/8, $0x0000000100000000
DATA count<>+8(SB)/8, $0x0000000300000002
DATA count<>+16(SB)/8, $0x0000000500000004
DATA count<>+24(SB)/8, $0x0000000700000006
DATA count<>+32(SB)/8, $0x0000000900000008
DATA count<>+40(SB)/8, $0x0000000B0000000A
DATA count<>+48(SB)/8, $0x0000000D0000000C
DATA count<>+56(SB)/8, $0x0000000F0000000E
GLOBL count<>(SB), RODATA|NOPTR, $64

// func bias512(s *float32, n int, slope float32, first int32)
//
// s[j] += slope * float32(first+j). Z0 holds first+j, Z1 slope, Z2 16.
TEXT ·bias512(SB), NOSPLIT, $0-24
	MOVQ         s+0(FP), SI
	MOVQ         n+8(FP), CX
	VBROADCASTSS slope+16(FP), Z1
	MOVL         first+20(FP), AX
	VPBROADCASTD AX, Z0
	VPADDD       count<>(SB), Z0, Z0
	MOVL         $16, AX
	VPBROADCASTD AX, Z2
	SUBQ         $16, CX
	JLT          tail

loop:
	VCVTDQ2PS Z0, Z3
	VPADDD    Z2, Z0, Z0
	VMULPS    Z1, Z3, Z3
	VADDPS    (SI), Z3, Z3
	VMOVUPS   Z3, (SI)
	ADDQ      $64, SI
	SUBQ      $16, CX
	JGE       loop

tail:
	ADDQ      $16, CX
	JZ        done
	TAIL_MASK
	VMOVUPS.Z (SI), K7, Z4
	VCVTDQ2PS Z0, Z3
	VMULPS    Z1, Z3, Z3
	VADDPS    Z4, Z3, Z3
	VMOVUPS   Z3, K7, (SI)

done:
	VZEROUPPER
	RET

// func largest512(s *float32, n int) float32
//
// The largest number; a NaN is passed over, as VMAXPS gives its second operand (Z0, the first one written) where one of
// the two is a NaN. Zeros of both signs are alike.
TEXT ·largest512(SB), NOSPLIT, $0-20
	MOVQ         s+0(FP), SI
	MOVQ         n+8(FP), CX
	MOVL         $0xFF800000, AX // -Inf
	VPBROADCASTD AX, Z0
	VMOVAPS      Z0, Z1
	VMOVAPS      Z0, Z4
	SUBQ         $32, CX
	JLT          few

loop:
	VMOVUPS (SI), Z2
	VMOVUPS 64(SI), Z3
	VMAXPS  Z0, Z2, Z0
	VMAXPS  Z1, Z3, Z1
	ADDQ    $128, SI
	SUBQ    $32, CX
	JGE     loop

few:
	VMAXPS  Z0, Z1, Z0
	ADDQ    $16, CX
	JLT     tail
	VMOVUPS (SI), Z2
	VMAXPS  Z0, Z2, Z0
	ADDQ    $64, SI
	SUBQ    $16, CX

tail:
	ADDQ    $16, CX
	JZ      done
	TAIL_MASK
	VMOVUPS (SI), K7, Z4
	VMAXPS  Z0, Z4, Z0

done:
	VEXTRACTF64X4 $1, Z0, Y1
	VMAXPS        Y1, Y0, Y0
	VEXTRACTF128  $1, Y0, X1
	VMAXPS        X1, X0, X0
	VPERMILPD     $1, X0, X1
	VMAXPS        X1, X0, X0
	VMOVSHDUP     X0, X1
	VMAXSS        X1, X0, X0
	VMOVSS        X0, ret+16(FP)
	VZEROUPPER
	RET

// func softWeights512(s *float32, n int, most float32) float32
//
// d = s - most; s = Exp(d), or 0 where d < -41.5. The sum of these by lanes. The cut comes first, so Exp needs none at -87.
//
//	Z0 sums  Z1 most  Z2 -41.5  Z16..Z27 as EXP has them
TEXT ·softWeights512(SB), NOSPLIT, $0-28
	MOVQ         s+0(FP), SI
	MOVQ         n+8(FP), CX
	VBROADCASTSS most+16(FP), Z1
	MOVL         $0xC2260000, AX
	VPBROADCASTD AX, Z2
	EXP_CONSTANTS
	VPXORD       Z0, Z0, Z0
	SUBQ         $16, CX
	JLT          tail

loop:
	VMOVUPS (SI), Z3
	VSUBPS  Z1, Z3, Z3
	VCMPPS  $5, Z2, Z3, K1 // not below -41.5
	EXP(Z3, Z4, Z5, Z6, Z7)
	VMOVUPS Z4, (SI)
	VADDPS  Z4, Z0, Z0
	ADDQ    $64, SI
	SUBQ    $16, CX
	JGE     loop

tail:
	ADDQ      $16, CX
	JZ        done
	TAIL_MASK
	VMOVUPS.Z (SI), K7, Z3
	VSUBPS    Z1, Z3, Z3
	VCMPPS    $5, Z2, Z3, K1
	EXP(Z3, Z4, Z5, Z6, Z7)
	VMOVUPS   Z4, K7, (SI)
	VADDPS    Z4, Z0, K7, Z0

done:
	SUM_LANES(Z0, Y0, X0, Y1, X1)
	VMOVSS X0, ret+24(FP)
	VZEROUPPER
	RET
