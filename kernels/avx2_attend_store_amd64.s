#include "textflag.h"

// Quantising units of 32, and the loops over scores.

DATA absMask<>+0(SB)/4, $0x7FFFFFFF
GLOBL absMask<>(SB), RODATA|NOPTR, $4
DATA inv127<>+0(SB)/4, $0x3C010204
GLOBL inv127<>(SB), RODATA|NOPTR, $4
DATA whole127<>+0(SB)/4, $0x42FE0000
GLOBL whole127<>(SB), RODATA|NOPTR, $4
DATA tinyLess<>+0(SB)/4, $0x217FFFFF
GLOBL tinyLess<>(SB), RODATA|NOPTR, $4

// The order of words that undoes that of two packings.
DATA unpacked<>+0(SB)/8, $0x0000000400000000
DATA unpacked<>+8(SB)/8, $0x0000000500000001
DATA unpacked<>+16(SB)/8, $0x0000000600000002
DATA unpacked<>+24(SB)/8, $0x0000000700000003
GLOBL unpacked<>(SB), RODATA|NOPTR, $32

// LARGEST reads the unit at SI into Y0..Y3 and puts its largest magnitude, as bits, into each lane of X4.
#define LARGEST \
	VMOVUPS      (SI), Y0;       \
	VMOVUPS      32(SI), Y1;     \
	VMOVUPS      64(SI), Y2;     \
	VMOVUPS      96(SI), Y3;     \
	VPAND        Y0, Y15, Y4;    \
	VPAND        Y1, Y15, Y5;    \
	VPAND        Y2, Y15, Y6;    \
	VPAND        Y3, Y15, Y7;    \
	VPMAXUD      Y5, Y4, Y4;     \
	VPMAXUD      Y7, Y6, Y6;     \
	VPMAXUD      Y6, Y4, Y4;     \
	VEXTRACTI128 $1, Y4, X5;     \
	VPMAXUD      X5, X4, X4;     \
	VPSHUFD      $0x4E, X4, X5;  \
	VPMAXUD      X5, X4, X4;     \
	VPSHUFD      $0xB1, X4, X5;  \
	VPMAXUD      X5, X4, X4

// CODES multiplies the unit in Y0..Y3 with each lane of X6 and leaves the codes in Y0. (Conversion rounds to nearest even.)
#define CODES \
	VBROADCASTSS X6, Y6;         \
	VMULPS       Y6, Y0, Y0;     \
	VMULPS       Y6, Y1, Y1;     \
	VMULPS       Y6, Y2, Y2;     \
	VMULPS       Y6, Y3, Y3;     \
	VCVTPS2DQ    Y0, Y0;         \
	VCVTPS2DQ    Y1, Y1;         \
	VCVTPS2DQ    Y2, Y2;         \
	VCVTPS2DQ    Y3, Y3;         \
	VPACKSSDW    Y1, Y0, Y0;     \
	VPACKSSDW    Y3, Y2, Y2;     \
	VPACKSSWB    Y2, Y0, Y0;     \
	VPERMD       Y0, Y12, Y0

// func storeLoopAVX2(codes, scales *byte, x *float32, units int) (most uint32)
//
// Units as the cache stores them, and the largest scale, as float16 bits. Where the stored scale is 0 codes are; below 2^-60
// it always is. NaN and Inf give a scale that is not finite.
//
//	DI codes   BX scales   SI x   CX units left   AX the largest scale   X13 127   X14 1/127   Y15 the mask of |x|
TEXT ·storeLoopAVX2(SB), NOSPLIT, $0-36
	MOVQ         codes+0(FP), DI
	MOVQ         scales+8(FP), BX
	MOVQ         x+16(FP), SI
	MOVQ         units+24(FP), CX
	XORL         AX, AX
	VMOVDQU      unpacked<>(SB), Y12
	VBROADCASTSS whole127<>(SB), X13
	VBROADCASTSS inv127<>(SB), X14
	VPBROADCASTD absMask<>(SB), Y15
	VPXOR        X11, X11, X11

store:
	LARGEST
	VDIVPS       X4, X13, X6     // 127 / m
	VMULPS       X14, X4, X4
	VCVTPS2PH    $0, X4, X4
	CODES
	VPBROADCASTW X4, Y5
	VPCMPEQW     Y11, Y5, Y5
	VPANDN       Y0, Y5, Y0
	VMOVDQU      Y0, (DI)
	VMOVD        X4, DX
	MOVW         DX, (BX)
	MOVWLZX      DX, DX
	CMPL         DX, AX
	CMOVLHI      DX, AX
	ADDQ         $32, DI
	ADDQ         $2, BX
	ADDQ         $128, SI
	DECQ         CX
	JNZ          store

	MOVL AX, most+32(FP)
	VZEROUPPER
	RET

