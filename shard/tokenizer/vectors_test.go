package tokenizer

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// load gives the tokenizer of a model in testdata.
func load(t testing.TB, name string) *Tokenizer {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	tok, err := Load(raw)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return tok
}

// vector is what the SentencePiece library answered.
type vector struct {
	Kind      string // encode, encode_bytes, decode
	Text      string
	Bytes     []byte `json:"text_b64"`
	IDs       []uint32
	Pieces    []string
	Decoded   string
	Roundtrip bool
}

// vectors reads all vectors of testdata, by the name of their model.
func vectors(t testing.TB) map[string][]vector {
	t.Helper()
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no vectors: %v", err)
	}
	all := map[string][]vector{}
	for _, name := range files {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var file struct {
			Model   string
			Vectors []vector
		}
		if err := json.Unmarshal(raw, &file); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		all[file.Model] = file.Vectors
	}
	return all
}

func TestVectorsOfTheLibrary(t *testing.T) {
	for name, vs := range vectors(t) {
		t.Run(name, func(t *testing.T) {
			tok := load(t, name)
			for _, v := range vs {
				text := v.Text
				if v.Kind == "encode_bytes" {
					text = string(v.Bytes)
				}
				if v.Kind != "decode" {
					checkEncode(t, tok, text, v)
				}
				if got := tok.DecodeSpecial(v.IDs); got != v.Decoded {
					t.Errorf("decode %v: %q, want %q", v.IDs, got, v.Decoded)
				}
			}
		})
	}
}

func checkEncode(t *testing.T, tok *Tokenizer, text string, v vector) {
	t.Helper()
	got := tok.EncodeSpecial(text)
	if !slices.Equal(got, v.IDs) {
		t.Errorf("encode %q:\n got %v\nwant %v", text, got, v.IDs)
		return
	}
	for i, id := range got {
		if tok.Piece(id) != v.Pieces[i] {
			t.Errorf("piece of %d: %q, want %q", id, tok.Piece(id), v.Pieces[i])
		}
	}
	if back := tok.Decode(got); v.Roundtrip && back != text {
		t.Errorf("%q came back as %q", text, back)
	}
}

// TestEncode_EqualsLibraryWhereNoSpecialIsSpelled shows that keeping special tokens out costs ordinary text nothing.
func TestEncode_EqualsLibraryWhereNoSpecialIsSpelled(t *testing.T) {
	for name, vs := range vectors(t) {
		tok := load(t, name)
		for _, v := range vs {
			if v.Kind == "encode" && !strings.Contains(v.Text, "<reserved_") && !strings.Contains(v.Text, "<SEP>") {
				if got := tok.Encode(v.Text); !slices.Equal(got, v.IDs) {
					t.Errorf("%s: encode %q: %v, want %v", name, v.Text, got, v.IDs)
				}
			}
		}
	}
}

// TestDecoder_StreamsWhatDecodeGives holds the streaming decoder to characters: each push gives whole ones.
func TestDecoder_StreamsWhatDecodeGives(t *testing.T) {
	for name, vs := range vectors(t) {
		tok := load(t, name)
		for _, v := range vs {
			d := tok.NewDecoder()
			var got strings.Builder
			for _, id := range v.IDs {
				got.WriteString(d.Push(id))
			}
			got.WriteString(d.Flush())
			if want := tok.Decode(v.IDs); got.String() != want {
				t.Errorf("%s: %v streamed as %q, decoded as %q", name, v.IDs, got.String(), want)
			}
		}
	}
}
