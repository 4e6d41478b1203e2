package checkpoint

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
)

// legacyMagic begins the files that torch.save wrote before version 1.6: a pickle of a certain number, not a zip.
const legacyMagic = "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"

// openTorch reads the directory and the pickle of a file that torch.save wrote, and returns its tensors in their order.
// Storages are not read yet.
func openTorch(f io.ReaderAt, path string, size int64) ([]*tensor, error) {
	head := make([]byte, min(size, int64(len(legacyMagic))))
	if err := readFull(f, head, 0); err != nil {
		return nil, err
	}
	switch {
	case string(head) == legacyMagic:
		return nil, errors.New("in torch's format from before version 1.6, which is not supported: save it again with a newer torch")
	case size > 0 && head[0] == 0x80:
		return nil, errors.New("a bare pickle, not torch's zip format")
	}
	members, err := readZip(f, size)
	if err != nil {
		return nil, err
	}
	a := &archive{file: f, members: map[string]zipMember{}, storages: map[string]*storage{}}
	if err := a.index(members); err != nil {
		return nil, err
	}
	state, err := a.unpickle()
	if err != nil {
		return nil, err
	}
	return a.tensors(state, path)
}

// archive is torch's zip: prefix/data.pkl and the storages prefix/data/KEY.
type archive struct {
	file     io.ReaderAt
	prefix   string // ends with a slash
	members  map[string]zipMember
	storages map[string]*storage // by key
}

// index finds the prefix and refuses what was written on a big-endian machine.
func (a *archive) index(members []zipMember) error {
	found := false
	for _, m := range members {
		a.members[m.name] = m
		if prefix, ok := strings.CutSuffix(m.name, "data.pkl"); ok && strings.HasSuffix(prefix, "/") {
			if found {
				return errors.New("more than one data.pkl in the zip")
			}
			found, a.prefix = true, prefix
		}
	}
	if !found {
		return errors.New("no data.pkl in the zip: not a file of torch.save")
	}
	if _, ok := a.members[a.prefix+"byteorder"]; !ok {
		return nil
	}
	order, err := a.read("byteorder", 64)
	if err != nil {
		return err
	}
	if order != "little" {
		return fmt.Errorf("byteorder: %s is not little", quote(order))
	}
	return nil
}

// read reads a whole member of at most limit bytes and checks its CRC.
func (a *archive) read(name string, limit int64) (string, error) {
	m := a.members[a.prefix+name]
	if m.size > limit {
		return "", fmt.Errorf("zip member %s: %d bytes, more than the %d allowed", name, m.size, limit)
	}
	data := make([]byte, m.size)
	if err := readFull(a.file, data, m.off); err != nil {
		return "", fmt.Errorf("zip member %s: %w", name, err)
	}
	if crc32.ChecksumIEEE(data) != m.crc {
		return "", fmt.Errorf("zip member %s: %w", name, errChecksum)
	}
	return string(data), nil
}

// unpickle returns the dictionary that was saved.
func (a *archive) unpickle() (*dict, error) {
	text, err := a.read("data.pkl", maxPickleBytes)
	if err != nil {
		return nil, err
	}
	value, err := unpickle(text, a.storage)
	if err != nil {
		return nil, fmt.Errorf("data.pkl: %w", err)
	}
	state, ok := value.(*dict)
	if !ok {
		return nil, fmt.Errorf("data.pkl: %s was saved, not a dictionary of tensors", kind(value))
	}
	return state, nil
}

// storage resolves a persistent id: the same key is always the same storage.
func (a *archive) storage(id any) (any, error) {
	dtype, key, numel, err := parseStorageID(id)
	if err != nil {
		return nil, err
	}
	if s, ok := a.storages[key]; ok {
		if s.dtype != dtype || s.numel != numel {
			return nil, fmt.Errorf("storage %s is %d elements of %s and also %d of %s", key, s.numel, s.dtype, numel, dtype)
		}
		return s, nil
	}
	m, ok := a.members[a.prefix+"data/"+key]
	if !ok {
		return nil, fmt.Errorf("storage %s is not in the zip", key)
	}
	if want := numel * int64(dtype.Size()); m.size != want {
		return nil, fmt.Errorf("storage %s has %d bytes in the zip, not %d (%d elements of %s)", key, m.size, want, numel, dtype)
	}
	s := &storage{dtype, &blob{file: a.file, off: m.off, size: m.size, crc: m.crc, hasCRC: true}, numel}
	a.storages[key] = s
	return s, nil
}

// tensors turns the dictionary into tensors. Anything else in it belongs to a layout that cannot be read. Their names are
// copies: a part of the pickle would keep all of it.
func (a *archive) tensors(state *dict, path string) ([]*tensor, error) {
	var all []*tensor
	for _, name := range state.keys {
		if err := checkName(name); err != nil {
			return nil, err
		}
		if err := checkLayout(name); err != nil {
			return nil, fmt.Errorf("tensor %s: %w", quote(name), err)
		}
		v, ok := state.values[name].(*view)
		if !ok {
			return nil, fmt.Errorf("entry %s is %s, not a tensor", quote(name), kind(state.values[name]))
		}
		all = append(all, &tensor{
			Info:   Info{Name: strings.Clone(name), DType: v.storage.dtype, Shape: ints(v.shape), File: path},
			blob:   v.storage.blob,
			offset: v.offset,
			stride: v.stride,
		})
	}
	return all, nil
}

// kind says what an unpickled value is.
func kind(v any) string {
	switch v := v.(type) {
	case none:
		return "None"
	case bool:
		return "a truth value"
	case int64, float64:
		return "a number"
	case string:
		return "a text"
	case tuple:
		return "a tuple"
	case *list:
		return "a list"
	case *dict:
		return "a dictionary"
	case *view:
		return "a tensor"
	case *storage:
		return "a bare storage"
	case global:
		return string(v)
	}
	return "nothing"
}
