#include "textflag.h"

// func prefetchLines(p *byte, lines int)
//
// Asks for lines of memory into the second-level cache.
TEXT ·prefetchLines(SB), NOSPLIT, $0-16
	MOVQ p+0(FP), SI
	MOVQ lines+8(FP), CX

loop:
	PREFETCHT1 (SI)
	ADDQ       $64, SI
	DECQ       CX
	JNZ        loop
	RET
