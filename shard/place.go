package shard

import (
	"fmt"

	"github.com/baichuan-node/baichuan-node/kernels"
)

// NotFiniteError says that a NaN or an Inf arose, or that a number outgrew its format (NUMERICS rule 8).
type NotFiniteError struct {
	Position int    // of the token in its sequence; -1 where only the row is known
	Row      int    // of the call
	Where    string // layer and tensor
}

func (e *NotFiniteError) Error() string {
	if e.Position < 0 {
		return fmt.Sprintf("a value is not finite in %s (row %d)", e.Where, e.Row)
	}
	return fmt.Sprintf("a value is not finite in %s (token %d)", e.Where, e.Position)
}

// tensor names where in a layer an operation reads or writes.
type tensor uint32

const (
	inNorm1 tensor = iota + 1
	inWPack
	inCache
	inAttention
	inOProj
	inNorm2
	inGateUp
	inDown
	inResidual
)

var tensorNames = [...]string{
	inNorm1: "norm1", inWPack: "the input of w_pack", inCache: "keys and values", inAttention: "attention",
	inOProj: "the input of o_proj", inNorm2: "norm2", inGateUp: "the input of gate and up", inDown: "the input of down",
	inResidual: "the residual",
}

// Places outside the layers lie below the first layer's.
const (
	placeEmbed kernels.Place = iota + 1
	placeNorm
	placeHead
	placeLogits

	placesPerLayer = 16
)

func place(layer int, t tensor) kernels.Place {
	return kernels.Place(placesPerLayer*(layer+1)) + kernels.Place(t)
}

// describe is the reverse of place, in words.
func describe(at kernels.Place) string {
	switch at {
	case placeEmbed:
		return "the embedding"
	case placeNorm:
		return "the final norm"
	case placeHead:
		return "the input of lm_head"
	case placeLogits:
		return "the logits"
	}
	return fmt.Sprintf("layer %d: %s", int(at)/placesPerLayer-1, tensorNames[at%placesPerLayer])
}
