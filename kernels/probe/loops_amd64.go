package probe

import "golang.org/x/sys/cpu"

// nativeSets lists the loops in assembly that this processor can run, named and chosen as the kernels' sets are.
func nativeSets() []set {
	var list []set
	x := &cpu.X86
	if x.HasAVX512F && x.HasAVX512BW && x.HasAVX512DQ && x.HasAVX512VL && x.HasAVX512VNNI {
		list = append(list, set{
			name: "avx512", read: onBytes(readAVX512),
			integer: integerAVX512, integerOps: 16 * 128, float: floatAVX512, floatOps: 12 * 32,
		})
	}
	if !x.HasAVX2 {
		return list
	}
	avx2 := set{
		name: "avx2", read: onBytes(readAVX2),
		integer: integerAVX2, integerOps: 6 * 64, float: floatAVX2, floatOps: 10 * 16,
	}
	if x.HasAVXVNNI {
		vnni := avx2
		vnni.name, vnni.integer, vnni.integerOps = "avx2+vnni", integerAVXVNNI, 12*64
		list = append(list, vnni)
	}
	return append(list, avx2)
}

// onBytes passes a slice on to assembly.
func onBytes(read func(p *byte, n int)) func([]byte) {
	return func(p []byte) {
		if n := len(p) / readStep * readStep; n > 0 {
			read(&p[0], n)
		}
	}
}

//go:noescape
func readAVX512(p *byte, n int)

//go:noescape
func readAVX2(p *byte, n int)

//go:noescape
func integerAVX512(n int)

//go:noescape
func integerAVX2(n int)

//go:noescape
func integerAVXVNNI(n int)

//go:noescape
func floatAVX512(n int)

//go:noescape
func floatAVX2(n int)

// cpuid asks the processor about itself.
//
//go:noescape
func cpuid(leaf uint32) (a, b, c, d uint32)
