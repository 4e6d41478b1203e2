#include "textflag.h"
#include "neon_arm64.h"

// Row r keeps in V(2r) and V(2r+1) the sums of 8 rows of the panel, a lane each. SDOT by element multiplies the 4 bytes of each
// lane with the same 4 bytes of the activations.
#define MULTIPLY(r) \
	FMOVQ.P 16(R3), F24;       \
	SDOTE4S(2*r, 16, 24, 0);   \
	SDOTE4S(2*r+1, 17, 24, 0); \
	SDOTE4S(2*r, 18, 24, 1);   \
	SDOTE4S(2*r+1, 19, 24, 1); \
	SDOTE4S(2*r, 20, 24, 2);   \
	SDOTE4S(2*r+1, 21, 24, 2); \
	SDOTE4S(2*r, 22, 24, 3);   \
	SDOTE4S(2*r+1, 23, 24, 3)

#define PRODUCTS \
	MULTIPLY(0);             \
	TBNZ $1, R8, multiplied; \
	MULTIPLY(1);             \
	TBNZ $2, R8, multiplied; \
	MULTIPLY(2);             \
	TBNZ $3, R8, multiplied; \
	MULTIPLY(3);             \
	TBNZ $4, R8, multiplied; \
	MULTIPLY(4);             \
	TBNZ $5, R8, multiplied; \
	MULTIPLY(5);             \
	TBNZ $6, R8, multiplied; \
	MULTIPLY(6);             \
	TBNZ $7, R8, multiplied; \
	MULTIPLY(7)

// A row's term is float32(sum) * (weight's scale * the row's own scale).
#define TERM(r) \
	FMOVS.P 4(R4), F24;          \
	FLDPQ (R11), (F25, F26);     \
	SCVTF4S(16, 2*r);            \
	SCVTF4S(17, 2*r+1);          \
	FMULE4S(18, 28, 24, 0);      \
	FMULE4S(19, 29, 24, 0);      \
	FMUL4S(16, 16, 18);          \
	FMUL4S(17, 17, 19);          \
	FADD4S(25, 25, 16);          \
	FADD4S(26, 26, 17);          \
	FSTPQ.P (F25, F26), 64(R11); \
	ZERO16B(2*r);                \
	ZERO16B(2*r+1)

#define TERMS \
	TERM(0);            \
	TBNZ $1, R8, added; \
	TERM(1);            \
	TBNZ $2, R8, added; \
	TERM(2);            \
	TBNZ $3, R8, added; \
	TERM(3);            \
	TBNZ $4, R8, added; \
	TERM(4);            \
	TBNZ $5, R8, added; \
	TERM(5);            \
	TBNZ $6, R8, added; \
	TERM(6);            \
	TBNZ $7, R8, added; \
	TERM(7)

// func mulPanelSDOT(dst *float32, codes, scales *byte, acts *int8, actScales *float32, rows, blocks int, nf4 bool)
//
// It adds to dst (rows, 16), which holds zeros, the products of a panel's blocks with 1 to 8 rows of activations.
TEXT ·mulPanelSDOT(SB), NOSPLIT, $512-57
	MOVD  dst+0(FP), R0
	MOVD  codes+8(FP), R1
	MOVD  scales+16(FP), R2
	MOVD  acts+24(FP), R3
	MOVD  actScales+32(FP), R4
	MOVD  rows+40(FP), R5
	MOVD  blocks+48(FP), R6
	MOVBU nf4+56(FP), R7
#include "neon_panel_arm64.h"
