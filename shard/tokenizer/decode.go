package tokenizer

import (
	"strings"
	"unicode/utf8"
)

// Decode gives the text of an answer: what a streaming [Decoder] prints in all. The unknown piece, bos, eos and pad
// are left out as if they were not there, other control pieces print nothing, and so do ids beyond the vocabulary.
// Bytes that are no character become one U+FFFD each.
func (t *Tokenizer) Decode(ids []uint32) string { return decode(t.NewDecoder(), ids) }

// DecodeSpecial decodes as SentencePiece itself does: as Decode, but the unknown piece is printed (as " ⁇ "), and
// bos, eos and pad separate the bytes of a character.
func (t *Tokenizer) DecodeSpecial(ids []uint32) string {
	d := t.NewDecoder()
	d.special = true
	return decode(d, ids)
}

func decode(d *Decoder, ids []uint32) string {
	var b strings.Builder
	for _, id := range ids {
		b.WriteString(d.Push(id))
	}
	b.WriteString(d.Flush())
	return b.String()
}

// Bytes is what an id adds to a text, which may be a part of a character; nil for an id that prints nothing. A space that
// decoding takes away at the start of a text is among them.
func (t *Tokenizer) Bytes(id uint32) []byte {
	if int64(id) >= int64(len(t.pieces)) || t.silent.has(id) {
		return nil
	}
	switch p := t.pieces[id]; p.kind {
	case kindControl:
		return nil
	case kindByte:
		b, _ := byteOf(p.text)
		return []byte{b}
	default:
		return []byte(strings.ReplaceAll(p.text, space, " "))
	}
}

// Decoder decodes ids as they come. It never gives a part of a character: a byte that may begin one is held until
// it is whole or cannot be.
type Decoder struct {
	t       *Tokenizer
	special bool   // as DecodeSpecial
	held    []byte // at most 3: a character's beginning
	// At the very start the space that encoding put there is taken away; both say whether we are past it.
	printed, stripped bool
}

// NewDecoder begins a text.
func (t *Tokenizer) NewDecoder() *Decoder { return &Decoder{t: t} }

// Push gives the text that the id adds, often nothing.
func (d *Decoder) Push(id uint32) string {
	if int64(id) >= int64(len(d.t.pieces)) || !d.special && d.t.silent.has(id) {
		return ""
	}
	p := d.t.pieces[id]
	if p.kind == kindByte {
		b, _ := byteOf(p.text)
		d.held = append(d.held, b)
		return d.mark(d.whole())
	}
	out := d.Flush()
	switch p.kind {
	case kindControl:
	case kindUnknown:
		out += d.t.unkSurface
	default:
		out += d.plain(p.text)
	}
	return d.mark(out)
}

// Flush gives what is held, as U+FFFD, and forgets it: at the end of the text, or where a character was cut off.
func (d *Decoder) Flush() string {
	out := strings.Repeat(replacement, len(d.held))
	d.held = d.held[:0]
	return d.mark(out)
}

// mark remembers that something was printed.
func (d *Decoder) mark(out string) string {
	d.printed = d.printed || out != ""
	return out
}

// plain is the text of a piece, without the space at the start that encoding added or that it would have removed.
func (d *Decoder) plain(text string) string {
	n := d.t.norm
	if !d.printed && !d.stripped && (n.dummyPrefix || n.removeExtra) {
		var cut bool
		text, cut = strings.CutPrefix(text, space)
		d.stripped = cut && !n.removeExtra
	}
	return strings.ReplaceAll(text, space, " ")
}

// whole takes from what is held all that is decided: characters, and U+FFFD for bytes that begin none.
func (d *Decoder) whole() string {
	var b strings.Builder
	for len(d.held) > 0 && utf8.FullRune(d.held) {
		r, size := utf8.DecodeRune(d.held)
		b.WriteRune(r)
		d.held = d.held[:copy(d.held, d.held[size:])]
	}
	return b.String()
}
