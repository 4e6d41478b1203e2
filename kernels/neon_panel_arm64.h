// The body of a product of a panel with up to 8 rows of activations, for NEON's two ways to multiply bytes. Whoever includes
// it has put the arguments into R0..R7 and has defined
//
//	PRODUCTS  adds the products of a quarter of a block, V16..V23, with each row's codes (16 at R3, which moves on) to
//	          the row's accumulators, and leaves for the label multiplied after the last row
//	TERMS     adds to each row's sums of the segment (32 bytes at R11, which moves on by 64) the row's term: its accumulators,
//	          which become 0, times the weights' scales (V28, V29) times its own (at R4, which moves on), and leaves for
//	          the label added after the last row
//
// A block is done in two halves of 8 rows of the panel: then the accumulators of all rows fit in 16 registers. All that
// depends on the number of rows is where PRODUCTS and TERMS end.
//
//	for each block
//		for each half
//			for each quarter: unpack 8 x 16 weights; for each row: 128 products
//			for each row: the term
//		at the end of a segment, for each row: its sums are added to dst
//
//	R0 dst  R1 codes  R2 scales  R3 activations' codes  R4 their scales  R5 rows  R6 blocks left  R7 nf4 or not
//	R8 1 << rows  R9 the segment's sums (rows, 16)  R10 blocks left in the segment  R11 this half's sums
//	R12 0 in the first half, 1 in the second  R13 quarters left  R14 bytes of codes back to the other half
//	R15 bytes of activations in a block  R16 bytes of their scales in a block  R17 what weights' scales are multiplied with
//	V0-V15 accumulators  V16-V23 weights: V(16+2e+g) is rows 4g..4g+3 of the half, elements 4e..4e+3 of the quarter
//	V24-V29 temporaries  V30 the levels of nf4  V31 0F in each byte for nf4, 80 for int8

	MOVD $1, R8
	LSL  R5, R8, R8
	LSL  $6, R5, R15
	LSL  $2, R5, R16
	MOVD $segment-512(SP), R9
	MOVD $8, R10
	VEOR V0.B16, V0.B16, V0.B16
	VEOR V1.B16, V1.B16, V1.B16
	VEOR V2.B16, V2.B16, V2.B16
	VEOR V3.B16, V3.B16, V3.B16
	VEOR V4.B16, V4.B16, V4.B16
	VEOR V5.B16, V5.B16, V5.B16
	VEOR V6.B16, V6.B16, V6.B16
	VEOR V7.B16, V7.B16, V7.B16
	VEOR V8.B16, V8.B16, V8.B16
	VEOR V9.B16, V9.B16, V9.B16
	VEOR V10.B16, V10.B16, V10.B16
	VEOR V11.B16, V11.B16, V11.B16
	VEOR V12.B16, V12.B16, V12.B16
	VEOR V13.B16, V13.B16, V13.B16
	VEOR V14.B16, V14.B16, V14.B16
	VEOR V15.B16, V15.B16, V15.B16

	MOVD R9, R11
	MOVD R5, R13
clear:
	VST1.P [V0.B16, V1.B16, V2.B16, V3.B16], 64(R11)
	SUB    $1, R13
	CBNZ   R13, clear

	CBZ   R7, setInt8
	MOVD  $(512-32), R14
	MOVD  $0x3C010204, R17                                 // the contract's c, 1/127
	VMOVQ $0x00F4E9DCCEBDA881, $0x7F5C47382B1F140A, V30    // -127 -88 -67 -50 -36 -23 -12 0, 10 20 31 43 56 71 92 127
	VMOVI $0x0F, V31.B16
	B     block
setInt8:
	MOVD  $(1024-32), R14
	MOVD  $0x3F800000, R17                                 // 1: the product is exact
	VMOVI $0x80, V31.B16

block:
	MOVD R9, R11
	MOVD $0, R12
half:
	MOVD $4, R13
quarter:
	CBZ R7, quarterInt8

	// Two lines of nf4: low nibbles are elements 0..3 and 8..11, high ones 4..7 and 12..15.
	FLDPQ.P 64(R1), (F24, F25)
	FLDPQ.P 64(R1), (F26, F27)
	VAND    V31.B16, V24.B16, V16.B16
	VAND    V31.B16, V25.B16, V17.B16
	VUSHR   $4, V24.B16, V18.B16
	VUSHR   $4, V25.B16, V19.B16
	VAND    V31.B16, V26.B16, V20.B16
	VAND    V31.B16, V27.B16, V21.B16
	VUSHR   $4, V26.B16, V22.B16
	VUSHR   $4, V27.B16, V23.B16
	VTBL    V16.B16, [V30.B16], V16.B16
	VTBL    V17.B16, [V30.B16], V17.B16
	VTBL    V18.B16, [V30.B16], V18.B16
	VTBL    V19.B16, [V30.B16], V19.B16
	VTBL    V20.B16, [V30.B16], V20.B16
	VTBL    V21.B16, [V30.B16], V21.B16
	VTBL    V22.B16, [V30.B16], V22.B16
	VTBL    V23.B16, [V30.B16], V23.B16
	B       multiply

quarterInt8:
	// Four lines of 4 elements each.
	FLDPQ.P 64(R1), (F16, F17)
	FLDPQ.P 64(R1), (F18, F19)
	FLDPQ.P 64(R1), (F20, F21)
	FLDPQ.P 64(R1), (F22, F23)
	VEOR    V31.B16, V16.B16, V16.B16
	VEOR    V31.B16, V17.B16, V17.B16
	VEOR    V31.B16, V18.B16, V18.B16
	VEOR    V31.B16, V19.B16, V19.B16
	VEOR    V31.B16, V20.B16, V20.B16
	VEOR    V31.B16, V21.B16, V21.B16
	VEOR    V31.B16, V22.B16, V22.B16
	VEOR    V31.B16, V23.B16, V23.B16

multiply:
	PRODUCTS
multiplied:
	SUB  $1, R13
	CBNZ R13, quarter

	// The scales of 8 rows, as float32, times c for nf4.
	FMOVQ.P 16(R2), F27
	FMOVS   R17, F26
	FCVTL4S(28, 27)
	FCVTL24S(29, 27)
	FMULE4S(28, 28, 26, 0)
	FMULE4S(29, 29, 26, 0)
	TERMS
added:
	CBNZ R12, blockDone

	// Back to the start of the block, for the rest of its lines.
	MOVD $1, R12
	SUB  R14, R1
	SUB  R15, R3
	SUB  R16, R4
	ADD  $32, R9, R11
	B    half

blockDone:
	SUB  $32, R1
	SUB  $1, R10
	SUB  $1, R6
	CBZ  R10, flush
	CBNZ R6, block

flush:
	MOVD R0, R11
	MOVD R9, R12
	MOVD R5, R13
	VEOR V28.B16, V28.B16, V28.B16
flushRow:
	VLD1    (R12), [V16.S4, V17.S4, V18.S4, V19.S4]
	VLD1    (R11), [V20.S4, V21.S4, V22.S4, V23.S4]
	FSTPQ.P (F28, F28), 32(R12)
	FSTPQ.P (F28, F28), 32(R12)
	FADD4S(20, 20, 16)
	FADD4S(21, 21, 17)
	FADD4S(22, 22, 18)
	FADD4S(23, 23, 19)
	VST1.P [V20.S4, V21.S4, V22.S4, V23.S4], 64(R11)
	SUB    $1, R13
	CBNZ   R13, flushRow
	MOVD   $8, R10
	CBNZ   R6, block
	RET
