#include "textflag.h"

// func prefetchLines(p *byte, ahead, lines int)
//
// Asks for lines of memory, so many bytes ahead of p, into the second-level cache. An address that is none does no harm.
TEXT ·prefetchLines(SB), NOSPLIT, $0-24
	MOVQ p+0(FP), SI
	ADDQ ahead+8(FP), SI
	MOVQ lines+16(FP), CX

loop:
	PREFETCHT1 (SI)
	ADDQ       $64, SI
	DECQ       CX
	JNZ        loop
	RET
