// Package tokenizer turns text into the token ids of a Baichuan model and back, and messages into a prompt.
//
// It is SentencePiece's BPE, read from a tokenizer.model and equal to that library id for id, with one difference:
// [Tokenizer.Encode] and [Tokenizer.Chat] take the spelling of a special token (the ids that mark who speaks, and
// those held in reserve) as plain text, so that nobody can forge a role by writing its name.
// [Tokenizer.EncodeSpecial] and [Tokenizer.DecodeSpecial] are the library's own behaviour.
//
// A tokenizer.model is a stranger's: [Load] refuses what it cannot follow exactly. Text may be any bytes; what is
// not UTF-8 becomes U+FFFD. A Tokenizer never changes and is safe for concurrent use. It reads no files.
//
// Sources: google/sentencepiece (normalizer.cc, bpe_model.cc, sentencepiece_processor.cc) and Baichuan 2's
// generation_utils.py.
package tokenizer

import (
	"fmt"
	"strings"
)

// Tokenizer is a vocabulary with the rules to use it.
type Tokenizer struct {
	pieces     []piece
	ids        map[string]uint32 // pieces that text can become, by spelling
	longest    int               // bytes of the longest of them
	users      *trie             // user-defined pieces, nil if there are none
	norm       *normalizer
	unk        uint32
	byteIDs    []uint32 // by byte; nil without byte fallback
	special    denied   // pieces that Encode must not give
	silent     denied   // pieces that an answer is printed without: unknown, bos, eos, pad
	unkSurface string
}

// Load reads a tokenizer.model. It refuses one that is damaged or that is not BPE.
func Load(raw []byte) (*Tokenizer, error) {
	m, err := parseModel(raw)
	if err != nil {
		return nil, fmt.Errorf("read tokenizer model: %w", err)
	}
	norm, err := newNormalizer(m)
	if err != nil {
		return nil, fmt.Errorf("read tokenizer model: %w", err)
	}
	t := &Tokenizer{
		pieces:     m.pieces,
		ids:        make(map[string]uint32, len(m.pieces)),
		users:      newTrie(m.pieces),
		norm:       norm,
		special:    make(denied, len(m.pieces)),
		silent:     make(denied, len(m.pieces)),
		unkSurface: m.unkSurface,
	}
	if m.byteFallback {
		t.byteIDs = make([]uint32, 256)
	}
	for id, p := range m.pieces {
		t.add(uint32(id), p, m)
	}
	return t, nil
}

// add enters a piece into the tables.
func (t *Tokenizer) add(id uint32, p piece, m *model) {
	t.special[id] = isSpecial(p.text)
	switch p.kind {
	case kindUnknown:
		t.unk = id
		t.silent[id] = true
	case kindControl:
		t.silent[id] = p.text == m.bos || p.text == m.eos || p.text == m.pad
	case kindByte:
		b, _ := byteOf(p.text)
		t.byteIDs[b] = id
	case kindNormal, kindUser, kindUnused:
		t.ids[p.text] = id
		t.longest = max(t.longest, len(p.text))
	}
}

// isSpecial knows by its spelling a piece that text must not become: in Baichuan 1 and 2 <SEP>, <CLS> and
// <reserved_N>, two of which mark who speaks.
func isSpecial(text string) bool {
	if text == "<SEP>" || text == "<CLS>" {
		return true
	}
	n, ok := strings.CutPrefix(text, "<reserved_")
	if !ok {
		return false
	}
	n, ok = strings.CutSuffix(n, ">")
	return ok && n != "" && strings.Trim(n, "0123456789") == ""
}

// Size is the number of pieces: ids are below it.
func (t *Tokenizer) Size() int { return len(t.pieces) }

// Piece is how the vocabulary spells an id, with U+2581 for a space; empty for an id beyond the vocabulary.
func (t *Tokenizer) Piece(id uint32) string {
	if int64(id) >= int64(len(t.pieces)) {
		return ""
	}
	return t.pieces[id].text
}

// Reserve gives a tokenizer with the same vocabulary whose Encode never gives these ids either, however they are
// spelled: the role ids of a model that was configured with its own. An id beyond the vocabulary comes from no text
// and is accepted; a byte's cannot be kept out of text, and neither can the unknown piece's: they are refused.
func (t *Tokenizer) Reserve(ids ...uint32) (*Tokenizer, error) {
	missing := false
	for _, id := range ids {
		if int64(id) >= int64(len(t.pieces)) {
			continue
		}
		if k := t.pieces[id].kind; k == kindByte || k == kindUnknown {
			return nil, fmt.Errorf("token %d (%s) cannot mark a role: any text may contain it", id, t.pieces[id].text)
		}
		missing = missing || !t.special[id]
	}
	if !missing {
		return t, nil
	}
	reserved := *t
	reserved.special = append(denied(nil), t.special...)
	for _, id := range ids {
		if int64(id) < int64(len(t.pieces)) {
			reserved.special[id] = true
		}
	}
	return &reserved, nil
}