// func quantiseLoopAVX2(codes *int8, scales *float32, starts *int32, x *float32, units int) (most uint32)
//
// Units of a query: codes, scales, -128 times the sums of codes, and the largest magnitude as bits. Below 2^-60 scale and
// codes are 0.
//
//	DI codes   BX scales   R8 starts   SI x   CX units left   X8 the largest   Y9 bytes of 1   Y10 words of 1
//	X11 2^-60   X13 127   X14 1/127   Y15 the mask of |x|
TEXT ·quantiseLoopAVX2(SB), NOSPLIT, $0-44
	MOVQ         codes+0(FP), DI
	MOVQ         scales+8(FP), BX
	MOVQ         starts+16(FP), R8
	MOVQ         x+24(FP), SI
	MOVQ         units+32(FP), CX
	VPXOR        X8, X8, X8
	VPCMPEQW     Y9, Y9, Y9
	VPSRLW       $15, Y9, Y10
	VPABSB       Y9, Y9
	VPBROADCASTD tinyLess<>(SB), X11
	VMOVDQU      unpacked<>(SB), Y12
	VBROADCASTSS whole127<>(SB), X13
	VBROADCASTSS inv127<>(SB), X14
	VPBROADCASTD absMask<>(SB), Y15

quantise:
	LARGEST
	VPMAXUD      X4, X8, X8
	VPCMPGTD     X11, X4, X5
	VDIVPS       X4, X13, X6
	VANDPS       X5, X6, X6      // 127 / m, or 0
	VMULPS       X14, X4, X4
	VANDPS       X5, X4, X4
	VMOVSS       X4, (BX)
	CODES
	VMOVDQU      Y0, (DI)
	VPMADDUBSW   Y0, Y9, Y0
	VPMADDWD     Y10, Y0, Y0
	VEXTRACTI128 $1, Y0, X1
	VPADDD       X1, X0, X0
	VPSHUFD      $0x4E, X0, X1
	VPADDD       X1, X0, X0
	VPSHUFD      $0xB1, X0, X1
	VPADDD       X1, X0, X0
	VMOVD        X0, AX
	SHLL         $7, AX
	NEGL         AX
	MOVL         AX, (R8)
	ADDQ         $32, DI
	ADDQ         $4, BX
	ADDQ         $4, R8
	ADDQ         $128, SI
	DECQ         CX
	JNZ          quantise

	VMOVD X8, AX
	MOVL  AX, most+40(FP)
	VZEROUPPER
	RET

DATA lanes<>+0(SB)/8, $0x0000000100000000
DATA lanes<>+8(SB)/8, $0x0000000300000002
DATA lanes<>+16(SB)/8, $0x0000000500000004
DATA lanes<>+24(SB)/8, $0x0000000700000006
GLOBL lanes<>(SB), RODATA|NOPTR, $32

// func biasLoopAVX2(s *float32, n int, slope float32, first int32)
//
// s[j] += slope * float32(first+j), 8 scores a step.
//
//	SI s   CX left   Y0 slope   Y1 first+j   Y2 eights
TEXT ·biasLoopAVX2(SB), NOSPLIT, $0-24
	MOVQ         s+0(FP), SI
	MOVQ         n+8(FP), CX
	VBROADCASTSS slope+16(FP), Y0
	VBROADCASTSS first+20(FP), Y1 // any 32 bits
	VPADDD       lanes<>(SB), Y1, Y1
	VPCMPEQD     Y2, Y2, Y2
	VPSRLD       $31, Y2, Y2
	VPSLLD       $3, Y2, Y2

bias:
	VCVTDQ2PS Y1, Y3
	VPADDD    Y2, Y1, Y1
	VMULPS    Y3, Y0, Y3
	VADDPS    (SI), Y3, Y3
	VMOVUPS   Y3, (SI)
	ADDQ      $32, SI
	SUBQ      $8, CX
	JNZ       bias
	VZEROUPPER
	RET

DATA minusInf<>+0(SB)/4, $0xFF800000
GLOBL minusInf<>(SB), RODATA|NOPTR, $4

// func largestLoopAVX2(s *float32, n int) float32
//
// The largest number that is not a NaN, or -Inf; which of -0 and +0 is open. VMAXPS gives its last source (the first here)
// where one is a NaN: that is the maximum so far. 32 scores a step, then the rest.
TEXT ·largestLoopAVX2(SB), NOSPLIT, $0-20
	MOVQ         s+0(FP), SI
	MOVQ         n+8(FP), CX
	VBROADCASTSS minusInf<>(SB), Y0
	VMOVAPS      Y0, Y1
	VMOVAPS      Y0, Y2
	VMOVAPS      Y0, Y3
	SUBQ         $32, CX
	JLT          few

four:
	VMOVUPS (SI), Y4
	VMOVUPS 32(SI), Y5
	VMOVUPS 64(SI), Y6
	VMOVUPS 96(SI), Y7
	VMAXPS  Y0, Y4, Y0
	VMAXPS  Y1, Y5, Y1
	VMAXPS  Y2, Y6, Y2
	VMAXPS  Y3, Y7, Y3
	ADDQ    $128, SI
	SUBQ    $32, CX
	JGE     four

few:
	ADDQ $32, CX
	JZ   end

one:
	VMOVUPS (SI), Y4
	VMAXPS  Y0, Y4, Y0
	ADDQ    $32, SI
	SUBQ    $8, CX
	JNZ     one

end:
	VMAXPS       Y1, Y0, Y0
	VMAXPS       Y3, Y2, Y2
	VMAXPS       Y2, Y0, Y0
	VEXTRACTF128 $1, Y0, X1
	VMAXPS       X1, X0, X0
	VPSHUFD      $0x4E, X0, X1
	VMAXPS       X1, X0, X0
	VPSHUFD      $0xB1, X0, X1
	VMAXPS       X1, X0, X0
	VMOVSS       X0, ret+16(FP)
	VZEROUPPER
	RET
