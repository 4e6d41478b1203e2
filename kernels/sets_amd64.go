package kernels

import "golang.org/x/sys/cpu"

// nativeSets lists the sets in assembly that this processor can run, the fastest first. (cpu looks at what the system
// saves of the wide registers, too. Every processor with AVX2 has F16C, but a virtual machine may hide it.)
func nativeSets() []*set {
	var list []*set
	x := &cpu.X86
	if x.HasAVX512F && x.HasAVX512BW && x.HasAVX512DQ && x.HasAVX512VL && x.HasAVX512VNNI {
		list = append(list, avx512())
	}
	if x.HasAVX2 && x.HasF16C {
		if x.HasAVXVNNI {
			list = append(list, avx2VNNI())
		}
		list = append(list, avx2())
	}
	return list
}

// avx512 is the set for AVX-512 with VNNI: servers since 2019, AMD's PCs since Zen 4.
func avx512() *set {
	s := generic()
	s.family = "avx512"
	useAVX512Products(s)
	useAVX512Rows(s)
	useAVX512Attention(s)
	return s
}

// avx2 is the set for AVX2: PCs since 2013 (Intel) and 2015 (AMD).
func avx2() *set {
	s := generic()
	s.family = "avx2"
	useAVX2Products(s)
	useAVX2Rows(s)
	useAVX2Attention(s)
	return s
}

// avx2VNNI is avx2 with the byte products of AVX-VNNI: Intel's PCs since 2021, AMD's since Zen 5.
func avx2VNNI() *set {
	s := avx2()
	s.variant = "vnni"
	useAVXVNNIProducts(s)
	return s
}
