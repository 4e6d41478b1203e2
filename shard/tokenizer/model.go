package tokenizer

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// kind is what a piece is for, by its number in the model file.
type kind uint8

const (
	kindNormal  kind = 1
	kindUnknown kind = 2 // what text becomes that nothing else covers; exactly one piece
	kindControl kind = 3 // never in text
	kindUser    kind = 4 // cut out of the text before anything else
	kindUnused  kind = 5 // merged like normal, and split again at the end
	kindByte    kind = 6 // one byte of an unknown character, spelled <0xNN>
)

// piece is an entry of the vocabulary; its id is its index.
type piece struct {
	text  string
	score float32
	kind  kind
}

// model is what a tokenizer.model says, as far as encoding and decoding depend on it. The defaults are those of
// sentencepiece_model.proto.
type model struct {
	pieces []piece

	modelType     uint64
	byteFallback  bool
	suffix        bool   // the dummy space goes to the end of the text instead of its start
	unkSurface    string // how an unknown piece is printed
	bos, eos, pad string // spelling of these control pieces

	dummyPrefix bool
	removeExtra bool // strip spaces at both ends and fold runs of them
	escape      bool // write spaces as U+2581
	charsmap    []byte
}

// modelBPE is the trainer's number of the one algorithm that is implemented.
const modelBPE = 2

