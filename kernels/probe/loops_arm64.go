package probe

import "golang.org/x/sys/cpu"

// nativeSets lists the loops in assembly that this processor can run, named and chosen as the kernels' sets are.
func nativeSets() []set {
	neon := set{name: "neon", read: readBytes, integer: integerNEON, integerOps: 6 * 32, float: floatNEON, floatOps: 8 * 8}
	if !cpu.ARM64.HasASIMDDP {
		return []set{neon}
	}
	dot := neon
	dot.name, dot.integer, dot.integerOps = "neon+dot", integerSDOT, 16*32
	return []set{dot, neon}
}

func readBytes(p []byte) {
	if n := len(p) / readStep * readStep; n > 0 {
		readNEON(&p[0], n)
	}
}

//go:noescape
func readNEON(p *byte, n int)

//go:noescape
func integerNEON(n int)

//go:noescape
func integerSDOT(n int)

//go:noescape
func floatNEON(n int)
