package kernels

import "time"

// Limits and thresholds of the contract, and those of this implementation.
const (
	// tinyBits is 2^-60 as float32 bits (exponent 127-60 = 67, 67<<23). What is smaller counts as zero where sums of
	// squares and scales are made, so that no result of a quantised model depends on denormals (NUMERICS rules 4, 6, 9).
	tinyBits = 67 << 23
	// infBits: a float32 with (bits & absBits) >= infBits is an infinity or a NaN (rule 8).
	infBits = 0x7F800000
	absBits = 0x7FFFFFFF
	// halfInf and halfAbs are the same for float16.
	halfInf = 0x7C00
	halfAbs = 0x7FFF

	// A row of hidden states has its largest magnitude at or below 2^15 (halfMost as float16) after scaling, and above
	// 2^14 (halfLeast, reached by rounding) where it was scaled at all. float16 ends at 65504: one bit is left, so that
	// rounding up never overflows. With 2^24 the largest value is 2^39, far below float32's 2^128.
	halfMost    = 0x7800
	halfLeast   = 0x7400
	maxExponent = 24

	// scoreCut: Exp(-41.5) < 2^-59. Below that a token's weight counts as 0 (rule 7), so no term gets near denormals.
	scoreCut = -41.5

	// maxSide bounds rows and columns: 2^24 by 2^24 numbers of 4 bytes are 2^50 bytes, far from overflowing int64. The
	// largest real side is the vocabulary, 125,696.
	maxSide = 1 << 24

	// maxTheta bounds the rotary base: models use 10^4 to 10^7. Newton's method for its root takes about
	// half * ln(maxTheta) steps.
	maxTheta = 1e12
	// maxArena is the most memory of one cache: the 2^47 bytes that a process can address.
	maxArena = 1 << 47

	// rootBits and tableBits are the precisions of rotary tables and slopes. A table of 2^24 positions loses at most
	// 26 of the 160 bits to the recurrence (each step adds 3 roundings); 24 are needed, so 110 are left for a value
	// that lies close to the middle of two float32s.
	rootBits  = 256
	tableBits = 160
	// tableAhead is for how many positions a rotary table is made ahead, so that no step waits for it: 4096 x 64, the
	// context of the real models, take 0.1 s. tableStep is how many positions it grows by beyond: 256 x 64 take 10 ms.
	tableAhead = 4096
	tableStep  = 256

	// genericTile is how many rows share one unpacking of a block of weights in plain Go: at 32 it costs 3 % of the
	// products, and their sums (32 x 16 x 2 float32, 4 KiB) lie beside the block (4 KiB) in the first-level cache.
	genericTile = 32

	// inlineCost is the work, in multiply-adds, below which a call to other workers (1 us where they spin) costs more than
	// it saves; chunkCost is the least work of a chunk: claiming one takes some 20 ns.
	inlineCost = 1 << 16
	chunkCost  = 1 << 15

	// spinTime is how long a worker looks for the next loop: longer than what lies between two loops of a layer. joinTime
	// is how long the caller looks for the end of the last chunk: longer than most chunks of one token take; after that the
	// worker was probably put aside, and a parked caller gives it a processor. Between two looks at the clock there are
	// spinLooks at the flag.
	spinTime  = 200 * time.Microsecond
	joinTime  = 50 * time.Microsecond
	spinLooks = 64

	// passBytes is how many bytes of activations are multiplied with a chunk of panels before the next of them: a share of
	// the second-level cache (1 MiB and more on today's processors, 512 KiB on older ones).
	passBytes = 384 << 10
	// runBytes is how many bytes of weights one call of a loop reads, unless a panel has more: some 25 us of 10 GB/s.
	runBytes = 256 << 10
)
