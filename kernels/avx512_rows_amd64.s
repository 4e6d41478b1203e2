#include "textflag.h"
#include "avx512_rows_amd64.h"

// Loops over rows of float32. Each takes 16 numbers a turn; the last n mod 16 go through the same steps under the mask K7,
// which keeps loads and stores within the row. Absent numbers count as +0, which changes neither a sum of squares nor a
// largest magnitude.

// func sumSquares512(x *float32, n int) (sum float32, most uint32)
//
// The sum of squares by lanes, in which magnitudes below 2^-60 count as 0, and the largest magnitude as bits.
//
//	Z0 sums  Z1 largest magnitudes  Z2 mask of the magnitude  Z3 2^-60
#define SQUARE \
	VPANDD   Z2, Z4, Z5; \
	VPMAXUD  Z5, Z1, Z1; \
	VPCMPUD  $5, Z3, Z5, K1; \ // Z5 >= Z3
	VMULPS.Z Z4, Z4, K1, Z4; \
	VADDPS   Z4, Z0, Z0

TEXT ·sumSquares512(SB), NOSPLIT, $0-24
	MOVQ         x+0(FP), SI
	MOVQ         n+8(FP), CX
	MOVL         $0x7FFFFFFF, AX
	VPBROADCASTD AX, Z2
	MOVL         $(67<<23), AX
	VPBROADCASTD AX, Z3
	VPXORD       Z0, Z0, Z0
	VPXORD       Z1, Z1, Z1
	SUBQ         $16, CX
	JLT          tail

loop:
	VMOVUPS (SI), Z4
	SQUARE
	ADDQ    $64, SI
	SUBQ    $16, CX
	JGE     loop

tail:
	ADDQ      $16, CX
	JZ        done
	TAIL_MASK
	VMOVUPS.Z (SI), K7, Z4
	SQUARE

done:
	SUM_LANES(Z0, Y0, X0, Y4, X4)
	MAX_LANES(Z1, Y1, X1, Y4, X4)
	VMOVSS X0, sum+16(FP)
	VMOVD  X1, AX
	MOVL   AX, most+20(FP)
	VZEROUPPER
	RET

// func scaleRow512(dst, x, gain *float32, n int, r float32)
//
// dst = (x * r) * gain.
TEXT ·scaleRow512(SB), NOSPLIT, $0-36
	MOVQ         dst+0(FP), DI
	MOVQ         x+8(FP), SI
	MOVQ         gain+16(FP), DX
	MOVQ         n+24(FP), CX
	VBROADCASTSS r+32(FP), Z0
	SUBQ         $16, CX
	JLT          tail

loop:
	VMULPS  (SI), Z0, Z1
	VMULPS  (DX), Z1, Z1
	VMOVUPS Z1, (DI)
	ADDQ    $64, SI
	ADDQ    $64, DX
	ADDQ    $64, DI
	SUBQ    $16, CX
	JGE     loop

tail:
	ADDQ      $16, CX
	JZ        done
	TAIL_MASK
	VMOVUPS.Z (SI), K7, Z1
	VMOVUPS.Z (DX), K7, Z2
	VMULPS    Z1, Z0, Z1
	VMULPS    Z2, Z1, Z1
	VMOVUPS   Z1, K7, (DI)

done:
	VZEROUPPER
	RET

// ROUND makes the float16s of the lanes of Z2 times 2^-e in Y3, and what they stand for in Z2. Z0 is 2^-e and Z1 2^e.
#define ROUND \
	VMULPS    Z0, Z2, Z2; \
	VCVTPS2PH $0, Z2, Y3; \ // to nearest even
	VCVTPH2PS Y3, Z2; \
	VMULPS    Z1, Z2, Z2

// func roundRow512(half *byte, x *float32, n int, down, up float32)
//
// half = float16(x * down), x = float32(half) * up.
TEXT ·roundRow512(SB), NOSPLIT, $0-32
	MOVQ         half+0(FP), DI
	MOVQ         x+8(FP), SI
	MOVQ         n+16(FP), CX
	VBROADCASTSS down+24(FP), Z0
	VBROADCASTSS up+28(FP), Z1
	SUBQ         $16, CX
	JLT          tail

loop:
	VMOVUPS (SI), Z2
	ROUND
	VMOVDQU Y3, (DI)
	VMOVUPS Z2, (SI)
	ADDQ    $64, SI
	ADDQ    $32, DI
	SUBQ    $16, CX
	JGE     loop

