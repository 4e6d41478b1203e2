package quality

const (
	// batch bounds the sequences that are computed together: with 32, a pass of plain Go kernels is bound by arithmetic
	// and no longer by what surrounds it, and 32 contexts of 1,024 tokens of the bundled models are 100 MB of cache.
	batch = 32
	// answerTokens bounds an answer to a question: the right ones have some 60 at most, and what goes on is wrong.
	answerTokens = 128
	// maxLine bounds a line of a file of questions: many times a context.
	maxLine = 1 << 20
)
