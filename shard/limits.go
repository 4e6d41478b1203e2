package shard

const (
	// maxBatch bounds the rows of one pass. Its scratch is 256 x (2 x 5,120 + 15,360 + 13,696) x 4 bytes = 40 MB for the
	// 13B; twice as many rows would not be faster, as the weights are read once for each pass and that is little work by
	// then.
	maxBatch = 256
	// maxLogits bounds the rows whose logits are computed at once: 12 x 125,696 x 4 bytes = 6 MB.
	maxLogits = 12
)
