package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime"

	"golang.org/x/sync/errgroup"

	"github.com/baichuan-node/baichuan-node/kernels"
)

// Verify reads everything that is here of a model and compares it with the manifest: the manifest with the id, the
// tokenizer and each part's chunks with their hashes, the gaps between tensors with zero, the tensors with what their
// formats allow. The error names the first file that is not as it was made, and tells how many more there are.
func Verify(ctx context.Context, m *Model) error {
	if err := m.verify(ctx); err != nil {
		return fmt.Errorf("verify model %s: %w", m.Name, err)
	}
	return nil
}

func (m *Model) verify(ctx context.Context) error {
	raw, err := readFile(m.files, fileManifest, MaxManifest)
	if err != nil {
		return err
	}
	if sha256.Sum256(raw) != m.ID || m.Local.ID != m.ID.String() {
		return fmt.Errorf("%s does not have the id %s", fileManifest, m.ID)
	}
	var bad []error
	if _, err := m.tokenizer(); err != nil {
		bad = append(bad, err)
	}
	parts := make([]error, len(m.Manifest.Parts))
	var group errgroup.Group
	group.SetLimit(min(runtime.GOMAXPROCS(0), maxWorkers))
	for _, i := range m.Local.Parts {
		group.Go(func() error {
			parts[i] = m.verifyPart(ctx, i)
			return nil
		})
	}
	group.Wait()
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, err := range parts {
		if err != nil {
			bad = append(bad, err)
		}
	}
	switch len(bad) {
	case 0:
		return nil
	case 1:
		return bad[0]
	}
	return fmt.Errorf("%w (and %d more files are damaged)", bad[0], len(bad)-1)
}

func (m *Model) verifyPart(ctx context.Context, part int) error {
	mapped, err := m.verified(ctx, part)
	if err != nil {
		return err
	}
	return mapped.Close()
}

// verified maps a part whose content is the manifest's. It reads the part as a file before it maps it: a disk that fails
// makes an error of a read, and kills whoever touches mapped memory.
func (m *Model) verified(ctx context.Context, part int) (*Mapped, error) {
	if err := m.verifyChunks(ctx, part); err != nil {
		return nil, err
	}
	mapped, err := m.mapPart(part)
	if err != nil {
		return nil, err
	}
	if err := checkContent(m.Manifest.Parts[part], mapped.Bytes()); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", PartName(m.Manifest, part), err), mapped.Close())
	}
	return mapped, nil
}

func (m *Model) verifyChunks(ctx context.Context, part int) error {
	p, name := m.Manifest.Parts[part], PartName(m.Manifest, part)
	f, err := openFile(m.files, name, p.Size)
	if err != nil {
		return err
	}
	defer f.Close()
	at, ok := f.(io.ReaderAt)
	if !ok {
		return &fs.PathError{Op: "read at", Path: name, Err: errors.ErrUnsupported}
	}
	i := 0
	err = hashChunks(ctx, at, p.Size, func(digest string) error {
		if digest != p.Chunks[i] {
			return fmt.Errorf("chunk %d of %d is damaged (its SHA-256 is not the manifest's): import the model again", i, len(p.Chunks))
		}
		i++
		return nil
	})
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// checkContent holds a part's bytes against what its tensors' formats allow.
func checkContent(p Part, data []byte) error {
	var end int64
	for _, t := range p.Tensors {
		for _, b := range data[end:t.Offset] {
			if b != 0 {
				return fmt.Errorf("the gap before tensor %s is not zero", t.Name)
			}
		}
		end = t.Offset + t.Size
		if err := checkTensorBytes(t, data[t.Offset:end]); err != nil {
			return fmt.Errorf("tensor %s: %w", t.Name, err)
		}
	}
	return nil
}

func checkTensorBytes(t Tensor, data []byte) error {
	switch {
	case t.isGain():
		return kernels.CheckGain(data)
	case t.isTable():
		return kernels.CheckTable(kernels.Table{Rows: t.Rows, K: t.Cols, Format: t.format(), Data: data})
	}
	return kernels.CheckMatrix(kernels.Matrix{Rows: t.Rows, K: t.Cols, Format: t.format(), Data: data})
}
