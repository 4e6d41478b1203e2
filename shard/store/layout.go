package store

import (
	"fmt"

	"github.com/baichuan-node/baichuan-node/kernels"
)

// align is the multiple at which each tensor of a part begins: a cache line.
const align = 64

// The names of the tensors in a part.
const (
	tensorEmbed = "embed"
	tensorNorm  = "norm"
	tensorHead  = "lm_head"
)

// layout gives the parts of a model with m's dimensions and formats, without their chunks. A model's id
// depends on it: the order of the tensors, each at the next multiple of 64.
func layout(m *Manifest) []Part {
	weights := m.Weights
	parts := make([]Part, 0, m.Layers+2)
	parts = append(parts, place(Tensor{Name: tensorEmbed, Format: embedFormat(weights), Rows: m.Vocab, Cols: m.Hidden}))
	gain := kernels.F32.String()
	for range m.Layers {
		parts = append(parts, place(
			Tensor{Name: "norm1", Format: gain, Rows: 1, Cols: m.Hidden},
			Tensor{Name: "w_pack", Format: weights, Rows: 3 * m.Hidden, Cols: m.Hidden},
			Tensor{Name: "o_proj", Format: weights, Rows: m.Hidden, Cols: m.Hidden},
			Tensor{Name: "norm2", Format: gain, Rows: 1, Cols: m.Hidden},
			Tensor{Name: "gate", Format: weights, Rows: m.Intermediate, Cols: m.Hidden},
			Tensor{Name: "up", Format: weights, Rows: m.Intermediate, Cols: m.Hidden},
			Tensor{Name: "down", Format: weights, Rows: m.Hidden, Cols: m.Intermediate},
		))
	}
	return append(parts, place(
		Tensor{Name: tensorNorm, Format: gain, Rows: 1, Cols: m.Hidden},
		Tensor{Name: tensorHead, Format: headFormat(weights), Rows: m.Vocab, Cols: m.Hidden},
	))
}

// embedFormat is the format of the embedding: int8 beside quantised layers, the same 16 bits otherwise.
func embedFormat(weights string) string {
	if weights == kernels.NF4.String() {
		return kernels.Int8.String()
	}
	return weights
}

// headFormat is the format of the head: int8 beside quantised layers (it is read whole for every token), float16
// otherwise. The rows of a NormHead are within [-1, 1]: there float16 keeps 3 bits more than bfloat16, whose rounding
// would be the largest error of a bf16 model (NUMERICS, Weight formats).
func headFormat(weights string) string {
	if weights == kernels.BF16.String() {
		return kernels.F16.String()
	}
	return embedFormat(weights)
}

// place gives the tensors of one part their offsets and sizes.
func place(tensors ...Tensor) Part {
	var end int64
	for i := range tensors {
		t := &tensors[i]
		t.Offset = (end + align - 1) &^ (align - 1)
		t.Size, _ = t.size()
		end = t.Offset + t.Size
	}
	return Part{Tensors: tensors, Size: end}
}

// size is the number of bytes of t, and where in it the scales begin (the size itself where there are none).
func (t Tensor) size() (size, scalesAt int64) {
	if t.isTable() {
		return t.format().TableSize(t.Rows, t.Cols)
	}
	return t.format().MatrixSize(t.Rows, t.Cols)
}

// isTable tells whether t is stored row by row, as what is looked up by token.
func (t Tensor) isTable() bool { return t.Name == tensorEmbed }

// isGain tells whether t is what a norm multiplies by.
func (t Tensor) isGain() bool { return t.Format == kernels.F32.String() }

// shape is the tensor's shape in a checkpoint.
func (t Tensor) shape() []int {
	if t.isGain() {
		return []int{t.Cols}
	}
	return []int{t.Rows, t.Cols}
}

func (t Tensor) format() kernels.Format {
	f, err := kernels.ParseFormat(t.Format)
	if err != nil {
		panic("store: tensor of a manifest that was not validated: " + err.Error())
	}
	return f
}

// PartName is the file name of a part, which follows from its index alone: 0 is "embed", 1 to Layers are
// "layer-000" and on, Layers+1 is "head".
func PartName(m *Manifest, part int) string {
	switch part {
	case 0:
		return "embed"
	case m.Layers + 1:
		return "head"
	}
	return fmt.Sprintf("layer-%03d", part-1)
}

// chunks is how many chunks cover size bytes.
func chunks(size int64) int64 { return (size + ChunkSize - 1) / ChunkSize }
