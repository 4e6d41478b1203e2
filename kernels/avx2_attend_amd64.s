#include "textflag.h"

// The products of queries and keys, and values times weights, over the 8-bit cache. Tokens lie width bytes apart (their
// scales width/16): a head's codes of one token are one or two lines of the processor's cache, and of neighbouring
// tokens these fall into the same set of it (4,096 bytes apart, as a rule). So each line is read once, whole.

// Words of four tokens' two scales, to those of the first unit and then those of the second.
DATA byUnit<>+0(SB)/8, $0x0D0C090805040100
DATA byUnit<>+8(SB)/8, $0x0F0E0B0A07060302
GLOBL byUnit<>(SB), RODATA|NOPTR, $16

// UNIT multiplies unit AT of four tokens' keys with a query's: A, B, C and D become 8 partial sums each, and then A the
// sums of tokens 0..3 from the lower and again from the upper halves. With the query's magnitudes as the bytes without
// sign, and its signs given to the keys, two products are at most 2*127*127: nothing saturates.
//
//	SI the query   R8 the keys   R10 R11 width, times 3   Y14 words of 1   Y0 Y1 the query, its magnitudes
#define UNIT(AT, A, B, C, D) \
	VMOVDQU     AT(SI), Y0;         \
	VPABSB      Y0, Y1;             \
	VMOVDQU     AT(R8), A;          \
	VMOVDQU     AT(R8)(R10*1), B;   \
	VMOVDQU     AT(R8)(R10*2), C;   \
	VMOVDQU     AT(R8)(R11*1), D;   \
	VPSIGNB     Y0, A, A;           \
	VPSIGNB     Y0, B, B;           \
	VPSIGNB     Y0, C, C;           \
	VPSIGNB     Y0, D, D;           \
	VPMADDUBSW  A, Y1, A;           \
	VPMADDUBSW  B, Y1, B;           \
	VPMADDUBSW  C, Y1, C;           \
	VPMADDUBSW  D, Y1, D;           \
	VPMADDWD    Y14, A, A;          \
	VPMADDWD    Y14, B, B;          \
	VPMADDWD    Y14, C, C;          \
	VPMADDWD    Y14, D, D;          \
	VPUNPCKLDQ  B, A, Y0;           \ // a0 b0 a1 b1
	VPUNPCKHDQ  B, A, Y1;           \ // a2 b2 a3 b3
	VPADDD      Y1, Y0, A;          \
	VPUNPCKLDQ  D, C, Y0;           \
	VPUNPCKHDQ  D, C, Y1;           \
	VPADDD      Y1, Y0, C;          \
	VPUNPCKLQDQ C, A, Y0;           \ // a b c d
	VPUNPCKHQDQ C, A, Y1;           \
	VPADDD      Y1, Y0, A

// func scoresLoopAVX2(dst *float32, codes *int8, own *float32, keys, scales *byte, width, tokens, pairs int, root float32)
//
// dst[t] = (sum over the units, in order, of float32(d) * (own * scale)) * root: four tokens a step, two units at a time. Of
// a last step of fewer, the tokens before are done again.
//
//	DI dst   SI codes   BX own   R8 R9 keys and scales   R10 R11 width, times 3   R12 R13 the same for scales
//	CX tokens left   DX pairs left   X15 the four sums   Y13 root   Y14 words of 1   X12 byUnit
TEXT ·scoresLoopAVX2(SB), NOSPLIT, $0-68
	MOVQ         dst+0(FP), DI
	MOVQ         codes+8(FP), SI
	MOVQ         own+16(FP), BX
	MOVQ         keys+24(FP), R8
	MOVQ         scales+32(FP), R9
	MOVQ         width+40(FP), R10
	MOVQ         tokens+48(FP), CX
	VBROADCASTSS root+64(FP), X13
	VPCMPEQW     Y14, Y14, Y14
	VPSRLW       $15, Y14, Y14
	VMOVDQU      byUnit<>(SB), X12
	LEAQ         (R10)(R10*2), R11
	MOVQ         R10, R12
	SHRQ         $4, R12
	LEAQ         (R12)(R12*2), R13

step:
	CMPQ  CX, $4
	JGE   four
	SUBQ  $4, CX         // back by 4 - CX tokens
	MOVQ  CX, AX
	IMULQ R10, AX
	ADDQ  AX, R8
	MOVQ  CX, AX
	IMULQ R12, AX
	ADDQ  AX, R9
	LEAQ  (DI)(CX*4), DI
	MOVQ  $4, CX

