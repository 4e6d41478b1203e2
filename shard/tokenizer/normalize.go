package tokenizer

import (
	"encoding/binary"
	"fmt"
	"strings"
	"unicode/utf8"
)

const (
	space       = "\u2581" // how a space is written in pieces
	replacement = "\ufffd"
)

// normalizer brings text to the form that pieces are matched in, as sentencepiece's Normalizer does.
type normalizer struct {
	dummyPrefix, removeExtra, suffix bool
	space                            string // what stands for a space
	charsmap                         *charsmap
}

func newNormalizer(m *model) (*normalizer, error) {
	n := &normalizer{dummyPrefix: m.dummyPrefix, removeExtra: m.removeExtra, suffix: m.suffix, space: " "}
	if m.escape {
		n.space = space
	}
	if len(m.charsmap) > 0 {
		c, err := newCharsmap(m.charsmap)
		if err != nil {
			return nil, fmt.Errorf("normalizer_spec: %w", err)
		}
		n.charsmap = c
	}
	return n, nil
}

// normalize gives the text in the form of pieces. user says how long a user-defined piece the rest of the text
// begins with: those are left as they are, but for their spaces.
func (n *normalizer) normalize(text string, user func(string) int) string {
	if n.removeExtra {
		for text != "" {
			to, size := n.next(text, user)
			if to != " " {
				break
			}
			text = text[size:]
		}
	}
	if text == "" {
		return ""
	}
	var b strings.Builder
	b.Grow(len(text) + len(text)/2)
	if n.dummyPrefix && !n.suffix {
		b.WriteString(n.space)
	}
	afterSpace := n.removeExtra
	for text != "" {
		to, size := n.next(text, user)
		text = text[size:]
		if afterSpace {
			to = strings.TrimLeft(to, " ")
		}
		n.write(&b, to)
		if to != "" { // what becomes nothing does not end a run of spaces
			afterSpace = n.removeExtra && strings.HasSuffix(to, " ")
		}
	}
	out := b.String()
	if n.removeExtra {
		for strings.HasSuffix(out, n.space) {
			out = out[:len(out)-len(n.space)]
		}
	}
	if n.dummyPrefix && n.suffix {
		out += n.space
	}
	return out
}

// write appends s with its spaces in the form of pieces.
func (n *normalizer) write(b *strings.Builder, s string) {
	if s == " " {
		b.WriteString(n.space)
		return
	}
	for {
		before, after, found := strings.Cut(s, " ")
		b.WriteString(before)
		if !found {
			return
		}
		b.WriteString(n.space)
		s = after
	}
}

// next gives what the start of the text becomes, and how many bytes of it that covers (at least 1).
func (n *normalizer) next(text string, user func(string) int) (to string, size int) {
	if size = user(text); size > 0 {
		return text[:size], size
	}
	if n.charsmap != nil {
		if to, size = n.charsmap.longest(text); size > 0 {
			return to, size
		}
	}
	r, size := utf8.DecodeRuneInString(text)
	if r == utf8.RuneError && size == 1 {
		return replacement, 1
	}
	return text[:size], size
}

// charsmap is a table of replacements, as sentencepiece compiles it: a double-array trie of Darts-clone, whose
// values are offsets into NUL-terminated strings.
type charsmap struct {
	units []uint32
	to    string
}

func newCharsmap(blob []byte) (*charsmap, error) {
	if len(blob) > maxCharsmapBytes {
		return nil, fmt.Errorf("precompiled_charsmap of %d bytes, at most %d are allowed", len(blob), maxCharsmapBytes)
	}
	if len(blob) <= 4 {
		return nil, fmt.Errorf("precompiled_charsmap of %d bytes is cut short", len(blob))
	}
	size := uint64(binary.LittleEndian.Uint32(blob))
	blob = blob[4:]
	if size == 0 || size%4 != 0 || size > uint64(len(blob)) {
		return nil, fmt.Errorf("precompiled_charsmap says that its trie has %d bytes, of %d", size, len(blob))
	}
	c := &charsmap{units: make([]uint32, size/4), to: string(blob[size:])}
	for i := range c.units {
		c.units[i] = binary.LittleEndian.Uint32(blob[4*i:])
	}
	return c, nil
}

// longest gives the replacement of the longest prefix of the text that has one, and that prefix's size, 0 if none.
// A trie that leads out of its own array has no replacement there.
func (c *charsmap) longest(text string) (to string, size int) {
	at := unitOffset(c.units[0])
	for i := 0; i < len(text); i++ {
		at ^= uint32(text[i])
		if at >= uint32(len(c.units)) {
			break
		}
		u := c.units[at]
		if u&(1<<31|0xff) != uint32(text[i]) {
			break
		}
		at ^= unitOffset(u)
		if u>>8&1 == 0 || at >= uint32(len(c.units)) {
			continue
		}
		if value := c.units[at] &^ (1 << 31); value < uint32(len(c.to)) {
			to, size = c.to[value:], i+1
		}
	}
	if end := strings.IndexByte(to, 0); end >= 0 {
		to = to[:end]
	}
	return to, size
}

// unitOffset is where the children of a unit are, to be xored with its own place.
func unitOffset(u uint32) uint32 { return (u >> 10) << (u & (1 << 9) >> 6) }
