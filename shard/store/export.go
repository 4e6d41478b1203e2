package store

import (
	"bufio"
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"

	"github.com/baichuan-node/baichuan-node/kernels"
)

// exportFile is one file of a checkpoint and what writes its content.
type exportFile struct {
	name  string
	write func(ctx context.Context, w io.Writer) error
}

// Export writes a model as a Hugging Face checkpoint into dir, which it makes if need be: config.json, tokenizer.model,
// tokenizer_config.json, generation_config.json, and model.safetensors in F32 with the published names. The weights are what the
// stored ones mean, exactly, and NormHead is already in them (norm_head is false): importing it again gives the same
// function, and for a bf16 or f16 model the same id. A file that exists is not replaced, and nothing stays behind when
// it fails. The whole model must be here, and every byte of it as the manifest says.
func Export(ctx context.Context, m *Model, dir string) error {
	if err := m.export(ctx, dir); err != nil {
		return fmt.Errorf("export model %s to %s: %w", m.Name, dir, err)
	}
	return nil
}

func (m *Model) export(ctx context.Context, dir string) (err error) {
	for i := range m.Manifest.Parts {
		if !m.Has(i) {
			return fmt.Errorf("part %s is not on this machine", PartName(m.Manifest, i))
		}
	}
	files, err := m.exportFiles()
	if err != nil {
		return err
	}
	for _, f := range files {
		if _, err := os.Lstat(filepath.Join(dir, f.name)); !errors.Is(err, fs.ErrNotExist) {
			return errors.Join(err, fmt.Errorf("file %s exists already: choose another directory", f.name))
		}
	}
	made := absent(dir)
	defer func() {
		if err != nil {
			for _, d := range made {
				os.Remove(d) // fails where others have put something there since
			}
		}
	}()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	temp, err := os.MkdirTemp(dir, ".export-")
	if err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, os.RemoveAll(temp)) }()
	for _, f := range files {
		if err := exportTo(ctx, filepath.Join(temp, f.name), f); err != nil {
			return fmt.Errorf("write %s: %w", f.name, err)
		}
	}
	return moveAll(files, temp, dir)
}

// absent lists the directories that MkdirAll(dir) would make, dir first.
func absent(dir string) (dirs []string) {
	for dir = filepath.Clean(dir); ; dir = filepath.Dir(dir) {
		if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
			return dirs
		}
		dirs = append(dirs, dir)
	}
}

// moveAll gives the finished files their places, all of them or none.
func moveAll(files []exportFile, from, to string) error {
	for i, f := range files {
		if err := os.Rename(filepath.Join(from, f.name), filepath.Join(to, f.name)); err != nil {
			for _, moved := range files[:i] {
				os.Remove(filepath.Join(to, moved.name))
			}
			return err
		}
	}
	return syncDir(to)
}

func exportTo(ctx context.Context, path string, f exportFile) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(file, 1<<20)
	err = f.write(ctx, w)
	if err == nil {
		err = w.Flush()
	}
	if err == nil {
		err = file.Sync()
	}
	return cmp.Or(err, file.Close())
}

// exportFiles lists the files in the order in which they appear: config.json comes last and says that all are there.
func (m *Model) exportFiles() ([]exportFile, error) {
	vocabulary, err := m.tokenizer()
	if err != nil {
		return nil, err
	}
	plain := func(name string, v any) (exportFile, error) {
		text, err := json.MarshalIndent(v, "", "  ")
		return exportFile{name, func(_ context.Context, w io.Writer) error {
			_, err := w.Write(append(text, '\n'))
			return err
		}}, err
	}
	generation, err1 := plain("generation_config.json", m.exportGeneration())
	tokens, err2 := plain("tokenizer_config.json", map[string]any{"add_bos_token": m.Manifest.AddBOS, "add_eos_token": false})
	config, err3 := plain("config.json", m.exportConfig())
	return []exportFile{
		{"model.safetensors", m.exportWeights},
		{fileTokenizer, func(_ context.Context, w io.Writer) error {
			_, err := w.Write(vocabulary)
			return err
		}},
		tokens, generation, config,
	}, errors.Join(err1, err2, err3)
}

