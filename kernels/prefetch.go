//go:build amd64 || arm64

package kernels

//go:noescape
func prefetchLines(p *byte, lines int)

// prefetch asks for memory that will be read soon.
func prefetch(b []byte) {
	if len(b) > 0 {
		prefetchLines(&b[0], (len(b)+63)/64)
	}
}
