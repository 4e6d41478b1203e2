package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/baichuan-node/baichuan-node/kernels"
	"github.com/baichuan-node/baichuan-node/kernels/probe"
	"github.com/baichuan-node/baichuan-node/node"
	"github.com/baichuan-node/baichuan-node/shard"
	"github.com/baichuan-node/baichuan-node/shard/checkpoint/synthetic"
	"github.com/baichuan-node/baichuan-node/shard/measure"
	"github.com/baichuan-node/baichuan-node/shard/store"
)

// speeds is what serve has measured with this home, in a file of it: so it starts at once the next time.
type speeds struct {
	file   string
	binary string // what other programs have measured is not believed
}

// openSpeeds gives the speeds of this home as this program has measured them.
func openSpeeds() (*speeds, error) {
	home, err := homeDir()
	if err != nil {
		return nil, err
	}
	version, commit := buildVersion()
	binary := version + " " + commit
	if path, err := os.Executable(); err == nil {
		if st, err := os.Stat(path); err == nil {
			binary += st.ModTime().UTC().Format(" 20060102T150405.000")
		}
	}
	return &speeds{file: filepath.Join(home, "speed.json"), binary: binary}, nil
}

// key is all that a speed depends on.
func (s *speeds) key(m *store.Model, span store.Span, d *kernels.CPU) string {
	return strings.Join([]string{
		s.binary, m.ID.String(), span.String(), d.Name(), fmt.Sprint(d.Threads()), probe.CPU(),
	}, "|")
}

// expected is how fast a model is expected to be before any of its layers are loaded: as fast as other layers of it were,
// the slowest of them. Zero if none were loaded yet.
func (s *speeds) expected(m *store.Model, d *kernels.CPU) (speed node.Speed) {
	like := strings.Split(s.key(m, store.Span{}, d), "|")
	const span = 2 // of the key's parts
	for key, known := range s.all() {
		parts := strings.Split(key, "|")
		if len(parts) != len(like) {
			continue
		}
		parts[span] = like[span]
		if slices.Equal(parts, like) && (speed.Decode == 0 || known.Decode < speed.Decode) {
			speed = known
		}
	}
	return speed
}

// guess measures a layer of a model's shape whose weights are made up, where none of its own has been measured yet: layers
// are chosen before any is loaded. It takes a second or two of the first start.
func (s *speeds) guess(ctx context.Context, m *store.Model, d *kernels.CPU) (err error) {
	if s.expected(m, d).Decode > 0 {
		return nil
	}
	of := m.Manifest
	one := store.Span{Start: 1, End: 2} // of three: without ends
	shape := synthetic.Spec{Layers: 3, Hidden: of.Hidden, Intermediate: of.Intermediate, Heads: of.Heads, Vocab: leastVocab, Context: of.Context, Position: of.Position}
	madeUp, err := measure.Synthetic("a layer that is made up", shape, of.Weights)
	if err != nil {
		return fmt.Errorf("measure the speed: %w", err)
	}
	layer, err := shard.Load(ctx, madeUp, one, d, shard.Config{})
	if err != nil {
		return fmt.Errorf("measure the speed: %w", err)
	}
	defer func() { err = errors.Join(err, layer.Close()) }()
	speed, err := measure.SpeedOf(layer)
	if err != nil {
		return fmt.Errorf("measure the speed: %w", err)
	}
	return s.keep(s.key(m, one, d), node.Speed(speed))
}

// all reads the file. One that can't be read is as good as none: everything can be measured again.
func (s *speeds) all() map[string]node.Speed {
	all := make(map[string]node.Speed)
	data, err := os.ReadFile(s.file)
	if err == nil && json.Unmarshal(data, &all) != nil {
		clear(all)
	}
	maps.DeleteFunc(all, func(key string, v node.Speed) bool {
		return !strings.HasPrefix(key, s.binary+"|") || !(v.Decode > 0 && v.Prefill > 0)
	})
	return all
}

// keep adds a speed. Of two processes that do so at once one may be forgotten.
func (s *speeds) keep(key string, speed node.Speed) error {
	all := s.all()
	if all[key] == speed {
		return nil
	}
	all[key] = speed
	data, err := json.MarshalIndent(all, "", " ")
	if err != nil {
		return fmt.Errorf("keep the measured speed: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(s.file), 0o755); err != nil {
		return fmt.Errorf("keep the measured speed: %w", err)
	}
	temp := fmt.Sprintf("%s.%d", s.file, os.Getpid())
	if err := os.WriteFile(temp, append(data, '\n'), 0o644); err != nil {
		return fmt.Errorf("keep the measured speed: %w", err)
	}
	if err := os.Rename(temp, s.file); err != nil {
		return errors.Join(fmt.Errorf("keep the measured speed: %w", err), ignoreMissing(os.Remove(temp)))
	}
	return nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
