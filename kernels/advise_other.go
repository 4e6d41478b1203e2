//go:build !linux

package kernels

// adviseHuge: there is nothing to ask for.
func adviseHuge([]byte) {}
