package tokenizer

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

// builder writes a tokenizer.model by hand.
type builder struct {
	pieces              [][]byte
	trainer, normalizer []byte
	rest                []byte
}

// newBuilder begins a BPE model with <unk>, <s> and </s>, no byte fallback and an identity normalizer.
func newBuilder() *builder {
	b := &builder{}
	b.piece("<unk>", 0, kindUnknown).piece("<s>", 0, kindControl).piece("</s>", 0, kindControl)
	b.train(3, modelBPE)
	b.norm(3, 0).norm(4, 0)
	return b
}

func (b *builder) piece(text string, score float32, k kind) *builder {
	var p []byte
	p = protowire.AppendString(protowire.AppendTag(p, 1, protowire.BytesType), text)
	p = protowire.AppendFixed32(protowire.AppendTag(p, 2, protowire.Fixed32Type), math.Float32bits(score))
	p = protowire.AppendVarint(protowire.AppendTag(p, 3, protowire.VarintType), uint64(k))
	b.pieces = append(b.pieces, p)
	return b
}

func (b *builder) bytePieces(n int) *builder {
	for i := range n {
		b.piece(fmt.Sprintf("<0x%02X>", i), 0, kindByte)
	}
	return b.train(35, 1)
}

func (b *builder) train(field protowire.Number, v uint64) *builder {
	b.trainer = protowire.AppendVarint(protowire.AppendTag(b.trainer, field, protowire.VarintType), v)
	return b
}

func (b *builder) norm(field protowire.Number, v uint64) *builder {
	b.normalizer = protowire.AppendVarint(protowire.AppendTag(b.normalizer, field, protowire.VarintType), v)
	return b
}

func (b *builder) charsmap(blob []byte) *builder {
	b.normalizer = protowire.AppendBytes(protowire.AppendTag(b.normalizer, 2, protowire.BytesType), blob)
	return b
}

func (b *builder) model() []byte {
	var m []byte
	for _, p := range b.pieces {
		m = protowire.AppendBytes(protowire.AppendTag(m, 1, protowire.BytesType), p)
	}
	m = protowire.AppendBytes(protowire.AppendTag(m, 2, protowire.BytesType), b.trainer)
	m = protowire.AppendBytes(protowire.AppendTag(m, 3, protowire.BytesType), b.normalizer)
	return append(m, b.rest...)
}