tail:
	ADDQ      $16, CX
	JZ        done
	TAIL_MASK
	VMOVUPS.Z (SI), K7, Z2
	ROUND
	VMOVDQU16 Y3, K7, (DI)
	VMOVUPS   Z2, K7, (SI)

done:
	VZEROUPPER
	RET

// func roundInPlace512(x *float32, n int, down, up float32)
//
// roundRow512 without half.
TEXT ·roundInPlace512(SB), NOSPLIT, $0-24
	MOVQ         x+0(FP), SI
	MOVQ         n+8(FP), CX
	VBROADCASTSS down+16(FP), Z0
	VBROADCASTSS up+20(FP), Z1
	SUBQ         $16, CX
	JLT          tail

loop:
	VMOVUPS (SI), Z2
	ROUND
	VMOVUPS Z2, (SI)
	ADDQ    $64, SI
	SUBQ    $16, CX
	JGE     loop

tail:
	ADDQ      $16, CX
	JZ        done
	TAIL_MASK
	VMOVUPS.Z (SI), K7, Z2
	ROUND
	VMOVUPS   Z2, K7, (SI)

done:
	VZEROUPPER
	RET

// func widenRow512(dst *float32, half *byte, n int, up float32)
//
// dst = float32(half) * up.
TEXT ·widenRow512(SB), NOSPLIT, $0-28
	MOVQ         dst+0(FP), DI
	MOVQ         half+8(FP), SI
	MOVQ         n+16(FP), CX
	VBROADCASTSS up+24(FP), Z0
	SUBQ         $16, CX
	JLT          tail

loop:
	VCVTPH2PS (SI), Z1
	VMULPS    Z0, Z1, Z1
	VMOVUPS   Z1, (DI)
	ADDQ      $32, SI
	ADDQ      $64, DI
	SUBQ      $16, CX
	JGE       loop

tail:
	ADDQ        $16, CX
	JZ          done
	TAIL_MASK
	VMOVDQU16.Z (SI), K7, Y1
	VCVTPH2PS   Y1, Z1
	VMULPS      Z0, Z1, Z1
	VMOVUPS     Z1, K7, (DI)

done:
	VZEROUPPER
	RET

// SWIGLU makes silu(Z0) * Z1 in Z0: t = Exp(-|z|), z / (1 + t) or, for z < 0 and NaN, (z * t) / (1 + t).
//
//	Z28 the sign  Z29 -87  Z30 0  Z16..Z27 as EXP has them
#define SWIGLU \
	VPORD  Z28, Z0, Z2; \
	VCMPPS $5, Z29, Z2, K1; \ // not below -87
	EXP(Z2, Z3, Z4, Z5, Z6); \
	VCMPPS $9, Z30, Z0, K2; \ // not >= 0
	VMULPS Z3, Z0, K2, Z0; \
	VADDPS Z26, Z3, Z3; \
	VDIVPS Z3, Z0, Z0; \
	VMULPS Z1, Z0, Z0

// func swiGLU512(dst, gate, up *float32, n int)
//
// dst = silu(gate) * up.
TEXT ·swiGLU512(SB), NOSPLIT, $0-32
	MOVQ         dst+0(FP), DI
	MOVQ         gate+8(FP), SI
	MOVQ         up+16(FP), DX
	MOVQ         n+24(FP), CX
	EXP_CONSTANTS
	MOVL         $0x80000000, AX
	VPBROADCASTD AX, Z28
	MOVL         $0xC2AE0000, AX // -87
	VPBROADCASTD AX, Z29
	VPXORD       Z30, Z30, Z30
	SUBQ         $16, CX
	JLT          tail

loop:
	VMOVUPS (SI), Z0
	VMOVUPS (DX), Z1
	SWIGLU
	VMOVUPS Z0, (DI)
	ADDQ    $64, SI
	ADDQ    $64, DX
	ADDQ    $64, DI
	SUBQ    $16, CX
	JGE     loop

tail:
	ADDQ      $16, CX
	JZ        done
	TAIL_MASK
	VMOVUPS.Z (SI), K7, Z0
	VMOVUPS.Z (DX), K7, Z1
	SWIGLU
	VMOVUPS   Z0, K7, (DI)

done:
	VZEROUPPER
	RET

// ROTATE turns the pairs of Z0 and Z1 by the angles of cos Z2 and sin Z3.
#define ROTATE \
	VMULPS Z2, Z0, Z4; \
	VMULPS Z3, Z1, Z5; \
	VMULPS Z2, Z1, Z6; \
	VMULPS Z3, Z0, Z7; \
	VSUBPS Z5, Z4, Z4; \
	VADDPS Z7, Z6, Z6

