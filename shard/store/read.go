package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
)

// PartFile is a part that is read piece by piece, as peers ask for it. It stays what it was when it was opened, whatever
// becomes of the model.
type PartFile struct {
	io.ReaderAt
	file fs.File
}

// Close closes the file.
func (p *PartFile) Close() error { return p.file.Close() }

// OpenPart opens a part that is here; the caller closes it. Nothing of it is read.
func (m *Model) OpenPart(part int) (*PartFile, error) {
	if !m.Has(part) {
		return nil, fmt.Errorf("model %s: part %d is not on this machine", m.Name, part)
	}
	name := PartName(m.Manifest, part)
	f, err := openFile(m.files, name, m.Manifest.Parts[part].Size)
	if err != nil {
		return nil, fmt.Errorf("model %s: %w", m.Name, err)
	}
	at, ok := f.(io.ReaderAt)
	if !ok {
		return nil, errors.Join(fmt.Errorf("model %s: %s: read at: %w", m.Name, name, errors.ErrUnsupported), f.Close())
	}
	// As in mapPart: if the manifest is ours now, so was the part before.
	if raw, err := readFile(m.files, fileManifest, MaxManifest); err != nil || !bytes.Equal(raw, m.Raw) {
		return nil, errors.Join(f.Close(), fmt.Errorf("model %s: it was replaced or removed since it was opened", m.Name))
	}
	return &PartFile{ReaderAt: at, file: f}, nil
}
