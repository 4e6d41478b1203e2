package shard

import (
	"encoding/binary"
	"math/rand/v2"

	"github.com/baichuan-node/baichuan-node/kernels"
)

// Fill makes the cache hold n tokens whose keys and values are noise, in far less time than computing tokens takes: for
// measuring what a long context costs. What is computed after them means nothing.
func (c *Cache) Fill(n int) error {
	if err := c.Reserve(n); err != nil {
		return err
	}
	s, w := c.shard, c.shard.work
	for c.len < n {
		rows := min(n-c.len, kernels.PageSize)
		w.seats = w.seats[:0]
		for r := range rows {
			w.seats = append(w.seats, kernels.Seat{Position: c.len + r, Pages: c.pages})
		}
		s.dev.Widen(w.qkv, noise(rows, 3*s.manifest.Hidden))
		for i := c.span.Start; i < c.span.End; i++ {
			s.dev.Append(s.pages.arena, i-s.span.Start, w.qkv, w.seats, place(i, inCache))
		}
		c.len += rows
	}
	return nil
}

// Stored is what the matrices of the layers, and of the head where there is one, are stored in: for measuring how fast it
// can be read. It must not be written to, nor read after Close.
func (s *Shard) Stored() [][]byte {
	parts := s.parts
	if s.First() {
		parts = parts[1:] // the embedding
	}
	var stored [][]byte
	for _, p := range parts {
		stored = append(stored, p.Bytes())
	}
	return stored
}

// noise is rows of numbers between 1/8 and 2, of either sign: the same each time.
func noise(n, width int) kernels.Rows {
	const eighth, span = 12, 4 // float16's exponent of 1/8, and how many there are to 2
	rows := kernels.Rows{N: n, Width: width, Exp: make([]uint8, n), Half: make([]byte, 2*n*width)}
	random := rand.New(rand.NewPCG(uint64(n), uint64(width)))
	for i := 0; i < len(rows.Half); i += 2 {
		bits := random.Uint32()
		half := bits&0x83FF | (eighth+bits>>16%span)<<10
		binary.LittleEndian.PutUint16(rows.Half[i:], uint16(half))
	}
	return rows
}
