package terminal

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"
	"unicode/utf8"
)

// pieces are what single reads give.
type pieces [][]byte

func (p *pieces) Read(to []byte) (int, error) {
	if len(*p) == 0 {
		return 0, io.EOF
	}
	n := copy(to, (*p)[0])
	(*p)[0] = (*p)[0][n:]
	if len((*p)[0]) == 0 {
		*p = (*p)[1:]
	}
	return n, nil
}

func TestInput_PassesOnWholeCharactersAndMarks(t *testing.T) {
	const text = "中" + pasteBegin + "文\x1b[A\x1b[2x" + pasteEnd + "é\x1b[A\x1b"
	for cut := range len(text) {
		i := &input{from: &pieces{[]byte(text[:cut]), []byte(text[cut:])}}
		var all bytes.Buffer
		buffer := make([]byte, 64)
		for {
			n, err := i.Read(buffer)
			all.Write(buffer[:n])
			if errors.Is(err, io.EOF) {
				break
			}
			got := buffer[:n]
			if !utf8.Valid(got) {
				t.Errorf("cut at %d: %q has half a character", cut, got)
			}
			for _, mark := range []string{pasteBegin, pasteEnd} {
				if bytes.HasSuffix(got, []byte(mark[:4])) || bytes.HasSuffix(got, []byte(mark[:5])) {
					t.Errorf("cut at %d: %q has half a mark", cut, got)
				}
			}
		}
		if all.String() != text {
			t.Errorf("cut at %d: read %q", cut, all.String())
		}
	}
}

func FuzzInput(f *testing.F) {
	f.Add([]byte("中" + pasteBegin + "\x1b[20\xff" + pasteEnd + "\x1b["))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, from := range []io.Reader{iotest.OneByteReader(bytes.NewReader(data)), iotest.HalfReader(bytes.NewReader(data))} {
			got, err := io.ReadAll(&input{from: from})
			if err != nil || !bytes.Equal(got, data) {
				t.Fatalf("read %q (%v) of %q", got, err, data)
			}
		}
	})
}
