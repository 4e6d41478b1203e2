package store

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// sample is a valid manifest of a small model, with made-up hashes.
func sample() *Manifest {
	m := &Manifest{
		Format: FormatVersion, Architecture: "baichuan", Layers: 2, Hidden: 128, Intermediate: 192, Heads: 4, Vocab: 300,
		Context: 256, Eps: "1e-06", Position: "rope", Theta: "10000",
		BOS: 1, EOS: 2, User: 195, Assistant: 196, Stop: []int{2, 195, 196},
		Weights: "nf4", KV: "int8", Tokenizer: strings.Repeat("ab", 32), TokenizerSize: 1000,
	}
	m.Parts = layout(m)
	for i := range m.Parts {
		for range chunks(m.Parts[i].Size) {
			m.Parts[i].Chunks = append(m.Parts[i].Chunks, strings.Repeat("01", 32))
		}
	}
	return m
}

func encode(t testing.TB, m *Manifest) []byte {
	t.Helper()
	raw, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestParseManifest_GivesBackWhatWasWritten(t *testing.T) {
	raw := encode(t, sample())
	m, err := ParseManifest(raw)
	if err != nil {
		t.Fatal(err)
	}
	if got := encode(t, m); !bytes.Equal(got, raw) {
		t.Errorf("got %s, want %s", got, raw)
	}
	if got := m.EpsValue(); got != 1e-6 {
		t.Errorf("eps %g", got)
	}
	if got := m.ThetaValue(); got != 10000 {
		t.Errorf("theta %g", got)
	}
}

// The bytes are what every id depends on: a change of this file is a change of the format.
func TestManifest_HasItsRecordedBytes(t *testing.T) {
	want, err := os.ReadFile(filepath.Join("testdata", "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	if got := encode(t, sample()); !bytes.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestParseManifest_RefusesWhatIsNoModel(t *testing.T) {
	for name, change := range map[string]func(m *Manifest){
		"format":                 func(m *Manifest) { m.Format = 2 },
		"architecture":           func(m *Manifest) { m.Architecture = "llama" },
		"no layers":              func(m *Manifest) { m.Layers = 0 },
		"negative layers":        func(m *Manifest) { m.Layers = -1 },
		"more layers than parts": func(m *Manifest) { m.Layers = 3 },
		"layers over the limit":  func(m *Manifest) { m.Layers = maxLayers + 1 },
		"hidden not 64s":         func(m *Manifest) { m.Hidden = 100 },
		"hidden negative":        func(m *Manifest) { m.Hidden = -128 },
		"hidden over the limit":  func(m *Manifest) { m.Hidden = 2 * maxHidden },
		"hidden that overflows":  func(m *Manifest) { m.Hidden = 1 << 62 },
		"other hidden":           func(m *Manifest) { m.Hidden = 256 },
		"intermediate not 64s":   func(m *Manifest) { m.Intermediate = 1 },
		"other intermediate":     func(m *Manifest) { m.Intermediate = 64 },
		"heads zero":             func(m *Manifest) { m.Heads = 0 },
		"heads do not divide":    func(m *Manifest) { m.Heads = 3 },
		"head size not 32s":      func(m *Manifest) { m.Heads = 8 },
		"vocab zero":             func(m *Manifest) { m.Vocab = 0 },
		"vocab over the limit":   func(m *Manifest) { m.Vocab = maxVocab + 1 },
		"other vocab":            func(m *Manifest) { m.Vocab = 301 },
		"context zero":           func(m *Manifest) { m.Context = 0 },
		"context over the limit": func(m *Manifest) { m.Context = maxContext + 1 },
		"eps not a number":       func(m *Manifest) { m.Eps = "small" },
		"eps NaN":                func(m *Manifest) { m.Eps = "NaN" },
		"eps negative":           func(m *Manifest) { m.Eps = "-1e-06" },
		"eps zero":               func(m *Manifest) { m.Eps = "0" },
		"eps infinite":           func(m *Manifest) { m.Eps = "+Inf" },
		"eps denormal":           func(m *Manifest) { m.Eps = "1e-40" },
		"eps in another form":    func(m *Manifest) { m.Eps = "0.000001" },
		"eps in hex":             func(m *Manifest) { m.Eps = "0x1p-20" },
		"position":               func(m *Manifest) { m.Position = "learned" },
		"rope without theta":     func(m *Manifest) { m.Theta = "" },
		"theta below one":        func(m *Manifest) { m.Theta = "0.5" },
		"theta over the limit":   func(m *Manifest) { m.Theta = "1e+10" },
		"alibi with theta":       func(m *Manifest) { m.Position = "alibi" },
		"bos outside":            func(m *Manifest) { m.BOS = 300 },
		"eos negative":           func(m *Manifest) { m.EOS = -1 },
		"pad outside":            func(m *Manifest) { m.Pad = 125696 },
		"user outside":           func(m *Manifest) { m.User = 300 },
		"one role":               func(m *Manifest) { m.Assistant, m.Stop = 195, []int{2, 195} },
		"stop lacks eos":         func(m *Manifest) { m.Stop = []int{195, 196} },
		"stop unsorted":          func(m *Manifest) { m.Stop = []int{195, 196, 2} },
		"stop twice":             func(m *Manifest) { m.Stop = []int{2, 2, 195, 196} },
		"stop outside":           func(m *Manifest) { m.Stop = []int{2, 195, 196, 300} },
		"stop absent":            func(m *Manifest) { m.Stop = nil },
		"weights":                func(m *Manifest) { m.Weights = "int4" },
		"weights f32":            func(m *Manifest) { m.Weights = "f32" },
		"other weights":          func(m *Manifest) { m.Weights = "int8" },
		"kv":                     func(m *Manifest) { m.KV = "bf16" },
		"tokenizer short":        func(m *Manifest) { m.Tokenizer = "ab" },
		"tokenizer upper case":   func(m *Manifest) { m.Tokenizer = strings.Repeat("AB", 32) },
		"tokenizer empty":        func(m *Manifest) { m.TokenizerSize = 0 },
		"tokenizer too large":    func(m *Manifest) { m.TokenizerSize = MaxTokenizer + 1 },
		"no parts":               func(m *Manifest) { m.Parts = nil },
		"a part too many":        func(m *Manifest) { m.Parts = append(m.Parts, m.Parts[0]) },
		"parts in another order": func(m *Manifest) { m.Parts[0], m.Parts[1] = m.Parts[1], m.Parts[0] },
		"part size":              func(m *Manifest) { m.Parts[1].Size++ },
		"part size negative":     func(m *Manifest) { m.Parts[1].Size = -1 },
		"chunk missing":          func(m *Manifest) { m.Parts[1].Chunks = nil },
		"chunk too many":         func(m *Manifest) { m.Parts[1].Chunks = append(m.Parts[1].Chunks, m.Parts[1].Chunks[0]) },
		"chunk a path":           func(m *Manifest) { m.Parts[1].Chunks = []string{"../../etc/passwd"} },
		"tensor missing":         func(m *Manifest) { m.Parts[1].Tensors = m.Parts[1].Tensors[:6] },
		"tensor name":            func(m *Manifest) { m.Parts[1].Tensors[1].Name = "q_proj" },
		"tensor format":          func(m *Manifest) { m.Parts[1].Tensors[1].Format = "f16" },
		"tensor rows":            func(m *Manifest) { m.Parts[1].Tensors[1].Rows = 1 << 40 },
		"tensor columns":         func(m *Manifest) { m.Parts[1].Tensors[1].Cols = 0 },
		"tensor offset":          func(m *Manifest) { m.Parts[1].Tensors[1].Offset += 64 },
		"tensor offset negative": func(m *Manifest) { m.Parts[1].Tensors[1].Offset = -64 },
		"tensor size":            func(m *Manifest) { m.Parts[1].Tensors[1].Size-- },
	} {
		t.Run(name, func(t *testing.T) {
			m := sample()
			change(m)
			_, err := ParseManifest(encode(t, m))
			wantOneLine(t, err)
		})
	}
}

func TestParseManifest_TakesOneSpellingAlone(t *testing.T) {
	raw := string(encode(t, sample()))
	for name, other := range map[string]string{
		"empty":               "",
		"not JSON":            "manifest",
		"null":                "null",
		"a list":              "[" + raw + "]",
		"trailing newline":    raw + "\n",
		"trailing text":       raw + "{}",
		"a space":             strings.Replace(raw, ":", ": ", 1),
		"unknown field":       strings.Replace(raw, `{"format":1,`, `{"format":1,"note":"x",`, 1),
		"field twice":         strings.Replace(raw, `{"format":1,`, `{"format":1,"format":1,`, 1),
		"field in upper case": strings.Replace(raw, `"heads"`, `"Heads"`, 1),
		"other order":         strings.Replace(raw, `"bos":1,"eos":2`, `"eos":2,"bos":1`, 1),
		"escaped":             strings.Replace(raw, `"rope"`, `"\u0072ope"`, 1),
		"float":               strings.Replace(raw, `"layers":2`, `"layers":2.0`, 1),
		"number too large":    strings.Replace(raw, `"layers":2`, `"layers":99999999999999999999`, 1),
		"number of megabytes": strings.Replace(raw, `"layers":2`, `"layers":`+strings.Repeat("9", 1<<20), 1),
		"format of megabytes": strings.Replace(raw, `"format":1`, `"format":`+strings.Repeat("9", 1<<20), 1),
		"format as text":      strings.Replace(raw, `"format":1`, `"format":"1"`, 1),
		"empty theta":         strings.Replace(raw, `"theta":"10000"`, `"theta":""`, 1),
		"null parts":          strings.Replace(raw, `"chunks":[`, `"chunks":null,"chunks":[`, 1),
		"too large":           raw + strings.Repeat(" ", MaxManifest),
		"too many objects":    `{"format":1,"parts":[` + strings.Repeat("{},", 5000) + `{}]}`,
		"deep":                strings.Repeat("[", 100000),
	} {
		t.Run(name, func(t *testing.T) {
			if other == raw {
				t.Fatal("the case changes nothing")
			}
			_, err := ParseManifest([]byte(other))
			wantOneLine(t, err)
		})
	}
}

func TestParseManifest_NamesTheFormatItCannotRead(t *testing.T) {
	_, err := ParseManifest([]byte(`{"format":7,"of":"the future"}`))
	if err == nil || !strings.Contains(err.Error(), "format is 7") {
		t.Errorf("got %v", err)
	}
}

func TestLayout_FollowsItsRules(t *testing.T) {
	for _, weights := range []string{"nf4", "int8", "bf16", "f16"} {
		for _, vocab := range []int{1, 15, 16, 17, 300, 125696} {
			t.Run(fmt.Sprintf("%s of %d", weights, vocab), func(t *testing.T) {
				m := sample()
				m.Weights, m.Vocab = weights, vocab
				parts := layout(m)
				if len(parts) != m.Layers+2 {
					t.Fatalf("%d parts", len(parts))
				}
				for i, p := range parts {
					checkPlaces(t, PartName(m, i), p)
				}
				if weights == "nf4" && (parts[0].Tensors[0].Format != "int8" || parts[3].Tensors[1].Format != "int8") {
					t.Error("the ends of an nf4 model are not int8")
				}
			})
		}
	}
}

func checkPlaces(t *testing.T, name string, p Part) {
	t.Helper()
	var end int64
	for _, tensor := range p.Tensors {
		if tensor.Offset%64 != 0 || tensor.Offset < end || tensor.Offset-end >= 64 {
			t.Errorf("%s: tensor %s at %d after %d", name, tensor.Name, tensor.Offset, end)
		}
		if size, _ := tensor.size(); size != tensor.Size {
			t.Errorf("%s: tensor %s has size %d, want %d", name, tensor.Name, tensor.Size, size)
		}
		end = tensor.Offset + tensor.Size
	}
	if p.Size != end {
		t.Errorf("%s: size %d, tensors end at %d", name, p.Size, end)
	}
}

func TestCut_CoversEachRowOnceInWholePanels(t *testing.T) {
	for _, cols := range []int{64, 4096, 13696, maxIntermediate, 1 << 21} {
		for _, rows := range []int{1, 15, 16, 17, 4096, 125696} {
			next := 0
			for _, r := range cut(Tensor{Rows: rows, Cols: cols}, runBytes) {
				if r.row != next || r.n < 1 || r.row%16 != 0 {
					t.Fatalf("%dx%d: run of %d at %d, want it at %d", rows, cols, r.n, r.row, next)
				}
				if 4*r.n*cols > runBytes && r.n > 16 {
					t.Fatalf("%dx%d: a run of %d rows", rows, cols, r.n)
				}
				next += r.n
			}
			if next != rows {
				t.Fatalf("%dx%d: runs end at %d", rows, cols, next)
			}
		}
	}
}

// FuzzParseManifest: whatever is taken is the one form of a model whose parts are those of its dimensions.
func FuzzParseManifest(f *testing.F) {
	raw := encode(f, sample())
	f.Add(raw)
	f.Add(bytes.Replace(raw, []byte(`"layers":2`), []byte(`"layers":-2`), 1))
	f.Add([]byte(`{"format":1,"parts":[{}]}`))
	alibi := sample()
	alibi.Position, alibi.Theta = "alibi", ""
	f.Add(encode(f, alibi))
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := ParseManifest(raw)
		if err != nil {
			wantOneLine(t, err)
			return
		}
		if !bytes.Equal(encode(t, m), raw) {
			t.Fatal("two spellings of one manifest")
		}
		for i, p := range m.Parts {
			if p.Size < 1 || int64(len(p.Chunks)) != chunks(p.Size) {
				t.Fatalf("part %d: %d bytes, %d chunks", i, p.Size, len(p.Chunks))
			}
		}
		if m.EpsValue() <= 0 || m.Position == Rope && m.ThetaValue() < 1 {
			t.Fatalf("eps %g, theta %g", m.EpsValue(), m.ThetaValue())
		}
	})
}

// wantOneLine wants an error that a user can read in one line.
func wantOneLine(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	if text := err.Error(); strings.ContainsAny(text, "\n\r") || len(text) > 500 {
		t.Fatalf("not one line: %q", text)
	}
}
