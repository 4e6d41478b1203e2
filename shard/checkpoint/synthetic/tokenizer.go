package synthetic

import (
	_ "embed"
	"slices"
)

// bpe4096 was trained with the real SentencePiece on a made-up corpus.
//
//go:embed testdata/bpe-4096.model
var bpe4096 []byte

// Tokenizer gives the file of a SentencePiece BPE tokenizer with 4096 pieces, as the small presets' vocabulary has them.
func Tokenizer() []byte { return slices.Clone(bpe4096) }
