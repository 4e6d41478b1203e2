package shard

const (
	// maxBatch bounds the rows of one pass: 512 x 13,696 x 4 bytes = 28 MB for the widest scratch of the 13B.
	maxBatch = 512
	// maxLogits bounds the rows whose logits are computed at once: 8 x 125,696 x 4 bytes = 4 MB.
	maxLogits = 8
)
