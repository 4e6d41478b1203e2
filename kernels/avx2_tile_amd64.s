#include "textflag.h"

// With several rows, pairs of 16-bit numbers are multiplied: VPSIGNB, VPMADDUBSW and VPMADDWD would be three operations
// on the two units that multiply, for 32 products; VPMADDWD and VPADDD are two for 16, and only one of them multiplies.
// The 4 bytes of a row in a group become two pairs: columns 0 and 2, and columns 1 and 3.

DATA constsTile<>+0(SB)/8, $0x8074695C4E3D2801 // the 16 levels of nf4 plus 128
DATA constsTile<>+8(SB)/8, $0xFFDCC7B8AB9F948A
DATA constsTile<>+16(SB)/8, $0x00FF00FF00FF00FF // the low byte of each word
DATA constsTile<>+24(SB)/8, $0x00FF00FF00FF00FF
DATA constsTile<>+32(SB)/8, $0x00FF00FF00FF00FF
DATA constsTile<>+40(SB)/8, $0x00FF00FF00FF00FF
DATA constsTile<>+48(SB)/4, $0x0F0F0F0F // a nibble of each byte
DATA constsTile<>+52(SB)/4, $0x3C010204 // 1/127
GLOBL constsTile<>(SB), RODATA|NOPTR, $56

#define LEVELS constsTile<>+0(SB)
#define LOWBYTES constsTile<>+16(SB)
#define NIBBLES constsTile<>+48(SB)
#define INV127 constsTile<>+52(SB)

// AHEAD is how far ahead weights are prefetched (avx2_products_amd64.s says why).
#define AHEAD 6144

#define QUARTERBYTES 512

// SPLIT writes the pairs of 8 rows of a group. Y15 masks the low byte of each word.
#define SPLIT(bytes, temp, at) \
	VPAND   Y15, bytes, temp        \
	VPSRLW  $8, bytes, bytes        \
	VMOVDQU temp, (WEIGHTS+at)(R11) \
	VMOVDQU bytes, (WEIGHTS+at+64)(R11)

// NF4UNPACK unpacks 64 bytes of nf4, two groups. Y13 holds levels, Y14 the nibble mask.
#define NF4UNPACK(at) \
	PREFETCHT0 (at+AHEAD)(SI) \
	VMOVDQU at(SI), Y0        \
	VMOVDQU (at+32)(SI), Y1   \
	VPAND   Y14, Y0, Y2       \
	VPAND   Y14, Y1, Y3       \
	VPSRLW  $4, Y0, Y0        \
	VPSRLW  $4, Y1, Y1        \
	VPAND   Y14, Y0, Y0       \
	VPAND   Y14, Y1, Y1       \
	VPSHUFB Y2, Y13, Y2       \
	VPSHUFB Y3, Y13, Y3       \
	VPSHUFB Y0, Y13, Y0       \
	VPSHUFB Y1, Y13, Y1       \
	SPLIT(Y2, Y4, 4*at)       \
	SPLIT(Y3, Y5, 4*at+32)    \
	SPLIT(Y0, Y6, 4*at+128)   \
	SPLIT(Y1, Y7, 4*at+160)

// INT8UNPACK unpacks 64 bytes of int8, one group.
#define INT8UNPACK(at) \
	PREFETCHT0 (at+AHEAD)(SI) \
	VMOVDQU at(SI), Y0        \
	VMOVDQU (at+32)(SI), Y1   \
	SPLIT(Y0, Y4, 2*at)       \
	SPLIT(Y1, Y5, 2*at+32)

#define UNPACKNF4 \
	VBROADCASTI128 LEVELS, Y13   \
	VPBROADCASTD   NIBBLES, Y14  \
	VMOVDQU        LOWBYTES, Y15 \
	NF4UNPACK(0)                 \
	NF4UNPACK(64)                \
	NF4UNPACK(128)               \
	NF4UNPACK(192)               \
	NF4UNPACK(256)               \
	NF4UNPACK(320)               \
	NF4UNPACK(384)               \
	NF4UNPACK(448)               \
	LEAQ           WEIGHTS(R11), AX

#define UNPACKINT8 \
	VMOVDQU      LOWBYTES, Y15 \
	INT8UNPACK(0)              \
	INT8UNPACK(64)             \
	INT8UNPACK(128)            \
	INT8UNPACK(192)            \
	INT8UNPACK(256)            \
	INT8UNPACK(320)            \
	INT8UNPACK(384)            \
	INT8UNPACK(448)            \
	INT8UNPACK(512)            \
	INT8UNPACK(576)            \
	INT8UNPACK(640)            \
	INT8UNPACK(704)            \
	INT8UNPACK(768)            \
	INT8UNPACK(832)            \
	INT8UNPACK(896)            \
	INT8UNPACK(960)            \
	LEAQ         WEIGHTS(R11), AX

// PREPARE makes pairs of all rows' activations in the same way, but with their signs.
#define PREPARE(LOOP) \
	LEAQ    EVENS(R11), DI                 \
	XORQ    R14, R14                       \