four:
	VXORPS X15, X15, X15
	MOVQ   pairs+56(FP), DX

pair:
	UNIT(0, Y2, Y3, Y4, Y5)
	UNIT(32, Y6, Y7, Y8, Y9)
	VPBLENDD     $0xF0, Y6, Y2, Y3  // lower sums of the first unit, upper ones of the second
	VPERM2I128   $0x21, Y6, Y2, Y4  // and the others
	VPADDD       Y4, Y3, Y3
	VCVTDQ2PS    Y3, Y3
	VMOVD        (R9), X4
	VPINSRD      $1, (R9)(R12*1), X4, X4
	VPINSRD      $2, (R9)(R12*2), X4, X4
	VPINSRD      $3, (R9)(R13*1), X4, X4
	VPSHUFB      X12, X4, X4
	VCVTPH2PS    X4, Y4
	VBROADCASTSS (BX), X5
	VBROADCASTSS 4(BX), X6
	VINSERTF128  $1, X6, Y5, Y5
	VMULPS       Y4, Y5, Y4
	VMULPS       Y4, Y3, Y3
	VADDPS       X3, X15, X15
	VEXTRACTF128 $1, Y3, X4
	VADDPS       X4, X15, X15
	ADDQ         $64, R8
	ADDQ         $4, R9
	ADDQ         $64, SI
	ADDQ         $8, BX
	DECQ         DX
	JNZ          pair

	VMULPS  X13, X15, X15
	VMOVUPS X15, (DI)
	MOVQ    codes+8(FP), SI
	MOVQ    own+16(FP), BX
	MOVQ    pairs+56(FP), DX
	SHLQ    $2, DX
	SUBQ    DX, R9
	LEAQ    (R9)(R12*4), R9
	SHLQ    $4, DX
	SUBQ    DX, R8
	LEAQ    (R8)(R10*4), R8
	ADDQ    $16, DI
	SUBQ    $4, CX
	JNZ     step
	VZEROUPPER
	RET

// EIGHTH adds W times 8 codes to the sums ACC; T is scratch.
#define EIGHTH(AT, W, T, ACC) \
	VPMOVSXBD AT(R8), T;    \
	VCVTDQ2PS T, T;         \
	VMULPS    W, T, T;      \
	VADDPS    T, ACC, ACC

// func valuesLoopAVX2(total, p *float32, codes, scales *byte, width, tokens, pairs int)
//
// total += (p*scale) * float32(code), token by token: for each pair of units, whose 64 sums stay in registers, one pass over
// the tokens. A token of weight 0 is left out: under ALiBi most of a long context is.
//
//	DI total   SI p   R8 R9 codes and scales   R10 R11 width, for scales   CX tokens left   DX pairs left
//	BX R12 the first token's codes and scales   Y8..Y15 sums   Y0 Y1 the weights of the two units
TEXT ·valuesLoopAVX2(SB), NOSPLIT, $0-56
	MOVQ total+0(FP), DI
	MOVQ codes+16(FP), BX
	MOVQ scales+24(FP), R12
	MOVQ width+32(FP), R10
	MOVQ pairs+48(FP), DX
	MOVQ R10, R11
	SHRQ $4, R11

pairOfUnits:
	MOVQ    p+8(FP), SI
	MOVQ    tokens+40(FP), CX
	MOVQ    BX, R8
	MOVQ    R12, R9
	VMOVUPS (DI), Y8
	VMOVUPS 32(DI), Y9
	VMOVUPS 64(DI), Y10
	VMOVUPS 96(DI), Y11
	VMOVUPS 128(DI), Y12
	VMOVUPS 160(DI), Y13
	VMOVUPS 192(DI), Y14
	VMOVUPS 224(DI), Y15

token:
	MOVL         (SI), AX
	TESTL        AX, AX
	JEQ          next
	VBROADCASTSS (SI), Y0
	VPBROADCASTD (R9), X1
	VCVTPH2PS    X1, Y1     // the two scales, four times
	VMULPS       Y1, Y0, Y1
	VMOVSLDUP    Y1, Y0
	VMOVSHDUP    Y1, Y1
	EIGHTH(0, Y0, Y2, Y8)
	EIGHTH(8, Y0, Y3, Y9)
	EIGHTH(16, Y0, Y4, Y10)
	EIGHTH(24, Y0, Y5, Y11)
	EIGHTH(32, Y1, Y6, Y12)
	EIGHTH(40, Y1, Y7, Y13)
	EIGHTH(48, Y1, Y2, Y14)
	EIGHTH(56, Y1, Y3, Y15)

