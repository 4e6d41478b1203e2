package tokenizer

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// Ids of bpe-4096, which has Baichuan 2's role ids.
const (
	userRole      = 195 // <reserved_106>
	assistantRole = 196 // <reserved_107>
)

func TestEncode_TakesSpecialSpellingsAsText(t *testing.T) {
	tok := load(t, "bpe-4096.model")
	for _, text := range []string{
		"<reserved_106>", "<reserved_107>", "a<reserved_106>b", " <reserved_0> ", "<reserved_106><reserved_107>",
		"<<reserved_106>>", "<reserved_<reserved_106>106>",
	} {
		ids := tok.Encode(text)
		for _, id := range ids {
			if strings.HasPrefix(tok.Piece(id), "<reserved_") {
				t.Errorf("%q gives %d (%s)", text, id, tok.Piece(id))
			}
		}
		if back := tok.Decode(ids); back != text {
			t.Errorf("%q came back as %q", text, back)
		}
	}
	if got := tok.EncodeSpecial("<reserved_106>"); !slices.Equal(got, []uint32{userRole}) {
		t.Errorf("EncodeSpecial gives %v", got)
	}
	// Other user-defined pieces are ordinary.
	if got := tok.Encode("<extra_50>"); len(got) != 1 {
		t.Errorf("<extra_50> gives %v", got)
	}
}

func TestEncode_SpecialSpellingsThatNormalizationMakes(t *testing.T) {
	tok := load(t, "rules.model")
	special := tok.EncodeSpecial("<reserved_12>")
	if !slices.Equal(tok.EncodeSpecial("<reserved_１2>"), tok.EncodeSpecial("<reserved_12>")) {
		t.Fatal("the normalizer does not make a special spelling: the test shows nothing")
	}
	for _, text := range []string{"<reserved_12>", "<reserved_１2>", "<SEP>"} {
		for _, id := range tok.Encode(text) {
			if tok.special.has(id) {
				t.Errorf("%q gives the special %d, like %v", text, id, special)
			}
		}
	}
}

func TestIsSpecial(t *testing.T) {
	for text, want := range map[string]bool{
		"<SEP>": true, "<CLS>": true, "<reserved_0>": true, "<reserved_999>": true,
		"<reserved_>": false, "<reserved_1x>": false, "<reserved_1": false, "reserved_1>": false, "<sep>": false, "<img>": false, "": false,
	} {
		if isSpecial(text) != want {
			t.Errorf("isSpecial(%q) = %v", text, !want)
		}
	}
}

func TestReserve_KeepsAnyIDOutOfText(t *testing.T) {
	tok := load(t, "bpe-4096.model")
	hello := tok.Encode("hello")
	if len(hello) != 1 {
		t.Fatalf("hello gives %v", hello)
	}
	reserved, err := tok.Reserve(hello[0], userRole, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	got := reserved.Encode("hello hello")
	if slices.Contains(got, hello[0]) || reserved.Decode(got) != "hello hello" {
		t.Errorf("hello gives %v", got)
	}
	if again := tok.Encode("hello"); !slices.Equal(again, hello) {
		t.Errorf("the original changed: %v", again)
	}
	// A single character falls back to its bytes.
	letter := tok.Encode("a")
	if reserved, err = tok.Reserve(letter...); err != nil {
		t.Fatal(err)
	}
	if got := reserved.Encode("a"); len(got) != 1 || reserved.Piece(got[0]) != "<0x61>" {
		t.Errorf("a gives %v", got)
	}
	for _, id := range []uint32{0, tok.byteIDs['a']} {
		if _, err := tok.Reserve(id); err == nil {
			t.Errorf("%s was reserved", tok.Piece(id))
		}
	}
}

// TestEncode_MergesByScoreThenLeft has scores that are not in the order of ids.
func TestEncode_MergesByScoreThenLeft(t *testing.T) {
	b := newBuilder()
	b.piece("a", -9, kindNormal).piece("b", -9, kindNormal).piece("c", -9, kindNormal) // 3 4 5
	b.piece("ab", -2, kindNormal).piece("bc", -1, kindNormal)                          // 6 7
	b.piece("aa", -3, kindNormal)                                                      // 8
	tok, err := Load(b.model())
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string][]uint32{
		"abc":   {3, 7},    // bc has the better score although ab has the lower id
		"aaa":   {8, 3},    // of equals the left one
		"aab":   {3, 6},    // ab before aa
		"x":     {0},       // unknown
		"xyz a": {0, 3},    // a run of unknowns is one
		"xax":   {0, 3, 0}, //
		"":      {},
	} {
		if got := tok.Encode(text); !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

// longTexts are 100,000 characters without a space, and the texts that hurt a quadratic algorithm.
func longTexts() map[string]string {
	const n = 100_000
	return map[string]string{
		"one letter":         strings.Repeat("a", n),
		"one space":          strings.Repeat(" ", n),
		"a word":             strings.Repeat("hello", n/5),
		"Chinese":            strings.Repeat("人工智能", n/4),
		"unknown characters": strings.Repeat("𠮷", n),
		"nearly special":     strings.Repeat("<reserved_10", n/12),
		"malformed":          strings.Repeat("\xff", n),
	}
}

func TestEncode_LongTextComesBack(t *testing.T) {
	tok := load(t, "bpe-4096.model")
	for name, text := range longTexts() {
		want := text
		if !utf8.ValidString(text) { // each byte that is no character comes back as one
			want = strings.Repeat("\ufffd", len(text))
		}
		if tok.Decode(tok.Encode(text)) != want {
			t.Errorf("%s did not come back", name)
		}
	}
}

// BenchmarkEncode_LongText shows that none of them takes a second: some 0.05 s are usual.
func BenchmarkEncode_LongText(b *testing.B) {
	tok := load(b, "bpe-4096.model")
	for name, text := range longTexts() {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				tok.Encode(text)
			}
		})
	}
}

// FuzzEncode holds what must be true of any text: it comes back, and no special token is in it.
func FuzzEncode(f *testing.F) {
	for _, s := range []string{"", " ", "你好 world", "<reserved_106>", "\xe4\xbd", "a\u2581b", "\x00", "😀\xf0\x9f"} {
		f.Add(s)
	}
	tok := load(f, "bpe-2048.model")
	f.Fuzz(func(t *testing.T, text string) {
		ids := tok.Encode(text)
		for _, id := range ids {
			if tok.special.has(id) || int(id) >= tok.Size() {
				t.Fatalf("%q gives %d", text, id)
			}
		}
		var want strings.Builder
		for _, r := range text { // a malformed byte becomes U+FFFD
			if r == '\u2581' {
				r = ' '
			}
			want.WriteRune(r)
		}
		if got := tok.Decode(ids); got != want.String() {
			t.Fatalf("%q came back as %q", text, got)
		}
	})
}
