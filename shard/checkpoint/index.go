package checkpoint

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
)

// format is one kind of weight file.
type format struct {
	single string // the file's name when there is one
	index  string // the index's name when there are shards
	suffix string // of every such file
	open   func(f io.ReaderAt, path string, size int64) ([]*tensor, error)
}

// formats are in the order of preference, which is transformers': safetensors first.
func formats() []format {
	return []format{
		{"model.safetensors", "model.safetensors.index.json", ".safetensors", openSafetensors},
		{"pytorch_model.bin", "pytorch_model.bin.index.json", ".bin", openTorch},
	}
}

// openWeights opens the directory's weights, whichever form they have.
func (c *Checkpoint) openWeights(dir string) error {
	for _, f := range formats() {
		if exists(filepath.Join(dir, f.single)) {
			return c.openSingle(filepath.Join(dir, f.single), f)
		}
		if exists(filepath.Join(dir, f.index)) {
			return c.openShards(dir, f)
		}
	}
	return fmt.Errorf("%s: no weights: neither model.safetensors nor pytorch_model.bin, nor the index of either", dir)
}

// openSingle opens a checkpoint of one file of weights.
func (c *Checkpoint) openSingle(path string, f format) error {
	tensors, err := c.openFile(path, f)
	if err != nil {
		return err
	}
	if len(tensors) == 0 {
		return fmt.Errorf("%s: holds no tensors", path)
	}
	for _, t := range tensors {
		if err := c.add(t); err != nil {
			return err
		}
	}
	return nil
}

// openFile opens one file of weights, which is closed with the checkpoint.
func (c *Checkpoint) openFile(path string, f format) ([]*tensor, error) {
	file, size, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	c.files = append(c.files, file)
	head := make([]byte, min(size, 64))
	if err := readFull(file, head, 0); err != nil {
		return nil, fileError(path, err)
	}
	if isPointer(head) {
		return nil, fileError(path, errPointer)
	}
	tensors, err := f.open(file, path, size)
	if err != nil {
		return nil, fileError(path, err)
	}
	return tensors, nil
}

// openShards opens all files that an index names. Each tensor must be where the index says, and nowhere else.
func (c *Checkpoint) openShards(dir string, f format) error {
	indexPath := filepath.Join(dir, f.index)
	index, err := readIndex(indexPath, f.suffix)
	if err != nil {
		return err
	}
	for _, name := range index.files {
		path := filepath.Join(dir, name)
		if !exists(path) {
			return fmt.Errorf("%s: missing, though %s names it", path, f.index)
		}
		tensors, err := c.openFile(path, f)
		if err != nil {
			return err
		}
		for _, t := range tensors {
			if home, ok := index.where[t.Name]; !ok {
				return fmt.Errorf("%s: tensor %s is not in %s", path, quote(t.Name), f.index)
			} else if home != name {
				return fmt.Errorf("%s: tensor %s belongs into %s by %s", path, quote(t.Name), home, f.index)
			}
			if err := c.add(t); err != nil {
				return err
			}
		}
	}
	for _, name := range index.names {
		if _, ok := c.byName[name]; !ok {
			return fmt.Errorf("%s: tensor %s is missing, though %s names it", filepath.Join(dir, index.where[name]), quote(name), f.index)
		}
	}
	return nil
}

// shardIndex is what an index says.
type shardIndex struct {
	names []string          // of all tensors, in the index's order
	where map[string]string // tensor to file
	files []string          // all files, in alphabetical order
}

// readIndex reads an index of files with the given suffix.
func readIndex(path, suffix string) (shardIndex, error) {
	data, err := readSmall(path, maxIndexBytes)
	if err != nil {
		return shardIndex{}, err
	}
	index, err := parseIndex(data, suffix)
	if err != nil {
		return shardIndex{}, fileError(path, err)
	}
	return index, nil
}

// parseIndex reads the weight_map of an index. Every file must be a plain name in the same directory.
func parseIndex(data []byte, suffix string) (shardIndex, error) {
	o, err := parseObject(data, 1000)
	if err != nil {
		return shardIndex{}, err
	}
	if !o.has("weight_map") {
		return shardIndex{}, errors.New("weight_map is missing")
	}
	m, err := parseObject(o.values["weight_map"], maxTensors)
	if err != nil {
		return shardIndex{}, fmt.Errorf("weight_map: %w", err)
	}
	if len(m.keys) == 0 {
		return shardIndex{}, errors.New("weight_map is empty")
	}
	index := shardIndex{names: m.keys, where: make(map[string]string, len(m.keys))}
	seen := map[string]bool{}
	for _, name := range m.keys {
		if err := checkName(name); err != nil {
			return shardIndex{}, err
		}
		var file string
		if err := json.Unmarshal(m.values[name], &file); err != nil {
			return shardIndex{}, fmt.Errorf("tensor %s: %s is not a file's name", quote(name), quote(string(m.values[name])))
		}
		if !isShardName(file, suffix) {
			return shardIndex{}, fmt.Errorf("tensor %s: %s is not the name of a %s file in this directory", quote(name), quote(file), suffix)
		}
		index.where[name] = file
		if !seen[file] {
			seen[file] = true
			index.files = append(index.files, file)
		}
	}
	if len(index.files) > maxShards {
		return shardIndex{}, fmt.Errorf("%d files, more than the %d allowed", len(index.files), maxShards)
	}
	slices.Sort(index.files)
	return index, nil
}

// isShardName accepts letters, digits, '.', '_' and '-', beginning with one of the first two kinds: no path, no hidden
// file, nothing that needs quoting.
func isShardName(file, suffix string) bool {
	if !strings.HasSuffix(file, suffix) || len(file) <= len(suffix) || len(file) > maxFileNameBytes || !filepath.IsLocal(file) {
		return false
	}
	for i, c := range []byte(file) {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9'
		if !letter && (i == 0 || c != '.' && c != '_' && c != '-') {
			return false
		}
	}
	return true
}
