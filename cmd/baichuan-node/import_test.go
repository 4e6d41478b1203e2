package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/baichuan-node/baichuan-node/shard/store"
)

func TestImport_RecordsTheWholePathOfItsSource(t *testing.T) {
	home := newHome(t)
	dir := writeCheckpoint(t, "small-7b", 1)
	t.Chdir(filepath.Dir(dir))
	here, err := os.Getwd() // as the system sees it, where a temporary directory is behind a link
	if err != nil {
		t.Fatal(err)
	}
	mustCLI(t, "import", filepath.Base(dir), "--name", "mini")
	models, err := store.Open(home)
	if err != nil {
		t.Fatal(err)
	}
	model, err := models.Model("mini")
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(here, filepath.Base(dir)); model.Local.Source != want {
		t.Errorf("the source is %s, want %s", model.Local.Source, want)
	}
}
