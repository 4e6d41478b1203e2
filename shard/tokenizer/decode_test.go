package tokenizer

import (
	"math"
	"slices"
	"testing"
)

func TestDecode_LeavesOutSpecialTokens(t *testing.T) {
	tok := load(t, "bpe-4096.model")
	b := func(x byte) uint32 { return tok.byteIDs[x] }
	for _, c := range []struct {
		name          string
		ids           []uint32
		want, library string
	}{
		{"nothing", nil, "", ""},
		{"unknown, bos and eos", []uint32{0, 1, 2}, "", " \u2047 "},
		{"a role prints", []uint32{userRole}, "<reserved_106>", "<reserved_106>"},
		{"another control piece", []uint32{3, 100}, "<reserved_11>", "<reserved_11>"},
		{"bos within a character", []uint32{b(0xe4), b(0xbd), 1, b(0xa0)}, "你", "\ufffd\ufffd\ufffd"},
		{"another control piece within", []uint32{b(0xe4), b(0xbd), 3, b(0xa0)}, "\ufffd\ufffd\ufffd", "\ufffd\ufffd\ufffd"},
		{"beyond the vocabulary", []uint32{4096, userRole, math.MaxUint32}, "<reserved_106>", "<reserved_106>"},
		{"each bad byte alone", []uint32{b(0xff), b('a'), b(0x80), b(0xed), b(0xa0), b(0x80)},
			"\ufffda\ufffd\ufffd\ufffd\ufffd", "\ufffda\ufffd\ufffd\ufffd\ufffd"},
		{"cut at the end", []uint32{b(0xf0), b(0x9f), b(0x98)}, "\ufffd\ufffd\ufffd", "\ufffd\ufffd\ufffd"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := tok.Decode(c.ids); got != c.want {
				t.Errorf("Decode: %q, want %q", got, c.want)
			}
			if got := tok.DecodeSpecial(c.ids); got != c.library {
				t.Errorf("DecodeSpecial: %q, want %q", got, c.library)
			}
		})
	}
}

func TestDecoder_HoldsBackHalfACharacter(t *testing.T) {
	tok := load(t, "bpe-4096.model")
	d := tok.NewDecoder()
	push := func(bs ...byte) (out []string) {
		for _, b := range bs {
			out = append(out, d.Push(tok.byteIDs[b]))
		}
		return out
	}
	for _, c := range []struct {
		bytes string
		want  []string
	}{
		{"𠮷", []string{"", "", "", "𠮷"}},
		{"a", []string{"a"}},
		{"\xe4a", []string{"", "\ufffda"}},                       // decided by what follows
		{"\xe4\xbd\xff", []string{"", "", "\ufffd\ufffd\ufffd"}}, // two held, one that begins nothing
		{"\xe4\xe4\xbd\xa0", []string{"", "\ufffd", "", "你"}},
	} {
		if got := push([]byte(c.bytes)...); !slices.Equal(got, c.want) {
			t.Errorf("%q: %q, want %q", c.bytes, got, c.want)
		}
	}
	push(0xe4, 0xbd)
	if got := d.Push(userRole); got != "\ufffd\ufffd<reserved_106>" {
		t.Errorf("a piece after half a character: %q", got)
	}
	push(0xe4)
	if got := d.Flush(); got != "\ufffd" {
		t.Errorf("flush: %q", got)
	}
	if got := d.Flush(); got != "" {
		t.Errorf("flush again: %q", got)
	}
}

func TestDecode_StripsTheDummyPrefixOnce(t *testing.T) {
	b := newBuilder().norm(3, 1)
	b.piece(space, -1, kindNormal).piece("a", -1, kindNormal).piece(space+"a", -1, kindNormal)
	tok, err := Load(b.model())
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"a", " a", "  a", "a a", " "} {
		if got := tok.Decode(tok.Encode(text)); got != text {
			t.Errorf("%q came back as %q", text, got)
		}
	}
}

// FuzzDecode streams any ids and compares with the whole.
func FuzzDecode(f *testing.F) {
	tok := load(f, "bpe-2048.model")
	f.Add([]byte{0, 1, 2, 3, 0xe4, 0xbd, 0xa0})
	f.Add([]byte{0xf0, 0x9f, 0x98, 1, 0x80})
	f.Fuzz(func(t *testing.T, raw []byte) {
		ids := make([]uint32, len(raw))
		for i, b := range raw {
			ids[i] = tok.byteIDs[b]
			if b < 32 {
				ids[i] = uint32(b) * 70
			}
		}
		tok.DecodeSpecial(ids)
		d, got := tok.NewDecoder(), ""
		for _, id := range ids {
			got += d.Push(id)
		}
		if got += d.Flush(); got != tok.Decode(ids) {
			t.Fatalf("%v: streamed %q, decoded %q", ids, got, tok.Decode(ids))
		}
	})
}
