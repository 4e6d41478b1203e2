package terminal

import (
	"bytes"
	"io"
	"strings"
	"unicode/utf8"
)

const pasteBegin, pasteEnd = "\x1b[200~", "\x1b[201~"

// input reads a terminal and passes on whole characters and whole marks of pastes alone. Over a slow line they come in
// pieces, and the decoder of keys takes a piece for a key after a while: a character would be lost, or a paste take its first
// line for a message.
type input struct {
	from    io.Reader
	held    []byte // that has been read and waits for more
	pasting bool
}

// Read gives at least a byte, or an error.
func (i *input) Read(p []byte) (int, error) {
	for {
		n := copy(p, i.held)
		i.held = i.held[n:]
		if n == len(p) {
			return n, nil
		}
		more, err := i.from.Read(p[n:])
		n += more
		if err != nil {
			i.held = nil
			return n, err
		}
		whole := i.whole(p[:n])
		i.held = append(bytes.Clone(p[whole:n]), i.held...)
		if whole > 0 {
			return whole, nil
		}
	}
}

// whole is how many bytes may be passed on.
func (i *input) whole(data []byte) int {
	i.watch(data)
	mark, least := pasteBegin, 3 // ESC and ESC [ may be keys
	if i.pasting {
		mark, least = pasteEnd, 1
	}
	for n := min(len(mark)-1, len(data)); n >= least; n-- {
		if bytes.HasSuffix(data, []byte(mark[:n])) {
			return len(data) - n
		}
	}
	for n := 1; n < utf8.UTFMax && n <= len(data); n++ {
		if tail := data[len(data)-n:]; utf8.RuneStart(tail[0]) {
			if !utf8.FullRune(tail) {
				return len(data) - n
			}
			break
		}
	}
	return len(data)
}

// watch notes whether a paste has begun or ended.
func (i *input) watch(data []byte) {
	text := string(data)
	begin, end := strings.LastIndex(text, pasteBegin), strings.LastIndex(text, pasteEnd)
	if begin >= 0 || end >= 0 {
		i.pasting = begin > end
	}
}
