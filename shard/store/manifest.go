package store

// FormatVersion is the manifest's format number: raised whenever the arithmetic or the layout changes.
const FormatVersion = 1

// Manifest says all that two peers must agree on to compute the same bits. A model's id is the SHA-256 of the bytes
// that encoding/json made of it at import; those bytes are kept and never made again.
//
// It holds no floats: eps and theta are decimal strings. The order of the fields is part of the format.
type Manifest struct {
	Format       int    `json:"format"`       // FormatVersion
	Architecture string `json:"architecture"` // "baichuan"
	Layers       int    `json:"layers"`
	Hidden       int    `json:"hidden"`       // a multiple of 64
	Intermediate int    `json:"intermediate"` // a multiple of 64
	Heads        int    `json:"heads"`        // Hidden/Heads is a multiple of 32
	Vocab        int    `json:"vocab"`
	Context      int    `json:"context"`         // tokens, prompt and answer together
	Eps          string `json:"eps"`             // decimal, such as "1e-06"
	Position     string `json:"position"`        // "rope" or "alibi"
	Theta        string `json:"theta,omitempty"` // decimal; with rope alone

	BOS       int   `json:"bos"`
	EOS       int   `json:"eos"`
	Pad       int   `json:"pad"`
	User      int   `json:"user"`      // id that opens a user's message
	Assistant int   `json:"assistant"` // id that opens an assistant's message
	Stop      []int `json:"stop"`      // ids that end an answer, ascending
	AddBOS    bool  `json:"add_bos"`   // text is encoded with BOS in front (some Baichuan 1 tokenizers)

	Weights       string `json:"weights"`   // nf4, int8, bf16, f16
	KV            string `json:"kv"`        // int8, f16
	Tokenizer     string `json:"tokenizer"` // SHA-256 of tokenizer.model, hex
	TokenizerSize int64  `json:"tokenizer_size"`

	// Parts are embed, one for each layer, head: Layers+2 of them.
	Parts []Part `json:"parts"`
}

// Part is one file of a model: what a peer holds or lacks as a whole.
type Part struct {
	Tensors []Tensor `json:"tensors"`
	Size    int64    `json:"size"`
	Chunks  []string `json:"chunks"` // SHA-256 of each 4 MiB, hex
}

// Tensor is one matrix in a part. Embeddings are tables (kernels.Table), norms are F32 gains with one row.
type Tensor struct {
	Name   string `json:"name"` // norm1, w_pack, o_proj, norm2, gate, up, down; embed; norm, lm_head
	Format string `json:"format"`
	Rows   int    `json:"rows"`
	Cols   int    `json:"cols"`
	Offset int64  `json:"offset"` // a multiple of 64
	Size   int64  `json:"size"`
}
