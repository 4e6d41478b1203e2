package store

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// prefixPart begins the name of a part that is being filled, beside the model's other files. Nobody takes it for a part.
const prefixPart = ".part-"

// What Fill says of a part that can't be filled now. Callers decide by it.
var (
	ErrPartHere = errors.New("the part is here already")
	ErrPartBusy = errors.New("another process is filling the part")
)

// WrongChunkError says that bytes are not the chunk that the manifest means.
type WrongChunkError struct {
	Part  string
	Chunk int
}

func (e *WrongChunkError) Error() string {
	return fmt.Sprintf("chunk %d of %s: its SHA-256 is not the manifest's", e.Chunk, e.Part)
}

// PartFill is a part that is being filled chunk by chunk, by one process at a time. What has been written to it outlives the
// process: whoever fills the part next finds it again. It is safe for concurrent use.
type PartFill struct {
	store *Store
	model *Model
	part  int
	name  string // of the part
	dir   string
	lock  func() // gives it back

	files sync.RWMutex // read-held while chunks are written; guards file
	file  *os.File     // nil: closed

	mu   sync.Mutex // guards have
	have []bool     // which chunks are there
}

// Fill begins to fill a part of the model, or goes on where another process stopped: what is there is read and held against
// the hashes, so that a machine that lost its power is noticed. ErrPartHere and ErrPartBusy say that there is nothing to do
// now. Close it in the end, after Finish as well.
func (s *Store) Fill(m *Model, part int) (*PartFill, error) {
	if part < 0 || part >= len(m.Manifest.Parts) {
		return nil, fmt.Errorf("fill part %d of model %s: it has parts 0..%d", part, m.Name, len(m.Manifest.Parts)-1)
	}
	p, err := s.fill(m, part)
	if err != nil {
		return nil, fmt.Errorf("fill %s of model %s: %w", PartName(m.Manifest, part), m.Name, err)
	}
	return p, nil
}

func (s *Store) fill(m *Model, part int) (*PartFill, error) {
	p := &PartFill{
		store: s, model: m, part: part, name: PartName(m.Manifest, part), dir: s.path(m.Name),
		have: make([]bool, len(m.Manifest.Parts[part].Chunks)),
	}
	release, err := lockFile(filepath.Join(p.dir, prefixLock+p.name), func() error { return nil })
	if errors.Is(err, errBusy) {
		return nil, ErrPartBusy
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("the model was removed since it was opened")
	}
	if err != nil {
		return nil, err
	}
	p.lock = release
	if err := p.open(); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// open opens the file to be filled and looks which chunks it has.
func (p *PartFill) open() error {
	now, err := p.model.Reopen() // whoever held the lock before may have filled it
	if err != nil {
		return err
	}
	if now.Has(p.part) {
		return ErrPartHere
	}
	whole, partial := filepath.Join(p.dir, p.name), filepath.Join(p.dir, prefixPart+p.name)
	if st, err := os.Lstat(whole); err == nil && st.Mode().IsRegular() {
		// A process died after it had given the part its name and before it told so. What is in it is looked at like the rest.
		if err := os.Rename(whole, partial); err != nil {
			return err
		}
	}
	if p.file, err = os.OpenFile(partial, os.O_RDWR|os.O_CREATE, 0o644); err != nil {
		return err
	}
	st, err := p.file.Stat()
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", partial)
	}
	if st.Size() > 0 {
		if err := p.look(st.Size()); err != nil {
			return err
		}
	}
	return p.file.Truncate(p.model.Manifest.Parts[p.part].Size)
}

// look finds the chunks that a file of so many bytes has already.
func (p *PartFill) look(size int64) error {
	buf := make([]byte, ChunkSize)
	for i := range p.have {
		b := buf[:p.ChunkBytes(i)]
		if int64(i)*ChunkSize+int64(len(b)) > size {
			break
		}
		if _, err := p.file.ReadAt(b, int64(i)*ChunkSize); err != nil {
			return err
		}
		p.have[i] = p.isChunk(i, b)
	}
	return nil
}

func (p *PartFill) isChunk(i int, data []byte) bool {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]) == p.model.Manifest.Parts[p.part].Chunks[i]
}

// ChunkBytes is the size of a chunk.
func (p *PartFill) ChunkBytes(i int) int {
	return int(min(ChunkSize, p.model.Manifest.Parts[p.part].Size-int64(i)*ChunkSize))
}

// Missing gives the chunks that are not there yet, ascending.
func (p *PartFill) Missing() []int {
	p.mu.Lock()
	defer p.mu.Unlock()
	var missing []int
	for i, have := range p.have {
		if !have {
			missing = append(missing, i)
		}
	}
	return missing
}

// WriteChunk writes a chunk where it belongs, if it is the one that the manifest means: else it is a *WrongChunkError and
// nothing is written. A chunk that is there already is passed over.
func (p *PartFill) WriteChunk(i int, data []byte) error {
	if i < 0 || i >= len(p.have) || len(data) != p.ChunkBytes(i) || !p.isChunk(i, data) {
		return &WrongChunkError{Part: p.name, Chunk: i}
	}
	p.files.RLock()
	defer p.files.RUnlock()
	p.mu.Lock()
	have := p.have[i]
	p.mu.Unlock()
	if have {
		return nil
	}
	if p.file == nil {
		return fmt.Errorf("write chunk %d of %s: the file is closed", i, p.name)
	}
	if _, err := p.file.WriteAt(data, int64(i)*ChunkSize); err != nil {
		return fmt.Errorf("write chunk %d of %s: %w", i, p.name, plainError(err))
	}
	p.mu.Lock()
	p.have[i] = true
	p.mu.Unlock()
	return nil
}

// Finish makes the part one of the model's, once no chunk is missing: through to the disk, by a rename, and at last by telling
// so in local.json.
func (p *PartFill) Finish() error {
	if err := p.finish(); err != nil {
		return fmt.Errorf("keep %s of model %s: %w", p.name, p.model.Name, plainError(err))
	}
	return nil
}

func (p *PartFill) finish() error {
	if missing := p.Missing(); len(missing) > 0 {
		return fmt.Errorf("%d chunks are missing", len(missing))
	}
	p.files.Lock()
	defer p.files.Unlock()
	if p.file == nil {
		return errors.New("the file is closed")
	}
	if err := p.file.Sync(); err != nil {
		return err
	}
	if err := p.file.Close(); err != nil {
		return err
	}
	p.file = nil
	release, err := p.store.lockLong(p.model.Name)
	if err != nil {
		return err
	}
	defer release()
	if _, err := p.model.Reopen(); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(p.dir, prefixPart+p.name), filepath.Join(p.dir, p.name)); err != nil {
		return err
	}
	return p.model.list(p.dir, p.part)
}

// Close lets others fill the part. What is there stays. A second Close does nothing.
func (p *PartFill) Close() error {
	p.files.Lock()
	defer p.files.Unlock()
	var err error
	if p.file != nil {
		err = p.file.Close()
		p.file = nil
	}
	if p.lock != nil {
		p.lock()
		p.lock = nil
	}
	return err
}

// plainError leaves out the path of a system call that failed: what is said before it names the thing.
func plainError(err error) error {
	var pathError *fs.PathError
	if errors.As(err, &pathError) {
		return pathError.Err
	}
	return err
}

// Lacking gives the parts of a span, its ends included, that are not here.
func (m *Model) Lacking(span Span) []int {
	return slices.DeleteFunc(m.Manifest.PartsOf(span), m.Has)
}