func (m *Model) exportConfig() map[string]any {
	mf := m.Manifest
	config := map[string]any{
		"architectures": []string{"BaichuanForCausalLM"}, "model_type": "baichuan", "torch_dtype": "float32",
		"hidden_act": "silu", "tie_word_embeddings": false,
		"num_hidden_layers": mf.Layers, "hidden_size": mf.Hidden, "intermediate_size": mf.Intermediate,
		"num_attention_heads": mf.Heads, "vocab_size": mf.Vocab, "model_max_length": mf.Context,
		"rms_norm_eps": json.Number(mf.Eps), "bos_token_id": mf.BOS, "eos_token_id": mf.EOS, "pad_token_id": mf.Pad,
		"position_embedding": mf.Position, "norm_head": false,
	}
	if mf.Position == Rope {
		config["max_position_embeddings"] = mf.Context
		config["rope_theta"] = json.Number(mf.Theta)
	}
	return config
}

func (m *Model) exportGeneration() any {
	mf := m.Manifest
	var ends []int
	for _, id := range mf.Stop {
		if id == mf.EOS || id != mf.User && id != mf.Assistant {
			ends = append(ends, id)
		}
	}
	type ids struct {
		BOS       int   `json:"bos_token_id"`
		EOS       []int `json:"eos_token_id"`
		Pad       int   `json:"pad_token_id"`
		User      int   `json:"user_token_id"`
		Assistant int   `json:"assistant_token_id"`
	}
	return struct {
		ids
		Generation
	}{ids{mf.BOS, ends, mf.Pad, mf.User, mf.Assistant}, m.Local.Generation}
}

// exportWeights writes model.safetensors: the length of the header (8 bytes), the header (JSON, padded with spaces to a
// multiple of 8), then the tensors one after the other.
func (m *Model) exportWeights(ctx context.Context, w io.Writer) error {
	type entry struct {
		DType   string   `json:"dtype"`
		Shape   []int    `json:"shape"`
		Offsets [2]int64 `json:"data_offsets"`
	}
	header := map[string]any{"__metadata__": map[string]string{"format": "pt"}}
	var at int64
	for i, part := range m.Manifest.Parts {
		for _, t := range part.Tensors {
			end := at + 4*int64(t.Rows)*int64(t.Cols)
			header[published(m.Manifest, i, t)] = entry{"F32", t.shape(), [2]int64{at, end}}
			at = end
		}
	}
	text, err := json.Marshal(header)
	if err != nil {
		return err
	}
	for len(text)%8 != 0 {
		text = append(text, ' ')
	}
	if _, err := w.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(text)))); err != nil {
		return err
	}
	if _, err := w.Write(text); err != nil {
		return err
	}
	for i := range m.Manifest.Parts {
		if err := m.exportPart(ctx, w, i); err != nil {
			return err
		}
	}
	return nil
}

func (m *Model) exportPart(ctx context.Context, w io.Writer, part int) error {
	mapped, err := m.verified(ctx, part)
	if err != nil {
		return err
	}
	defer mapped.Close()
	p := m.Manifest.Parts[part]
	var rows []float32
	var out []byte
	for _, t := range p.Tensors {
		data := mapped.Bytes()[t.Offset : t.Offset+t.Size]
		for _, r := range cut(t, runBytes) {
			if err := ctx.Err(); err != nil {
				return err
			}
			rows, out = grow(rows, r.n*t.Cols), grow(out, 4*r.n*t.Cols)
			r.unpack(rows, data)
			for i, v := range rows {
				binary.LittleEndian.PutUint32(out[4*i:], math.Float32bits(v))
			}
			if _, err := w.Write(out); err != nil {
				return err
			}
		}
	}
	return nil
}

// unpack writes what the run's rows mean to dst. data is the whole tensor.
func (r run) unpack(dst []float32, data []byte) {
	switch {
	case r.t.isGain():
		for i := range dst {
			dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*(r.row*r.t.Cols+i):]))
		}
	case r.t.isTable():
		kernels.UnpackTable(dst, kernels.Table{Rows: r.t.Rows, K: r.t.Cols, Format: r.t.format(), Data: data}, r.row, r.n)
	default:
		kernels.UnpackMatrix(dst, kernels.Matrix{Rows: r.t.Rows, K: r.t.Cols, Format: r.t.format(), Data: data}, r.row, r.n)
	}
}
