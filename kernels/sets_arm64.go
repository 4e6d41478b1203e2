package kernels

// nativeSets lists the sets in assembly that this processor can run, the fastest first.
func nativeSets() []*set { return nil }
