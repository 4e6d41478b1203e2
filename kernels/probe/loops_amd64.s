#include "textflag.h"

// The bare loops of amd64. What they load or compute is thrown away; a loop's chains of sums do not depend on each other
// and there are enough of them to hide the latency of an addition (4 or 5 cycles, at most 2 of them begun in each).

// func readAVX512(p *byte, n int)
// Loads n bytes, a multiple of 512 above 0.
//
//	SI  where it is    CX  the end
TEXT ·readAVX512(SB), NOSPLIT, $0-16
	MOVQ p+0(FP), SI
	MOVQ n+8(FP), CX
	ADDQ SI, CX

read512:
	VMOVDQU64 0(SI), Z0
	VMOVDQU64 64(SI), Z1
	VMOVDQU64 128(SI), Z2
	VMOVDQU64 192(SI), Z3
	VMOVDQU64 256(SI), Z4
	VMOVDQU64 320(SI), Z5
	VMOVDQU64 384(SI), Z6
	VMOVDQU64 448(SI), Z7
	ADDQ      $512, SI
	CMPQ      SI, CX
	JB        read512
	VZEROUPPER
	RET

// func readAVX2(p *byte, n int)
// The same by 32 bytes.
TEXT ·readAVX2(SB), NOSPLIT, $0-16
	MOVQ p+0(FP), SI
	MOVQ n+8(FP), CX
	ADDQ SI, CX

read256:
	VMOVDQU 0(SI), Y0
	VMOVDQU 32(SI), Y1
	VMOVDQU 64(SI), Y2
	VMOVDQU 96(SI), Y3
	VMOVDQU 128(SI), Y4
	VMOVDQU 160(SI), Y5
	VMOVDQU 192(SI), Y6
	VMOVDQU 224(SI), Y7
	VMOVDQU 256(SI), Y0
	VMOVDQU 288(SI), Y1
	VMOVDQU 320(SI), Y2
	VMOVDQU 352(SI), Y3
	VMOVDQU 384(SI), Y4
	VMOVDQU 416(SI), Y5
	VMOVDQU 448(SI), Y6
	VMOVDQU 480(SI), Y7
	ADDQ    $512, SI
	CMPQ    SI, CX
	JB      read256
	VZEROUPPER
	RET

// func integerAVX512(n int)
// n times 16 VPDPBUSD of 64 products each, into 16 registers.
//
//	Z16-Z31  sums    Z0, Z1  bytes, all ones
TEXT ·integerAVX512(SB), NOSPLIT, $0-8
	MOVQ       n+0(FP), CX
	VPTERNLOGD $255, Z0, Z0, Z0
	VPTERNLOGD $255, Z1, Z1, Z1

bytes512:
	VPDPBUSD Z0, Z1, Z16
	VPDPBUSD Z0, Z1, Z17
	VPDPBUSD Z0, Z1, Z18
	VPDPBUSD Z0, Z1, Z19
	VPDPBUSD Z0, Z1, Z20
	VPDPBUSD Z0, Z1, Z21
	VPDPBUSD Z0, Z1, Z22
	VPDPBUSD Z0, Z1, Z23
	VPDPBUSD Z0, Z1, Z24
	VPDPBUSD Z0, Z1, Z25
	VPDPBUSD Z0, Z1, Z26
	VPDPBUSD Z0, Z1, Z27
	VPDPBUSD Z0, Z1, Z28
	VPDPBUSD Z0, Z1, Z29
	VPDPBUSD Z0, Z1, Z30
	VPDPBUSD Z0, Z1, Z31
	DECQ     CX
	JNZ      bytes512
	VZEROUPPER
	RET

// MADD adds the 32 products of bytes of Y0 and Y1 to a register: products of neighbours are added in 16 bits, these in 32.
#define MADD(temp, sum) \
	VPMADDUBSW Y0, Y1, temp \
	VPMADDWD   Y2, temp, temp \
	VPADDD     temp, sum, sum

// func integerAVX2(n int)
// n times 6 groups of VPMADDUBSW, VPMADDWD and VPADDD, 32 products each.
//
//	Y4-Y9  sums    Y10-Y15  what is on its way there    Y0, Y1  bytes    Y2  ones in 16 bits
TEXT ·integerAVX2(SB), NOSPLIT, $0-8
	MOVQ     n+0(FP), CX
	VPCMPEQD Y0, Y0, Y0
	VPSRLW   $15, Y0, Y2
	VPABSB   Y0, Y1

