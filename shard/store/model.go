package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"slices"
	"time"

	"github.com/edsrzf/mmap-go"
)

// The files of a model beside its parts.
const (
	fileManifest  = "manifest.json"
	fileTokenizer = "tokenizer.model"
	fileLocal     = "local.json"
)

// Model is a stored model: its manifest, and its files by name. It holds no file open.
type Model struct {
	Name     string
	ID       ID
	Raw      []byte // the manifest's bytes, which the id is the hash of
	Manifest *Manifest
	Local    Local

	files fs.FS
}

// Local is this machine's share of a model: no peer asks for it and the id does not depend on it.
type Local struct {
	Name       string     `json:"name"`
	ID         string     `json:"id"`
	Source     string     `json:"source"` // where it was imported from
	Created    time.Time  `json:"created"`
	Generation Generation `json:"generation"`
	Parts      []int      `json:"parts"` // indexes of the parts that are here, ascending
}

// Generation is what the checkpoint's generation_config.json recommends; nil where it says nothing.
type Generation struct {
	MaxNewTokens      *int     `json:"max_new_tokens,omitempty"`
	DoSample          *bool    `json:"do_sample,omitempty"`
	Temperature       *float64 `json:"temperature,omitempty"`
	TopK              *int     `json:"top_k,omitempty"`
	TopP              *float64 `json:"top_p,omitempty"`
	RepetitionPenalty *float64 `json:"repetition_penalty,omitempty"`
}

// Check holds the values to the ranges that generation_config.json has.
func (g Generation) Check() error {
	d := g.Drawing()
	switch {
	case !(d.Temperature >= 0 && d.Temperature <= 2):
		return fmt.Errorf("temperature %v is not in 0..2", d.Temperature)
	case !(d.TopP >= 0 && d.TopP <= 1):
		return fmt.Errorf("top_p %v is not in 0..1", d.TopP)
	case !(d.Penalty > 0):
		return fmt.Errorf("repetition_penalty %v is not above 0", d.Penalty)
	case d.TopK < -1:
		return fmt.Errorf("top_k %d is below -1", d.TopK)
	case d.MaxTokens < 0:
		return fmt.Errorf("max_new_tokens %d is below 1", d.MaxTokens)
	}
	return nil
}

// Drawing is how to draw an answer's tokens.
type Drawing struct {
	Temperature float64 // 0 is greedy
	TopK        int     // 0: all
	TopP        float64
	Penalty     float64 // for repetition; 1: none
	MaxTokens   int     // of an answer; 0: nothing said
}

// Drawing fills in what the generation_config leaves out with the values that Hugging Face's generate takes: a model
// that does not ask for sampling is greedy.
func (g Generation) Drawing() Drawing {
	d := Drawing{TopK: 50, TopP: 1, Penalty: 1}
	set(&d.TopK, g.TopK)
	set(&d.TopP, g.TopP)
	set(&d.Penalty, g.RepetitionPenalty)
	set(&d.MaxTokens, g.MaxNewTokens)
	sampling := g.Temperature != nil
	set(&sampling, g.DoSample)
	if sampling {
		d.Temperature = 1
		set(&d.Temperature, g.Temperature)
	}
	return d
}

// set gives dst the value of a key that is there.
func set[T any](dst *T, value *T) {
	if value != nil {
		*dst = *value
	}
}

// openModel reads the manifest and the local file of a model, trusting neither.
func openModel(name string, files fs.FS) (*Model, error) {
	raw, err := readFile(files, fileManifest, MaxManifest)
	if err != nil {
		return nil, err
	}
	manifest, err := ParseManifest(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", fileManifest, err)
	}
	m := &Model{Name: name, ID: sha256.Sum256(raw), Raw: raw, Manifest: manifest, files: files}
	text, err := readFile(files, fileLocal, maxLocal)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, &m.Local); err != nil {
		return nil, fmt.Errorf("%s: %w", fileLocal, brief(err))
	}
	if m.Local.ID != m.ID.String() {
		return nil, fmt.Errorf("%s has the id %s, %s says %.64q: one of them was changed, import the model again",
			fileManifest, m.ID, fileLocal, m.Local.ID)
	}
	for i, part := range m.Local.Parts {
		if part < 0 || part >= len(manifest.Parts) || i > 0 && part <= m.Local.Parts[i-1] {
			return nil, fmt.Errorf("%s: parts are not an ascending list of 0..%d", fileLocal, len(manifest.Parts)-1)
		}
	}
	if err := m.Local.Generation.Check(); err != nil {
		return nil, fmt.Errorf("%s: %w", fileLocal, err)
	}
	return m, nil
}

// Has tells whether a part is here: 0 is the embedding, 1 to Layers are the layers, Layers+1 is the head.
func (m *Model) Has(part int) bool {
	_, ok := slices.BinarySearch(m.Local.Parts, part)
	return ok
}

// Layers gives the spans of layers that are here.
func (m *Model) Layers() []Span {
	var spans []Span
	for layer := range m.Manifest.Layers {
		switch n := len(spans); {
		case !m.Has(layer + 1):
		case n > 0 && spans[n-1].End == layer:
			spans[n-1].End++
		default:
			spans = append(spans, Span{layer, layer + 1})
		}
	}
	return spans
}

// size is the bytes of what is here.
func (m *Model) size() int64 {
	n := m.Manifest.TokenizerSize
	for _, part := range m.Local.Parts {
		n += m.Manifest.Parts[part].Size
	}
	return n
}

