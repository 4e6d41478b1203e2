package bundled_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/baichuan-node/baichuan-node/shard/bundled"
	"github.com/baichuan-node/baichuan-node/shard/store"
)

// maxModel is what a model may add to the binary and, once for each version that is ever committed, to the history.
const maxModel = 8_000_000

func TestOpen_FindsModelsByNameAndID(t *testing.T) {
	if names := bundled.Names(); !slices.Equal(names, []string{bundled.Alibi, bundled.Chat}) {
		t.Fatalf("the models are %q", names)
	}
	for _, name := range bundled.Names() {
		m, err := bundled.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		byID, err := bundled.Open(m.ID.String()[:10])
		if err != nil || byID.Name != name || m.Name != name || m.Local.Name != name {
			t.Errorf("%s: by its id %v, %v", name, byID, err)
		}
	}
	var none *store.NotFoundError
	if _, err := bundled.Open("another"); !errors.As(err, &none) {
		t.Errorf("another model: %v", err)
	}
	list, err := bundled.List()
	if err != nil || len(list) != 2 || list[0].Name != bundled.Alibi || list[1].Size == 0 {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestModels_AreAsTheyWereMade(t *testing.T) {
	for _, name := range bundled.Names() {
		m, err := bundled.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := store.Verify(context.Background(), m); err != nil {
			t.Error(err)
		}
		if filepath.IsAbs(m.Local.Source) {
			t.Errorf("%s: local.json tells of the directory %s, which is of one machine", name, m.Local.Source)
		}
	}
}

func TestModels_AreOfBothKinds(t *testing.T) {
	for name, want := range map[string]string{bundled.Chat: store.Rope, bundled.Alibi: store.Alibi} {
		m, err := bundled.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		mf := m.Manifest
		if mf.Position != want || mf.Weights != "nf4" || mf.Context < 1024 || mf.AddBOS {
			t.Errorf("%s: positions %s, weights %s, context %d, bos %t", name, mf.Position, mf.Weights, mf.Context, mf.AddBOS)
		}
		if want == store.Alibi && mf.Heads&(mf.Heads-1) == 0 {
			t.Errorf("%s has %d heads: the slopes of a power of two are the easy ones", name, mf.Heads)
		}
	}
}

func TestModels_AreSmall(t *testing.T) {
	for _, name := range bundled.Names() {
		var size int64
		err := fs.WalkDir(os.DirFS("models"), name, func(_ string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			info, err := e.Info()
			if err == nil {
				size += info.Size()
			}
			return err
		})
		if err != nil || size > maxModel {
			t.Errorf("%s has %d bytes, more than %d (%v)", name, size, maxModel, err)
		}
	}
}