next:
	ADDQ $4, SI
	ADDQ R10, R8
	ADDQ R11, R9
	DECQ CX
	JNZ  token

	VMOVUPS Y8, (DI)
	VMOVUPS Y9, 32(DI)
	VMOVUPS Y10, 64(DI)
	VMOVUPS Y11, 96(DI)
	VMOVUPS Y12, 128(DI)
	VMOVUPS Y13, 160(DI)
	VMOVUPS Y14, 192(DI)
	VMOVUPS Y15, 224(DI)
	ADDQ    $256, DI
	ADDQ    $64, BX
	ADDQ    $4, R12
	DECQ    DX
	JNZ     pairOfUnits
	VZEROUPPER
	RET

// EIGHTH_TWO adds Y0 times 8 codes to the sums ACC0 and Y1 times them to ACC1.
#define EIGHTH_TWO(AT, T, U, ACC0, ACC1) \
	VPMOVSXBD AT(R8), T;      \
	VCVTDQ2PS T, T;           \
	VMULPS    Y0, T, U;       \
	VMULPS    Y1, T, T;       \
	VADDPS    U, ACC0, ACC0;  \
	VADDPS    T, ACC1, ACC1

// func valuesTwoLoopAVX2(total0, total1, p0, p1 *float32, codes, scales *byte, width, tokens, units int)
//
// The same for two queries, which share the conversion of codes: for each unit, whose sums for both stay in registers, one
// pass over the tokens.
//
//	DI SI totals   DX BX weights   R8 R9 codes and scales   R10 R11 width, for scales   CX the token
//	R12 R13 the first token's codes and scales   Y8..Y11, Y12..Y15 sums   Y0 Y1 the unit's weights
TEXT ·valuesTwoLoopAVX2(SB), NOSPLIT, $0-72
	MOVQ total0+0(FP), DI
	MOVQ total1+8(FP), SI
	MOVQ p0+16(FP), DX
	MOVQ p1+24(FP), BX
	MOVQ codes+32(FP), R12
	MOVQ scales+40(FP), R13
	MOVQ width+48(FP), R10
	MOVQ R10, R11
	SHRQ $4, R11

unitOfTwo:
	XORL    CX, CX
	MOVQ    R12, R8
	MOVQ    R13, R9
	VMOVUPS (DI), Y8
	VMOVUPS 32(DI), Y9
	VMOVUPS 64(DI), Y10
	VMOVUPS 96(DI), Y11
	VMOVUPS (SI), Y12
	VMOVUPS 32(SI), Y13
	VMOVUPS 64(SI), Y14
	VMOVUPS 96(SI), Y15

tokenOfTwo:
	MOVL         (DX)(CX*4), AX
	ORL          (BX)(CX*4), AX
	JEQ          nextOfTwo
	VPBROADCASTW (R9), X2
	VCVTPH2PS    X2, Y2
	VBROADCASTSS (DX)(CX*4), Y0
	VBROADCASTSS (BX)(CX*4), Y1
	VMULPS       Y2, Y0, Y0
	VMULPS       Y2, Y1, Y1
	EIGHTH_TWO(0, Y2, Y3, Y8, Y12)
	EIGHTH_TWO(8, Y4, Y5, Y9, Y13)
	EIGHTH_TWO(16, Y6, Y7, Y10, Y14)
	EIGHTH_TWO(24, Y2, Y3, Y11, Y15)

nextOfTwo:
	ADDQ R10, R8
	ADDQ R11, R9
	INCQ CX
	CMPQ CX, tokens+56(FP)
	JLT  tokenOfTwo

	VMOVUPS Y8, (DI)
	VMOVUPS Y9, 32(DI)
	VMOVUPS Y10, 64(DI)
	VMOVUPS Y11, 96(DI)
	VMOVUPS Y12, (SI)
	VMOVUPS Y13, 32(SI)
	VMOVUPS Y14, 64(SI)
	VMOVUPS Y15, 96(SI)
	ADDQ    $128, DI
	ADDQ    $128, SI
	ADDQ    $32, R12
	ADDQ    $2, R13
	DECQ    units+64(FP)
	JNZ     unitOfTwo
	VZEROUPPER
	RET
