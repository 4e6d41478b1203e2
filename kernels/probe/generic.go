package probe

import (
	"encoding/binary"
	"sync/atomic"
)

// The loops in plain Go, for processors without others, and beside the plain kernels.

// sink keeps the compiler from leaving out what nobody wants.
var sink atomic.Uint64

// readGo reads p in words of 64 bits, into four sums.
func readGo(p []byte) {
	var a, b, c, d uint64
	for ; len(p) >= 32; p = p[32:] {
		q := (*[32]byte)(p)
		a += binary.LittleEndian.Uint64(q[0:])
		b += binary.LittleEndian.Uint64(q[8:])
		c += binary.LittleEndian.Uint64(q[16:])
		d += binary.LittleEndian.Uint64(q[24:])
	}
	sink.Store(a + b + c + d)
}

// integerGoOps: 8 multiplications, each of two pairs of bytes, as the plain kernels pack them.
const integerGoOps = 8 * 4

func integerGo(n int) {
	x := sink.Load() | 1
	a, b, c, d, e, f, g, h := x, x, x, x, x, x, x, x
	for range n {
		a, b, c, d = a*x+x, b*x+x, c*x+x, d*x+x
		e, f, g, h = e*x+x, f*x+x, g*x+x, h*x+x
	}
	sink.Store(a + b + c + d + e + f + g + h)
}

// floatGoOps: 8 products and sums.
const floatGoOps = 8 * 2

func floatGo(n int) {
	x := float32(0.5)
	if sink.Load() == 1 {
		x = 0.25
	}
	a, b, c, d, e, f, g, h := x, x, x, x, x, x, x, x
	for range n {
		a, b, c, d = float32(a*x)+x, float32(b*x)+x, float32(c*x)+x, float32(d*x)+x
		e, f, g, h = float32(e*x)+x, float32(f*x)+x, float32(g*x)+x, float32(h*x)+x
	}
	sink.Store(uint64(a + b + c + d + e + f + g + h))
}
