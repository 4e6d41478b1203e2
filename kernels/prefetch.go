//go:build amd64 || arm64

package kernels

//go:noescape
func prefetchLines(p *byte, ahead, lines int)

// prefetch asks for memory that will be read soon.
func prefetch(b []byte) {
	if len(b) > 0 {
		prefetchLines(&b[0], 0, (len(b)+63)/64)
	}
}

// prefetchAhead asks for as much memory as b has, so many bytes ahead of it.
func prefetchAhead(b []byte, ahead int) { prefetchLines(&b[0], ahead, (len(b)+63)/64) }
