package measure

import (
	"encoding/binary"
	"io"
	"math"
	"math/rand/v2"

	"github.com/baichuan-node/baichuan-node/kernels"
	"github.com/baichuan-node/baichuan-node/shard/store"
)

// noise makes the contents of tensors: valid ones, of such a size that hidden states neither grow nor vanish. It is made
// of templates that are repeated.
type noise struct {
	random *rand.Rand
	codes  []byte // any but the two that int8 does not have, in two's complement or xor 0x80
}

func newNoise() *noise {
	n := &noise{random: rand.New(rand.NewPCG(1, 2)), codes: make([]byte, templateBytes)}
	for i := range n.codes {
		n.codes[i] = byte(n.random.Uint32())
		if n.codes[i]&0x7F == 0 {
			n.codes[i]++
		}
	}
	return n
}

// section is a run of bytes of a part that repeat a template.
type section struct {
	from, to int64
	template []byte
}

// sections gives those of a tensor.
func (n *noise) sections(t store.Tensor) []section {
	f := formatOf(t)
	_, scalesAt := f.MatrixSize(t.Rows, t.Cols)
	rms := 1 / math.Sqrt(float64(t.Cols)) / 2
	if t.Name == "embed" {
		_, scalesAt = f.TableSize(t.Rows, t.Cols)
		rms = 1
	}
	codes := section{t.Offset, t.Offset + scalesAt, n.weights(f, rms)}
	if scalesAt == t.Size {
		return []section{codes}
	}
	return []section{codes, {codes.to, t.Offset + t.Size, n.scales(f, rms)}}
}

// formatOf is the format of a tensor, whose manifest is valid.
func formatOf(t store.Tensor) kernels.Format {
	f, err := kernels.ParseFormat(t.Format)
	if err != nil {
		panic("measure: " + err.Error())
	}
	return f
}

// weights gives a template of what lies in front of the scales, or of the numbers themselves where there are none.
func (n *noise) weights(f kernels.Format, rms float64) []byte {
	switch f {
	case kernels.F32:
		return n.gains()
	case kernels.F16:
		return n.halves(rms, 0x8000)
	case kernels.BF16:
		return n.brains(rms)
	}
	return n.codes
}

// scales gives a template of scales.
func (n *noise) scales(f kernels.Format, rms float64) []byte {
	if f == kernels.NF4 {
		return n.halves(rms/nf4RMS, 0)
	}
	return n.halves(rms/int8RMS, 0)
}

// What codes that are equally frequent mean on average, as root of the mean square, with a scale of 1.
const (
	nf4RMS  = 0.52
	int8RMS = 73
)

// gains are float32s from 0.75 to 1.25.
func (n *noise) gains() []byte {
	var b []byte
	for range templateBytes / 64 {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(0.75+n.random.Float32()/2))
	}
	return b
}

// halves are float16s of about a size, none of them subnormal, with random bits where sign has some.
func (n *noise) halves(size float64, sign uint32) []byte {
	const bias, largest = 15, 30
	exponent := min(max(math.Ilogb(size/1.5)+bias, 1), largest)
	var b []byte
	for range templateBytes / 4 {
		b = binary.LittleEndian.AppendUint16(b, uint16(n.random.Uint32()&(0x03FF|sign)|uint32(exponent)<<10))
	}
	return b
}

// brains are bfloat16s of about a size.
func (n *noise) brains(size float64) []byte {
	const bias = 127
	exponent := uint32(math.Ilogb(size/1.5) + bias)
	var b []byte
	for range templateBytes / 4 {
		b = binary.LittleEndian.AppendUint16(b, uint16(n.random.Uint32()&0x807F|exponent<<7))
	}
	return b
}

// reader reads a part.
func (n *noise) reader(p store.Part) io.Reader {
	r := &partReader{size: p.Size}
	for _, t := range p.Tensors {
		r.sections = append(r.sections, n.sections(t)...)
	}
	return r
}

// matrix gives one that is not part of a model.
func (n *noise) matrix(f kernels.Format, rows, k int) kernels.Matrix {
	size, _ := f.MatrixSize(rows, k)
	m := kernels.Matrix{Rows: rows, K: k, Format: f, Data: make([]byte, size)}
	part := store.Part{Size: size, Tensors: []store.Tensor{{Format: f.String(), Rows: rows, Cols: k, Size: size}}}
	_, _ = n.reader(part).Read(m.Data) // it reads all that is asked for, and can't fail
	return m
}

// rows gives hidden states of about 1.
func (n *noise) rows(count, width int) kernels.Rows {
	r := kernels.Rows{N: count, Width: width, Exp: make([]uint8, count), Half: make([]byte, 2*count*width)}
	repeat(r.Half, n.halves(1, 0x8000), 0)
	return r
}

// partReader reads sections, and zeros between them.
type partReader struct {
	sections []section
	size, at int64
}

// Read is part of io.Reader. It gives all that there is room for.
func (r *partReader) Read(dst []byte) (int, error) {
	if r.at == r.size {
		return 0, io.EOF
	}
	dst = dst[:min(int64(len(dst)), r.size-r.at)]
	rest := dst
	for _, s := range r.sections {
		if s.to <= r.at || len(rest) == 0 {
			continue
		}
		gap := min(max(s.from-r.at, 0), int64(len(rest)))
		clear(rest[:gap])
		rest, r.at = rest[gap:], r.at+gap
		n := min(s.to-r.at, int64(len(rest)))
		repeat(rest[:n], s.template, r.at-s.from)
		rest, r.at = rest[n:], r.at+n
	}
	clear(rest)
	r.at += int64(len(rest))
	return len(dst), nil
}

// repeat fills dst with a template, from some byte of its repetitions on.
func repeat(dst, template []byte, at int64) {
	for len(dst) > 0 {
		n := copy(dst, template[at%int64(len(template)):])
		dst, at = dst[n:], at+int64(n)
	}
}
