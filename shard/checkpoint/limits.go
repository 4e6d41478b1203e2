package checkpoint

// What a file may claim before it is refused. The largest published model, Baichuan2-13B, has 283 tensors; everything
// here leaves it at least thirty times the room that it needs, and bounds what a hostile file can make us hold.
const (
	// Texts. A published config.json has 700 bytes, an index 24 kB, a tokenizer.model 2 MB.
	maxConfigBytes    = 1 << 20
	maxIndexBytes     = 8 << 20
	maxTokenizerBytes = 32 << 20

	// maxHeaderBytes bounds a safetensors header: 283 entries of 120 bytes are 34 kB. (The format itself allows 100 MB.)
	maxHeaderBytes = 8 << 20

	// maxPickleBytes and maxPickleOps bound data.pkl: 283 tensors of 25 opcodes and 200 bytes are 57 kB, and the official
	// 4-bit layout of the same model about 20,000 opcodes. An opcode makes at most one object of about 100 bytes, so half a
	// million of them stay under 64 MB.
	maxPickleBytes = 4 << 20
	maxPickleOps   = 1 << 19

	// maxPickleStack: torch writes dictionaries in batches of 1000 pairs, so that 2000 and a little nesting are in use.
	maxPickleStack = 1 << 13
	// maxPickleMarks: a tensor in a tuple in a dictionary in a list opens fewer than ten marks.
	maxPickleMarks = 64

	// maxMembers and maxDirectoryBytes bound a zip's directory: one member for each storage and a handful more, of
	// about 70 bytes each.
	maxMembers        = 1 << 16
	maxDirectoryBytes = 8 << 20

	// maxTensors bounds the tensors of all files together.
	maxTensors = 1 << 15

	// maxShards bounds the files of weights, all of which are kept open: 13B in F32 is 56 GB, 6 files of 10 GB.
	maxShards = 128

	// maxDims bounds a tensor's dimensions; weights have one or two.
	maxDims = 8
	// maxElements bounds a tensor's elements and its strides, so that sums of a few products stay within int64: the
	// largest real matrix has 125,696 x 5120 < 2^30.
	maxElements = 1 << 40

	// maxNameBytes bounds a tensor's name; "model.layers.39.post_attention_layernorm.weight" has 47.
	maxNameBytes = 512

	// maxFileNameBytes is what common file systems allow.
	maxFileNameBytes = 255
)

// The dimensions that config.json may claim; about eight times those of the 13B (40 layers, 5120, 13,696, 40 heads,
// 125,696 ids, 4096 tokens), more for the context, which only grows tables.
const (
	maxLayers       = 320
	maxHidden       = 1 << 16
	maxIntermediate = 1 << 18
	maxHeads        = 1 << 10
	maxVocab        = 1 << 20
	maxContext      = 1 << 20

	// hiddenMultiple and headMultiple are what blocks of weights (64) and of the cache (32) require.
	hiddenMultiple = 64
	headMultiple   = 32

	// maxDecimalBytes bounds a decimal number that is kept as text.
	maxDecimalBytes = 24
)

// chunkBytes is how much of a file is read at a time: enough that a system call costs nothing beside the copy, little
// enough to stay in the second-level cache until it is converted.
const chunkBytes = 256 << 10
