package store

import (
	"fmt"
	"io/fs"
	"strings"
)

// Outline completes a manifest that has the dimensions and formats of a model which nobody has imported: with the parts
// that follow from them, and a digest of zeros for each chunk. Nothing can be verified against it; it is for measuring
// with weights that are made up.
func (m *Manifest) Outline() error {
	m.Format, m.Architecture = FormatVersion, architecture
	for _, check := range []func() error{m.checkNames, m.checkDimensions, m.checkNumbers, m.checkTokens} {
		if err := check(); err != nil {
			return fmt.Errorf("outline a model: %w", err)
		}
	}
	m.Parts = layout(m)
	for i := range m.Parts {
		p := &m.Parts[i]
		for range chunks(p.Size) {
			p.Chunks = append(p.Chunks, strings.Repeat("0", 2*len(ID{})))
		}
	}
	return nil
}

// OpenFiles opens the model whose manifest.json, local.json and parts are at the root of a file system. It trusts them as
// little as a Store does.
func OpenFiles(name string, files fs.FS) (*Model, error) {
	m, err := openModel(name, files)
	if err != nil {
		return nil, fmt.Errorf("open model %s: %w", name, err)
	}
	return m, nil
}