// func rotate512(a, b, cos, sin *float32, n int)
//
// a, b = a*cos - b*sin, b*cos + a*sin.
TEXT ·rotate512(SB), NOSPLIT, $0-40
	MOVQ a+0(FP), SI
	MOVQ b+8(FP), DI
	MOVQ cos+16(FP), R8
	MOVQ sin+24(FP), R9
	MOVQ n+32(FP), CX
	SUBQ $16, CX
	JLT  tail

loop:
	VMOVUPS (SI), Z0
	VMOVUPS (DI), Z1
	VMOVUPS (R8), Z2
	VMOVUPS (R9), Z3
	ROTATE
	VMOVUPS Z4, (SI)
	VMOVUPS Z6, (DI)
	ADDQ    $64, SI
	ADDQ    $64, DI
	ADDQ    $64, R8
	ADDQ    $64, R9
	SUBQ    $16, CX
	JGE     loop

tail:
	ADDQ      $16, CX
	JZ        done
	TAIL_MASK
	VMOVUPS.Z (SI), K7, Z0
	VMOVUPS.Z (DI), K7, Z1
	VMOVUPS.Z (R8), K7, Z2
	VMOVUPS.Z (R9), K7, Z3
	ROTATE
	VMOVUPS   Z4, K7, (SI)
	VMOVUPS   Z6, K7, (DI)

done:
	VZEROUPPER
	RET

// func maxAbs512(x *float32, n int) uint32
//
// The largest magnitude as bits: NaN and Inf are the largest of all.
TEXT ·maxAbs512(SB), NOSPLIT, $0-20
	MOVQ         x+0(FP), SI
	MOVQ         n+8(FP), CX
	MOVL         $0x7FFFFFFF, AX
	VPBROADCASTD AX, Z2
	VPXORD       Z0, Z0, Z0
	VPXORD       Z1, Z1, Z1
	SUBQ         $32, CX
	JLT          few

loop:
	VPANDD  (SI), Z2, Z3
	VPANDD  64(SI), Z2, Z4
	VPMAXUD Z3, Z0, Z0
	VPMAXUD Z4, Z1, Z1
	ADDQ    $128, SI
	SUBQ    $32, CX
	JGE     loop

few:
	VPMAXUD Z1, Z0, Z0
	ADDQ    $16, CX
	JLT     tail
	VPANDD  (SI), Z2, Z3
	VPMAXUD Z3, Z0, Z0
	ADDQ    $64, SI
	SUBQ    $16, CX

tail:
	ADDQ      $16, CX
	JZ        done
	TAIL_MASK
	VMOVUPS.Z (SI), K7, Z3
	VPANDD    Z2, Z3, Z3
	VPMAXUD   Z3, Z0, Z0

done:
	MAX_LANES(Z0, Y0, X0, Y1, X1)
	VMOVD X0, AX
	MOVL  AX, ret+16(FP)
	VZEROUPPER
	RET

// func add512(dst, src *float32, n int)
//
// dst += src.
TEXT ·add512(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ n+16(FP), CX
	SUBQ $16, CX
	JLT  tail

loop:
	VMOVUPS (DI), Z0
	VADDPS  (SI), Z0, Z0
	VMOVUPS Z0, (DI)
	ADDQ    $64, SI
	ADDQ    $64, DI
	SUBQ    $16, CX
	JGE     loop

tail:
	ADDQ      $16, CX
	JZ        done
	TAIL_MASK
	VMOVUPS.Z (SI), K7, Z1
	VMOVUPS.Z (DI), K7, Z0
	VADDPS    Z1, Z0, Z0
	VMOVUPS   Z0, K7, (DI)

done:
	VZEROUPPER
	RET

// func divide512(dst *float32, n int, by float32)
//
// dst /= by.
TEXT ·divide512(SB), NOSPLIT, $0-20
	MOVQ         dst+0(FP), DI
	MOVQ         n+8(FP), CX
	VBROADCASTSS by+16(FP), Z1
	SUBQ         $16, CX
	JLT          tail

loop:
	VMOVUPS (DI), Z0
	VDIVPS  Z1, Z0, Z0
	VMOVUPS Z0, (DI)
	ADDQ    $64, DI
	SUBQ    $16, CX
	JGE     loop

tail:
	ADDQ      $16, CX
	JZ        done
	TAIL_MASK
	VMOVUPS.Z (DI), K7, Z0
	VDIVPS    Z1, Z0, Z0
	VMOVUPS   Z0, K7, (DI)

done:
	VZEROUPPER
	RET
