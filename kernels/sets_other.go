//go:build !amd64 && !arm64

package kernels

// nativeSets: there is no assembly for this architecture.
func nativeSets() []*set { return nil }