// Tokenizer reads the model's tokenizer.model, and checks that it is the manifest's.
func (m *Model) Tokenizer() ([]byte, error) {
	data, err := m.tokenizer()
	if err != nil {
		return nil, fmt.Errorf("model %s: %w", m.Name, err)
	}
	return data, nil
}

func (m *Model) tokenizer() ([]byte, error) {
	data, err := readFile(m.files, fileTokenizer, MaxTokenizer)
	if err != nil {
		return nil, err
	}
	return data, m.Manifest.checkTokenizer(data)
}

// checkTokenizer tells whether data is the tokenizer that the manifest names.
func (m *Manifest) checkTokenizer(data []byte) error {
	sum := sha256.Sum256(data)
	if hex.EncodeToString(sum[:]) != m.Tokenizer {
		return fmt.Errorf("%s is not the file that the manifest names: it is damaged, import the model again", fileTokenizer)
	}
	return nil
}

// Part maps a part into memory, read-only; the caller closes it. Its size is the manifest's; its content is as good as
// the disk: Verify compares it with the hashes.
func (m *Model) Part(part int) (*Mapped, error) {
	if part < 0 || part >= len(m.Manifest.Parts) {
		return nil, fmt.Errorf("model %s has no part %d: they are 0..%d", m.Name, part, len(m.Manifest.Parts)-1)
	}
	if !m.Has(part) {
		return nil, fmt.Errorf("model %s: part %s is not on this machine", m.Name, PartName(m.Manifest, part))
	}
	mapped, err := m.mapPart(part)
	if err != nil {
		return nil, fmt.Errorf("model %s: %w", m.Name, err)
	}
	return mapped, nil
}

func (m *Model) mapPart(part int) (*Mapped, error) {
	name, size := PartName(m.Manifest, part), m.Manifest.Parts[part].Size
	f, err := openFile(m.files, name, size)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	mapped, err := mapFile(f, size)
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", name, err)
	}
	// Models are replaced by a rename of their whole directory: if the manifest is ours now, so was the part before.
	if raw, err := readFile(m.files, fileManifest, MaxManifest); err != nil || !bytes.Equal(raw, m.Raw) {
		return nil, errors.Join(mapped.Close(), fmt.Errorf("%s: the model was replaced or removed since it was opened", name))
	}
	return mapped, nil
}

// Mapped is a file of a model in memory.
type Mapped struct {
	data  []byte
	unmap func() error
}

// Bytes is the file's content, until Close. It must not be written to.
func (m *Mapped) Bytes() []byte { return m.data }

// Close gives the memory back. A second Close does nothing.
func (m *Mapped) Close() error {
	unmap := m.unmap
	m.data, m.unmap = nil, nil
	if unmap == nil {
		return nil
	}
	return unmap()
}

// mapFile maps a file of the system, and reads any other into memory of its own, outside the Go heap as well.
func mapFile(f fs.File, size int64) (*Mapped, error) {
	if size > math.MaxInt {
		return nil, fmt.Errorf("%d bytes do not fit the address space", size)
	}
	if file, ok := f.(*os.File); ok {
		mapping, err := mmap.MapRegion(file, int(size), mmap.RDONLY, 0, 0)
		if err != nil {
			return nil, err
		}
		adviseRead(mapping)
		return &Mapped{data: mapping, unmap: mapping.Unmap}, nil
	}
	memory, err := mmap.MapRegion(nil, int(size), mmap.RDWR, mmap.ANON, 0)
	if err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(f, memory); err != nil {
		return nil, errors.Join(err, memory.Unmap())
	}
	return &Mapped{data: memory, unmap: memory.Unmap}, nil
}

// openFile opens a regular file that has exactly size bytes. It looks before it opens: opening a pipe would wait.
func openFile(files fs.FS, name string, size int64) (fs.File, error) {
	st, err := fs.Stat(files, name)
	if err != nil {
		return nil, missing(name, err)
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", name)
	}
	f, err := files.Open(name)
	if err != nil {
		return nil, missing(name, err)
	}
	if st, err = f.Stat(); err != nil {
		return nil, errors.Join(f.Close(), err)
	}
	if !st.Mode().IsRegular() || st.Size() != size {
		return nil, errors.Join(f.Close(), &sizeError{name: name, have: st.Size(), want: size})
	}
	return f, nil
}

// sizeError says that a file does not have the size that it must have.
type sizeError struct {
	name       string
	have, want int64
}

func (e *sizeError) Error() string {
	return fmt.Sprintf("%s has %d bytes, want %d: it is damaged", e.name, e.have, e.want)
}

// missing puts the file's name into an error that would otherwise speak of system calls.
func missing(name string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("file %s is missing", name)
	}
	var pathError *fs.PathError
	if errors.As(err, &pathError) {
		err = pathError.Err // the name is already there
	}
	return fmt.Errorf("open %s: %w", name, err)
}

// readFile reads a regular file of at most limit bytes. One that is replaced meanwhile, as local.json is when a part arrives,
// is read anew.
func readFile(files fs.FS, name string, limit int64) (data []byte, err error) {
	for range readTries {
		data, err = readOnce(files, name, limit)
		if changed := (*sizeError)(nil); !errors.As(err, &changed) {
			break
		}
	}
	return data, err
}

func readOnce(files fs.FS, name string, limit int64) ([]byte, error) {
	st, err := fs.Stat(files, name)
	if err != nil {
		return nil, missing(name, err)
	}
	if st.Size() > limit {
		return nil, fmt.Errorf("%s has %d bytes, at most %d are read", name, st.Size(), limit)
	}
	f, err := openFile(files, name, st.Size())
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data := make([]byte, st.Size())
	if _, err := io.ReadFull(f, data); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return data, nil
}
