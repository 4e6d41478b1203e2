#include "textflag.h"

DATA limits<>+0(SB)/4, $0x7FFFFFFF  // all bits but the sign
DATA limits<>+4(SB)/4, $0x21800000  // 2^-60
DATA limits<>+8(SB)/4, $0x7F800000  // Inf
DATA limits<>+12(SB)/4, $0x42FE0000 // 127
DATA limits<>+16(SB)/4, $0x3C010204 // 1/127
GLOBL limits<>(SB), RODATA|NOPTR, $20

// func quantiseAVX512(codes *int8, scales *float32, starts *int32, x *float32, rows, blocks int) (most uint32)
//
// Writes the quantised x (blocks, 64) into a group of so many rows, from where its row begins in codes, scales and
// starts, and returns the largest magnitude in x as bits. A block whose largest magnitude is below 2^-60 or not finite is
// stored as zeros, by way of the mask K1; the magnitudes are compared as integers, so that no NaN is lost.
//
//	DI codes, R11 and R12 bytes to the next quarter and the last    Z0-Z3  the block, then its codes as int32
//	R8 scales, R9 starts, R10 bytes to the next block's             X4     its largest magnitude, later its sum
//	SI x, CX blocks left                                            X16    the largest magnitude of all
TEXT ·quantiseAVX512(SB), NOSPLIT, $0-52
	MOVQ         codes+0(FP), DI
	MOVQ         scales+8(FP), R8
	MOVQ         starts+16(FP), R9
	MOVQ         x+24(FP), SI
	MOVQ         rows+32(FP), R10
	MOVQ         blocks+40(FP), CX
	MOVQ         R10, R11
	SHLQ         $2, R10
	SHLQ         $4, R11
	LEAQ         (R11)(R11*2), R12
	VPXORD       X16, X16, X16
	VPXORD       X17, X17, X17
	VPBROADCASTD limits<>+0(SB), Z18
	VPBROADCASTD limits<>+4(SB), Z19
	VPBROADCASTD limits<>+8(SB), Z20
	VMOVSS       limits<>+12(SB), X21
	VMOVSS       limits<>+16(SB), X22

block:
	VMOVUPS       (SI), Z0
	VMOVUPS       64(SI), Z1
	VMOVUPS       128(SI), Z2
	VMOVUPS       192(SI), Z3
	VPANDD        Z18, Z0, Z4
	VPANDD        Z18, Z1, Z5
	VPANDD        Z18, Z2, Z6
	VPANDD        Z18, Z3, Z7
	VPMAXUD       Z5, Z4, Z4
	VPMAXUD       Z7, Z6, Z6
	VPMAXUD       Z6, Z4, Z4
	VEXTRACTI64X4 $1, Z4, Y5
	VPMAXUD       Y5, Y4, Y4
	VEXTRACTI128  $1, Y4, X5
	VPMAXUD       X5, X4, X4
	VPSHUFD       $0x4E, X4, X5
	VPMAXUD       X5, X4, X4
	VPSHUFD       $0xB1, X4, X5
	VPMAXUD       X5, X4, X4
	VPMAXUD       X4, X16, X16
	VPBROADCASTD  X4, Z5
	VPCMPUD       $5, Z19, Z5, K1     // at least 2^-60
	VPCMPUD       $1, Z20, Z5, K1, K1 // and below Inf

	VMULSS.Z     X22, X4, K1, X6
	VMOVSS       X6, (R8)
	VDIVSS       X4, X21, X6
	VBROADCASTSS X6, Z6
	VMULPS       Z6, Z0, Z0
	VMULPS       Z6, Z1, Z1
	VMULPS       Z6, Z2, Z2
	VMULPS       Z6, Z3, Z3
	VCVTPS2DQ.Z  Z0, K1, Z0
	VCVTPS2DQ.Z  Z1, K1, Z1
	VCVTPS2DQ.Z  Z2, K1, Z2
	VCVTPS2DQ.Z  Z3, K1, Z3

	VPADDD        Z1, Z0, Z4
	VPADDD        Z3, Z2, Z5
	VPADDD        Z5, Z4, Z4
	VEXTRACTI64X4 $1, Z4, Y5
	VPADDD        Y5, Y4, Y4
	VEXTRACTI128  $1, Y4, X5
	VPADDD        X5, X4, X4
	VPSHUFD       $0x4E, X4, X5
	VPADDD        X5, X4, X4
	VPSHUFD       $0xB1, X4, X5
	VPADDD        X5, X4, X4
	VPSLLD        $7, X4, X4
	VPSUBD        X4, X17, X4
	VMOVD         X4, (R9)

	VPMOVDB Z0, X0
	VPMOVDB Z1, X1
	VPMOVDB Z2, X2
	VPMOVDB Z3, X3
	VMOVDQU X0, (DI)
	VMOVDQU X1, (DI)(R11*1)
	VMOVDQU X2, (DI)(R11*2)
	VMOVDQU X3, (DI)(R12*1)

	ADDQ $256, SI
	ADDQ R10, R8
	ADDQ R10, R9
	LEAQ (DI)(R11*4), DI
	DECQ CX
	JNZ  block

	VMOVD X16, AX
	MOVL  AX, most+48(FP)
	VZEROUPPER
	RET
