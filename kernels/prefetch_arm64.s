#include "textflag.h"

// func prefetchLines(p *byte, ahead, lines int)
//
// Asks for lines of memory, so many bytes ahead of p, into the second-level cache. An address that is none does no harm.
TEXT ·prefetchLines(SB), NOSPLIT, $0-24
	MOVD p+0(FP), R0
	MOVD ahead+8(FP), R1
	ADD  R1, R0
	MOVD lines+16(FP), R1

loop:
	PRFM (R0), PLDL2KEEP
	ADD  $64, R0
	SUBS $1, R1
	BNE  loop
	RET