LOOP:                                          \
	VMOVDQU (R8)(R14*4), Y0                \
	VMOVDQU 32(R8)(R14*4), Y1              \
	VPSLLW  $8, Y0, Y2                     \
	VPSLLW  $8, Y1, Y3                     \
	VPSRAW  $8, Y0, Y0                     \
	VPSRAW  $8, Y1, Y1                     \
	VPSRAW  $8, Y2, Y2                     \
	VPSRAW  $8, Y3, Y3                     \
	VMOVDQU Y2, (DI)(R14*4)                \
	VMOVDQU Y3, 32(DI)(R14*4)              \
	VMOVDQU Y0, (ODDS-EVENS)(DI)(R14*4)    \
	VMOVDQU Y1, (ODDS-EVENS+32)(DI)(R14*4) \
	ADDQ    $16, R14                       \
	CMPQ    R14, R15                       \
	JNE     LOOP

#define LOADPAIRS(at) \
	VMOVDQU at(R12), Y12 \
	VMOVDQU (at+32)(R12), Y13

// ADDROW adds the products of 16 pairs of weights with one pair of a row to the row's sums.
#define ADDROW(k, sum0, n0, sum1, n1) \
	VPBROADCASTD k(R13), Y14     \
	VPMADDWD     Y12, Y14, Y15   \
	VPMADDWD     Y13, Y14, Y14   \
	VPADDD       Y15, sum0, sum0 \
	VPADDD       Y14, sum1, sum1

#define GROUP(ROWS, at, k) \
	LOADPAIRS(2*at)    \
	ROWS(k)            \
	LOADPAIRS(2*at+64) \
	ROWS(k+ODDS-EVENS)

// Up to 4 rows leave registers for unpacking each group where it is needed: writing it down, a block's weights would
// take 64 stores, which is as long as the products of 2 rows.
#define FEWROWS \
	CMPQ R14, $4 \
	JLE  few

// EVENODD multiplies 4 columns of weights, Y8 and Y9, with some rows.
#define EVENODD(ROWS, k) \
	VPAND  LOWBYTES, Y8, Y12 \
	VPAND  LOWBYTES, Y9, Y13 \
	ROWS(k)                  \
	VPSRLW $8, Y8, Y12       \
	VPSRLW $8, Y9, Y13       \
	ROWS(k+ODDS-EVENS)

// NF4ROWS takes 64 bytes of nf4, at from R12. Y10 holds levels, Y11 the nibble mask.
#define NF4ROWS(ROWS, at, k) \
	PREFETCHT0 (at+AHEAD)(R12)       \
	VPAND      at(R12), Y11, Y8      \
	VPAND      (at+32)(R12), Y11, Y9 \
	VPSHUFB    Y8, Y10, Y8           \
	VPSHUFB    Y9, Y10, Y9           \
	EVENODD(ROWS, k)                 \
	VMOVDQU    at(R12), Y8           \
	VMOVDQU    (at+32)(R12), Y9      \
	VPSRLW     $4, Y8, Y8            \
	VPSRLW     $4, Y9, Y9            \
	VPAND      Y11, Y8, Y8           \
	VPAND      Y11, Y9, Y9           \
	VPSHUFB    Y8, Y10, Y8           \
	VPSHUFB    Y9, Y10, Y9           \
	EVENODD(ROWS, k+4)

// INT8ROWS takes 64 bytes of int8.
#define INT8ROWS(ROWS, at, k) \
	PREFETCHT0 (at+AHEAD)(R12)  \
	VMOVDQU    at(R12), Y8      \
	VMOVDQU    (at+32)(R12), Y9 \
	EVENODD(ROWS, k)

// FEW takes some rows through a block of either format; the first three arguments are labels.
#define FEW(NF4, INT8, END, STARTS, ROWS, TERMS) \
	STARTS                       \
	MOVQ SI, R12                 \
	MOVQ DI, R13                 \
	MOVQ $4, R14                 \
	CMPQ blockBytes+16(FP), $512 \
	JNE  INT8                    \
NF4:                                 \
	NF4ROWS(ROWS, 0, 0)          \
	NF4ROWS(ROWS, 64, 8)         \
	ADDQ $128, R12               \
	ADDQ R15, R13                \
	DECQ R14                     \
	JNZ  NF4                     \
	JMP  END                     \
INT8:                                \
	INT8ROWS(ROWS, 0, 0)         \
	INT8ROWS(ROWS, 64, 4)        \
	INT8ROWS(ROWS, 128, 8)       \
	INT8ROWS(ROWS, 192, 12)      \
	ADDQ $256, R12               \
	ADDQ R15, R13                \
	DECQ R14                     \
	JNZ  INT8                    \
END:                                 \
	TERMS                        \
	JMP  rowsEnd

// func addRowsAVX2(dst *float32, codes *byte, blockBytes int, scales *byte, acts *int8, actScales *float32,
//	starts *int32, blocks, rows int, work *tileWork)
//
// Adds the products of a panel with 2 to 24 rows to dst. With few rows, Y8 and Y9 hold 4 columns of weights, Y10 levels
// and Y11 the nibble mask.
TEXT ·addRowsAVX2(SB), NOSPLIT, $16-80
#include "tile_amd64.h"

few:
	PREPARE(prepareFew)
	VBROADCASTI128 LEVELS, Y10
	VPBROADCASTD   NIBBLES, Y11
	CMPQ           rowsLeft-16(SP), $3
	JEQ            few3
	JGT            few4
	FEW(nf4Rows2, int8Rows2, end2, START2, ROWS2, TERM2)

few3:
	FEW(nf4Rows3, int8Rows3, end3, START3, ROWS3, TERM3)

few4:
	FEW(nf4Rows4, int8Rows4, end4, START4, ROWS4, TERM4)