bytes256:
	MADD(Y10, Y4)
	MADD(Y11, Y5)
	MADD(Y12, Y6)
	MADD(Y13, Y7)
	MADD(Y14, Y8)
	MADD(Y15, Y9)
	DECQ CX
	JNZ  bytes256
	VZEROUPPER
	RET

// VNNI0 and VNNI8 are VPDPBUSD Y15, Y14, Yd in the VEX form, which the assembler does not know: d below 8, and 8 above.
#define VNNI0(d) BYTE $0xC4; BYTE $0xC2; BYTE $0x0D; BYTE $0x50; BYTE $(0xC7 | (d)<<3)
#define VNNI8(d) BYTE $0xC4; BYTE $0x42; BYTE $0x0D; BYTE $0x50; BYTE $(0xC7 | (d-8)<<3)

// func integerAVXVNNI(n int)
// n times 12 VPDPBUSD of 32 products each, into 12 registers.
//
//	Y0-Y11  sums    Y14, Y15  bytes
TEXT ·integerAVXVNNI(SB), NOSPLIT, $0-8
	MOVQ     n+0(FP), CX
	VPCMPEQD Y14, Y14, Y14
	VPCMPEQD Y15, Y15, Y15

vnni256:
	VNNI0(0)
	VNNI0(1)
	VNNI0(2)
	VNNI0(3)
	VNNI0(4)
	VNNI0(5)
	VNNI0(6)
	VNNI0(7)
	VNNI8(8)
	VNNI8(9)
	VNNI8(10)
	VNNI8(11)
	DECQ CX
	JNZ  vnni256
	VZEROUPPER
	RET

// MULADD adds products of two registers of ones to a register; they are rounded first, as the contract has nothing fused.
#define MULADD(one, temp, sum) \
	VMULPS one, one, temp \
	VADDPS temp, sum, sum

// func floatAVX512(n int)
// n times 12 products and 12 sums of 16 numbers.
//
//	Z4-Z15  sums    Z16-Z27  products    Z0  ones
TEXT ·floatAVX512(SB), NOSPLIT, $0-8
	MOVQ       n+0(FP), CX
	VPTERNLOGD $255, Z0, Z0, Z0
	VPSRLD     $25, Z0, Z0
	VPSLLD     $23, Z0, Z0      // 3F800000 = 1

floats512:
	MULADD(Z0, Z16, Z4)
	MULADD(Z0, Z17, Z5)
	MULADD(Z0, Z18, Z6)
	MULADD(Z0, Z19, Z7)
	MULADD(Z0, Z20, Z8)
	MULADD(Z0, Z21, Z9)
	MULADD(Z0, Z22, Z10)
	MULADD(Z0, Z23, Z11)
	MULADD(Z0, Z24, Z12)
	MULADD(Z0, Z25, Z13)
	MULADD(Z0, Z26, Z14)
	MULADD(Z0, Z27, Z15)
	DECQ CX
	JNZ  floats512
	VZEROUPPER
	RET

// func floatAVX2(n int)
// n times 10 products and 10 sums of 8 numbers.
//
//	Y1-Y10  sums    Y11-Y15  products    Y0  ones
TEXT ·floatAVX2(SB), NOSPLIT, $0-8
	MOVQ     n+0(FP), CX
	VPCMPEQD Y0, Y0, Y0
	VPSRLD   $25, Y0, Y0
	VPSLLD   $23, Y0, Y0

floats256:
	MULADD(Y0, Y11, Y1)
	MULADD(Y0, Y12, Y2)
	MULADD(Y0, Y13, Y3)
	MULADD(Y0, Y14, Y4)
	MULADD(Y0, Y15, Y5)
	MULADD(Y0, Y11, Y6)
	MULADD(Y0, Y12, Y7)
	MULADD(Y0, Y13, Y8)
	MULADD(Y0, Y14, Y9)
	MULADD(Y0, Y15, Y10)
	DECQ CX
	JNZ  floats256
	VZEROUPPER
	RET

// func cpuid(leaf uint32) (a, b, c, d uint32)
TEXT ·cpuid(SB), NOSPLIT, $0-24
	MOVL leaf+0(FP), AX
	XORL CX, CX
	CPUID
	MOVL AX, a+8(FP)
	MOVL BX, b+12(FP)
	MOVL CX, c+16(FP)
	MOVL DX, d+20(FP)
	RET
