//go:build unix

package checkpoint_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/baichuan-node/baichuan-node/shard/checkpoint"
	"github.com/baichuan-node/baichuan-node/shard/checkpoint/checkpointtest"
	"github.com/baichuan-node/baichuan-node/shard/checkpoint/synthetic"
)

// A pipe would wait for a writer for ever, a device may give bytes for ever.
func TestOpen_RefusesPipesAndDevices(t *testing.T) {
	for _, file := range []string{"config.json", "generation_config.json", "tokenizer.model", "model.safetensors"} {
		for name, create := range map[string]func(string) error{
			"pipe":   func(path string) error { return syscall.Mkfifo(path, 0o644) },
			"device": func(path string) error { return os.Symlink("/dev/zero", path) },
		} {
			dir := t.TempDir()
			if err := synthetic.Write(dir, checkpointtest.Spec(tokenizer, vocab)); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, file)
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			if err := create(path); err != nil {
				t.Fatal(err)
			}
			if _, err := checkpoint.Open(dir); err == nil {
				t.Errorf("%s as %s was accepted", file, name)
			} else {
				checkLine(t, err, file)
			}
		}
	}
}
