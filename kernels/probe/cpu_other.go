//go:build !amd64

package probe

// nativeCPU: the processor does not tell a program its name.
func nativeCPU() string { return "" }
