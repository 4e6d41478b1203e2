package demand

import "time"

const (
	// promptTokens is a question: what is measured is decoding. longTokens is the prompt that somebody else has computed.
	promptTokens = 32
	longTokens   = 2000
	// windowLength is how long clients decode in a round: 60 tokens of a quarter of the 7B at 30 tokens/s.
	windowLength = 2 * time.Second
	rounds       = 3
	// restTime is for nodes to end passes that nobody waits for any more, before limits are looked at.
	restTime = 200 * time.Millisecond
	// pageBytes: memory is there when a byte of each page has been read. No system has smaller ones.
	pageBytes = 4096
	// leastTokens is what an answer has at least before it is measured: two gaps after its first token.
	leastTokens = 4
	// room is what a context must have beside a prompt: some seconds of an answer.
	room = 256
	// countLimit is for a node to tell its counters; maxMetrics bounds them: 30 KiB today.
	countLimit = 2 * time.Second
	maxMetrics = 1 << 20
)
