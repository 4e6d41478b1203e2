//go:build !amd64 && !arm64

package probe

// nativeSets: there is no assembly for this architecture.
func nativeSets() []set { return nil }
