package store

import "time"

// What a manifest may claim. The published models reach 40 layers, 5120 hidden, 13696 intermediate, a vocabulary of
// 125,696 and a context of 8192: each limit leaves room for several times as much, and all products of them stay far
// inside an int64 (the largest tensor, 3*maxHidden rows of maxHidden 4-byte numbers, is 3 GiB).
const (
	maxLayers       = 256
	maxHidden       = 16384
	maxIntermediate = 65536
	maxVocab        = 1 << 18
	maxContext      = 1 << 17
	maxTheta        = 1e9
	maxStops        = 68 // eos, the two roles, and the 64 more that a generation_config may name
)

const (
	// MaxManifest is the size in bytes of the largest manifest that is read, from the disk or a peer. A chunk takes
	// 67 bytes of it, so it holds parts of some 250 GB.
	MaxManifest = 4 << 20
	// MaxTokenizer is the size in bytes of the largest tokenizer.model: eight times the published ones.
	MaxTokenizer = 16 << 20
	// ChunkSize is how many bytes of a part one hash covers, and what peers exchange at a time.
	ChunkSize = 4 << 20

	maxLocal = 64 << 10 // local.json: a source path, 256 part numbers and a handful of numbers
	maxName  = 64
	// readTries is how often a small file is read that is replaced each time meanwhile: by then somebody is at play.
	readTries = 5
	minID     = 8 // hex digits that an abbreviated id has at least: 32 bits tell the models of one store apart

	// maxObjects bounds the JSON objects of a manifest before it is decoded: itself, the parts, 7 tensors in each. Without
	// it, 4 MiB of "{}," would become 90 MB of empty tensors.
	maxObjects = 1 + (maxLayers+2)*(1+7)
)

// The bytes that an import holds: runBytes of float32 rows per worker, the same rows as read and as stored (at most
// as much again), and one chunk for the hashes. 16 workers need 16*2*4 + 4 = 132 MiB.
const (
	runBytes   = 4 << 20
	maxWorkers = 16
)

// How long a change of a model waits for another: long enough for a Prune that looks at the name's leftovers, too short
// to be taken for an import that hangs. 20 times 25 ms are half a second.
//
// Several processes that fill a model tell of its parts one after the other, each after writing a file through to a disk
// that may be slow: 400 times are 10 seconds.
const (
	lockTries     = 20
	lockLongTries = 400
	lockPause     = 25 * time.Millisecond
)