// parseModel reads and checks a tokenizer model.
func parseModel(raw []byte) (*model, error) {
	if len(raw) > maxModelBytes {
		return nil, fmt.Errorf("%d bytes, at most %d are allowed", len(raw), maxModelBytes)
	}
	m := &model{
		modelType: 1, unkSurface: " \u2047 ", bos: "<s>", eos: "</s>", pad: "<pad>",
		dummyPrefix: true, removeExtra: true, escape: true,
	}
	err := eachField(raw, func(f field) error {
		switch f.num {
		case 1:
			return m.addPiece(f)
		case 2:
			return nested(f, "trainer_spec", m.trainerField)
		case 3:
			return nested(f, "normalizer_spec", m.normalizerField)
		case 5:
			return nested(f, "denormalizer_spec", denormalizerField)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return m, m.check()
}

// addPiece reads one SentencePiece.
func (m *model) addPiece(f field) error {
	id := len(m.pieces)
	if id == maxPieces {
		return fmt.Errorf("more than %d pieces", maxPieces)
	}
	p := piece{kind: kindNormal}
	err := nested(f, fmt.Sprintf("piece %d", id), func(f field) error {
		var err error
		switch f.num {
		case 1:
			p.text, err = f.text()
		case 2:
			p.score, err = f.float()
		case 3:
			var n uint64
			if n, err = f.number(); err == nil && (n < uint64(kindNormal) || n > uint64(kindByte)) {
				err = fmt.Errorf("unknown type %d", n)
			}
			p.kind = kind(n)
		}
		return err
	})
	if err != nil {
		return err
	}
	if err := p.check(); err != nil {
		return fmt.Errorf("piece %d: %w", id, err)
	}
	m.pieces = append(m.pieces, p)
	return nil
}

// check holds a piece to what encoding relies on.
func (p piece) check() error {
	switch {
	case p.text == "":
		return errors.New("is empty")
	case len(p.text) > maxPieceBytes:
		return fmt.Errorf("%d bytes, at most %d are allowed", len(p.text), maxPieceBytes)
	case !utf8.ValidString(p.text):
		return fmt.Errorf("%q is not valid UTF-8", p.text)
	case p.score != p.score:
		return fmt.Errorf("%q has a score that is not a number", p.text)
	case p.kind == kindUser && strings.IndexByte(p.text, 0) >= 0:
		return fmt.Errorf("user-defined %q holds a NUL", p.text)
	case p.kind == kindByte:
		if _, ok := byteOf(p.text); !ok {
			return fmt.Errorf("byte piece %q is not of the form <0xNN>", p.text)
		}
	}
	return nil
}

// byteOf gives the byte that a byte piece spells.
func byteOf(text string) (byte, bool) {
	const digits = "0123456789ABCDEF"
	if len(text) != 6 || text[:3] != "<0x" || text[5] != '>' {
		return 0, false
	}
	hi, lo := strings.IndexByte(digits, text[3]), strings.IndexByte(digits, text[4])
	return byte(hi<<4 | lo), hi >= 0 && lo >= 0
}

func (m *model) trainerField(f field) (err error) {
	switch f.num {
	case 3:
		m.modelType, err = f.number()
	case 24:
		m.suffix, err = f.boolean()
	case 35:
		m.byteFallback, err = f.boolean()
	case 44:
		m.unkSurface, err = f.text()
	case 46:
		m.bos, err = f.text()
	case 47:
		m.eos, err = f.text()
	case 48:
		m.pad, err = f.text()
	}
	return err
}

func (m *model) normalizerField(f field) (err error) {
	switch f.num {
	case 2:
		var s string
		s, err = f.text()
		m.charsmap = []byte(s)
	case 3:
		m.dummyPrefix, err = f.boolean()
	case 4:
		m.removeExtra, err = f.boolean()
	case 5:
		m.escape, err = f.boolean()
	}
	return err
}

func denormalizerField(f field) error {
	if f.num == 2 && len(f.bytes) > 0 {
		return errors.New("a denormalizer with a table of its own is not supported")
	}
	return nil
}

// check holds the model to what encoding relies on as a whole.
func (m *model) check() error {
	if m.modelType != modelBPE {
		return fmt.Errorf("the model's type is %s, only BPE is supported", typeName(m.modelType))
	}
	if len(m.unkSurface) > maxPieceBytes || !utf8.ValidString(m.unkSurface) {
		return fmt.Errorf("unk_surface must be at most %d bytes of UTF-8", maxPieceBytes)
	}
	byText := make(map[string]int, len(m.pieces))
	unknowns, byteCount, userBytes := 0, 0, 0
	for id, p := range m.pieces {
		if first, ok := byText[p.text]; ok {
			return fmt.Errorf("pieces %d and %d are both spelled %q", first, id, p.text)
		}
		byText[p.text] = id
		switch p.kind {
		case kindUnknown:
			unknowns++
		case kindByte:
			byteCount++
		case kindUser:
			userBytes += len(p.text)
		}
	}
	switch {
	case unknowns != 1:
		return fmt.Errorf("%d pieces are of type unknown, want exactly one", unknowns)
	case m.byteFallback && byteCount != 256:
		return fmt.Errorf("%d byte pieces, byte_fallback needs 256", byteCount)
	case !m.byteFallback && byteCount != 0:
		return fmt.Errorf("%d byte pieces without byte_fallback", byteCount)
	case userBytes > maxUserBytes:
		return fmt.Errorf("user-defined pieces of %d bytes, at most %d are allowed", userBytes, maxUserBytes)
	}
	return nil
}

func typeName(t uint64) string {
	switch t {
	case 1:
		return "UNIGRAM"
	case 3:
		return "WORD"
	case 4:
		return "CHAR"
	}
	return fmt.Sprint(t)
}

// field is one field of a protobuf message: bytes of a length-delimited one, bits of any other.
type field struct {
	num   protowire.Number
	typ   protowire.Type
	bytes []byte
	bits  uint64
}

// eachField visits the fields of a message in order.
func eachField(b []byte, visit func(field) error) error {
	for len(b) > 0 {
		var f field
		var n int
		f.num, f.typ, n = protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		switch f.typ {
		case protowire.VarintType:
			f.bits, n = protowire.ConsumeVarint(b)
		case protowire.Fixed32Type:
			var v uint32
			v, n = protowire.ConsumeFixed32(b)
			f.bits = uint64(v)
		case protowire.BytesType:
			f.bytes, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(f.num, f.typ, b)
		}
		if n < 0 {
			return fmt.Errorf("field %d: %w", f.num, protowire.ParseError(n))
		}
		b = b[n:]
		if err := visit(f); err != nil {
			return err
		}
	}
	return nil
}

// nested visits the fields of the message that f holds.
func nested(f field, name string, visit func(field) error) error {
	err := f.want(protowire.BytesType)
	if err == nil {
		err = eachField(f.bytes, visit)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func (f field) want(t protowire.Type) error {
	if f.typ != t {
		return fmt.Errorf("field %d has wire type %d, want %d", f.num, f.typ, t)
	}
	return nil
}

func (f field) text() (string, error) { return string(f.bytes), f.want(protowire.BytesType) }

func (f field) number() (uint64, error) { return f.bits, f.want(protowire.VarintType) }

func (f field) boolean() (bool, error) { return f.bits != 0, f.want(protowire.VarintType) }

func (f field) float() (float32, error) {
	return math.Float32frombits(uint32(f.bits)), f.want(protowire.Fixed32Type)
}
