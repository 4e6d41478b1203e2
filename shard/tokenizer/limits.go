package tokenizer

// Limits on a tokenizer model, which comes from a stranger. The largest published one (Baichuan 2) is 2.0 MB with
// 125,696 pieces of at most 96 bytes (32 characters of 3 bytes) and 12 KB of user-defined pieces.
const (
	// maxModelBytes bounds the file: 8 times the largest. Reading one costs about 6 times its size in memory
	// while its tables are made.
	maxModelBytes = 16 << 20
	// maxPieces is 4 times the largest vocabulary; ids fit 20 bits.
	maxPieces = 1 << 19
	// maxPieceBytes bounds one piece, and with it the work of a look-up: hashing 4 KiB takes about a microsecond,
	// and a text of n characters needs at most 3n look-ups.
	maxPieceBytes = 4 << 10
	// maxUserBytes bounds all user-defined pieces together, 80 times the largest: the prefix tree has at most as
	// many edges, of about 40 bytes each.
	maxUserBytes = 1 << 20
	// maxCharsmapBytes bounds the table of a normalizer; that of nmt_nfkc_cf, the largest built in, is 240 KB.
	maxCharsmapBytes = 4 << 20
)
