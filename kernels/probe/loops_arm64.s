#include "textflag.h"

// The bare loops of arm64; see those of amd64. The assembler does not know these instructions: m, n and d are numbers of
// registers, d gets the result.
#define SDOT(m, n, d)   WORD $(0x4E809400 | (m)<<16 | (n)<<5 | (d)) // d.4S += products of n.16B and m.16B, by fours
#define SMULL(m, n, d)  WORD $(0x0E20C000 | (m)<<16 | (n)<<5 | (d)) // d.8H = products of the low 8 bytes
#define SMLAL2(m, n, d) WORD $(0x4E208000 | (m)<<16 | (n)<<5 | (d)) // d.8H += products of the high 8 bytes
#define SADALP(n, d)    WORD $(0x4E606800 | (n)<<5 | (d))           // d.4S += pairs of n.8H
#define FMUL(m, n, d)   WORD $(0x6E20DC00 | (m)<<16 | (n)<<5 | (d)) // d.4S = products
#define FADD(m, n, d)   WORD $(0x4E20D400 | (m)<<16 | (n)<<5 | (d)) // d.4S = sums

// func readNEON(p *byte, n int)
// Loads n bytes, a multiple of 512 above 0.
//
//	R0  where it is    R1  what is left
TEXT ·readNEON(SB), NOSPLIT, $0-16
	MOVD p+0(FP), R0
	MOVD n+8(FP), R1

read:
	VLD1.P 64(R0), [V0.B16, V1.B16, V2.B16, V3.B16]
	VLD1.P 64(R0), [V4.B16, V5.B16, V6.B16, V7.B16]
	VLD1.P 64(R0), [V16.B16, V17.B16, V18.B16, V19.B16]
	VLD1.P 64(R0), [V20.B16, V21.B16, V22.B16, V23.B16]
	VLD1.P 64(R0), [V0.B16, V1.B16, V2.B16, V3.B16]
	VLD1.P 64(R0), [V4.B16, V5.B16, V6.B16, V7.B16]
	VLD1.P 64(R0), [V16.B16, V17.B16, V18.B16, V19.B16]
	VLD1.P 64(R0), [V20.B16, V21.B16, V22.B16, V23.B16]
	SUBS   $512, R1
	BNE    read
	RET

// func integerSDOT(n int)
// n times 16 SDOT of 16 products each, into V16-V31.
TEXT ·integerSDOT(SB), NOSPLIT, $0-8
	MOVD  n+0(FP), R0
	VMOVI $1, V0.B16
	VMOVI $1, V1.B16

dots:
	SDOT(0, 1, 16)
	SDOT(0, 1, 17)
	SDOT(0, 1, 18)
	SDOT(0, 1, 19)
	SDOT(0, 1, 20)
	SDOT(0, 1, 21)
	SDOT(0, 1, 22)
	SDOT(0, 1, 23)
	SDOT(0, 1, 24)
	SDOT(0, 1, 25)
	SDOT(0, 1, 26)
	SDOT(0, 1, 27)
	SDOT(0, 1, 28)
	SDOT(0, 1, 29)
	SDOT(0, 1, 30)
	SDOT(0, 1, 31)
	SUBS $1, R0
	BNE  dots
	RET

// MADD adds the 16 products of bytes of V0 and V1 to a register, by way of 16 bits.
#define MADD(temp, sum) \
	SMULL(0, 1, temp); \
	SMLAL2(0, 1, temp); \
	SADALP(temp, sum)

// func integerNEON(n int)
// n times 6 groups of SMULL, SMLAL2 and SADALP, 16 products each, by way of V2-V7 into V16-V21.
TEXT ·integerNEON(SB), NOSPLIT, $0-8
	MOVD  n+0(FP), R0
	VMOVI $1, V0.B16
	VMOVI $1, V1.B16

products:
	MADD(2, 16)
	MADD(3, 17)
	MADD(4, 18)
	MADD(5, 19)
	MADD(6, 20)
	MADD(7, 21)
	SUBS $1, R0
	BNE  products
	RET

// MULADD adds products of V0 and V1 to a register; they are rounded first.
#define MULADD(temp, sum) \
	FMUL(0, 1, temp); \
	FADD(temp, sum, sum)

// func floatNEON(n int)
// n times 8 products and 8 sums of 4 numbers, by way of V24-V31 into V16-V23.
TEXT ·floatNEON(SB), NOSPLIT, $0-8
	MOVD $0x3F800000, R1 // 1 as float32
	VDUP R1, V0.S4
	VDUP R1, V1.S4
	MOVD n+0(FP), R0

floats:
	MULADD(24, 16)
	MULADD(25, 17)
	MULADD(26, 18)
	MULADD(27, 19)
	MULADD(28, 20)
	MULADD(29, 21)
	MULADD(30, 22)
	MULADD(31, 23)
	SUBS $1, R0
	BNE  floats
	RET