func TestLoad_RefusesWhatItCannotFollow(t *testing.T) {
	real, err := os.ReadFile("testdata/bpe-2048.model")
	if err != nil {
		t.Fatal(err)
	}
	nan := float32(math.NaN())
	trie := func(size uint32, rest int) []byte {
		return append(binary.LittleEndian.AppendUint32(nil, size), make([]byte, rest)...)
	}
	denormalizer := protowire.AppendBytes(protowire.AppendTag(nil, 2, protowire.BytesType), []byte("x"))
	for _, c := range []struct {
		want  string
		model []byte
	}{
		{"UNIGRAM", nil},
		{"UNIGRAM", newBuilder().train(3, 1).model()},
		{"CHAR", newBuilder().train(3, 4).model()},
		{"type is 77", newBuilder().train(3, 77).model()},
		{"unexpected EOF", real[:len(real)/2]},
		{"wire type", protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 5)},
		{"at most", make([]byte, maxModelBytes+1)},
		{"piece 3: is empty", newBuilder().piece("", 0, kindNormal).model()},
		{"piece 3", newBuilder().piece(strings.Repeat("a", maxPieceBytes+1), 0, kindNormal).model()},
		{"not valid UTF-8", newBuilder().piece("a\xff", 0, kindNormal).model()},
		{"not a number", newBuilder().piece("a", nan, kindNormal).model()},
		{"unknown type 7", newBuilder().piece("a", 0, 7).model()},
		{"unknown type 0", newBuilder().piece("a", 0, 0).model()},
		{"NUL", newBuilder().piece("a\x00b", 0, kindUser).model()},
		{"pieces 3 and 4", newBuilder().piece("a", 0, kindNormal).piece("a", 1, kindUser).model()},
		{"pieces 1 and 3", newBuilder().piece("<s>", 0, kindNormal).model()},
		{"2 pieces are of type unknown", newBuilder().piece("?", 0, kindUnknown).model()},
		{"form <0xNN>", newBuilder().bytePieces(1).piece("<0xab>", 0, kindByte).model()},
		{"255 byte pieces", newBuilder().bytePieces(255).model()},
		{"256 byte pieces without", newBuilder().bytePieces(256).train(35, 0).model()},
		{"precompiled_charsmap", newBuilder().charsmap([]byte{1, 0, 0}).model()},
		{"precompiled_charsmap", newBuilder().charsmap(trie(0, 8)).model()},
		{"precompiled_charsmap", newBuilder().charsmap(trie(6, 8)).model()},
		{"precompiled_charsmap", newBuilder().charsmap(trie(12, 8)).model()},
		{"precompiled_charsmap", newBuilder().charsmap(trie(math.MaxUint32-3, 8)).model()},
		{"precompiled_charsmap", newBuilder().charsmap(make([]byte, maxCharsmapBytes+1)).model()},
		{"denormalizer", append(newBuilder().model(), protowire.AppendBytes(protowire.AppendTag(nil, 5, protowire.BytesType), denormalizer)...)},
	} {
		_, err := Load(c.model)
		if err == nil {
			t.Errorf("a model with the fault %q was read", c.want)
			continue
		}
		if !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "read tokenizer model: ") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q, want one line with %q", err, c.want)
		}
	}
}

func TestLoad_RefusesTooMuch(t *testing.T) {
	many := bytes.Repeat([]byte{0x0a, 0x03, 0x0a, 0x01, 'a'}, maxPieces+1)
	if _, err := Load(many); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("%d pieces: %v", maxPieces+1, err)
	}
	b := newBuilder()
	for i := range maxUserBytes/maxPieceBytes + 1 {
		b.piece(fmt.Sprintf("%05d", i)+strings.Repeat("x", maxPieceBytes-5), 0, kindUser)
	}
	if _, err := Load(b.model()); err == nil || !strings.Contains(err.Error(), "user-defined pieces of") {
		t.Errorf("a prefix tree without bounds: %v", err)
	}
}

// TestLoad_EveryPrefixOfAModelIsSafe cuts a real model everywhere.
func TestLoad_EveryPrefixOfAModelIsSafe(t *testing.T) {
	real, err := os.ReadFile("testdata/rules.model")
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; n < len(real); n += 7 {
		if tok, err := Load(real[:n]); err == nil {
			tok.Decode(tok.Encode("a b１<a>b"))
		}
	}
}

// FuzzLoad reads any bytes as a model and uses what it accepts.
func FuzzLoad(f *testing.F) {
	for _, name := range []string{"rules", "suffix", "unused"} {
		raw, err := os.ReadFile("testdata/" + name + ".model")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	unit := binary.LittleEndian.AppendUint32(nil, 1<<31|0x3ff<<10)
	f.Add(newBuilder().charsmap(append(append([]byte{4, 0, 0, 0}, unit...), "x"...)).model())
	f.Add(newBuilder().bytePieces(256).piece("aa", 1, kindUnused).piece("a", 1, kindUser).model())
	f.Fuzz(func(t *testing.T, raw []byte) {
		tok, err := Load(raw)
		if err != nil {
			return
		}
		ids := tok.EncodeSpecial(" a  b１\xff\x00 aaaa<a>ab…é")
		for _, id := range ids {
			if int(id) >= tok.Size() {
				t.Fatalf("id %d of %d", id, tok.Size())
			}
		}
		tok.DecodeSpecial(ids)
	})
}
