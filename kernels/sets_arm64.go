package kernels

import "golang.org/x/sys/cpu"

// nativeSets lists the sets in assembly that this processor can run, the fastest first. Every arm64 has NEON.
func nativeSets() []*set {
	list := []*set{neon()}
	if cpu.ARM64.HasASIMDDP {
		list = []*set{neonDot(), list[0]}
	}
	return list
}

// neon is the set for any arm64.
func neon() *set {
	s := generic()
	s.family = "neon"
	useNEONProducts(s)
	useNEONRows(s)
	useNEONAttention(s)
	return s
}

// neonDot is neon with the byte products of FEAT_DotProd: Apple's processors, and most others since 2018.
func neonDot() *set {
	s := neon()
	s.variant = "dot"
	useSDOTProducts(s)
	return s
}
