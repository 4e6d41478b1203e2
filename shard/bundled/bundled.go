// Package bundled holds the models that come with the program, so that a person can talk, and a test can judge what is
// said, before anything is downloaded.
//
// They are Baichuan 2 in every respect but the size, made by the program in train/ from sentences of its own, and lie
// in models/ in the form of the store: nf4 layers, the embedding and the head in int8. [Open] gives them as the store
// gives its own; their parts are copied into memory as they are asked for. The package trains, computes and converts
// nothing.
package bundled

import (
	"embed"
	"io/fs"

	"github.com/baichuan-node/baichuan-node/shard/store"
)

// The models by name.
const (
	Chat  = "baichuan2-mini-chat"  // of the 7B's kind: rotary positions. The one that the demo talks with
	Alibi = "baichuan2-mini-alibi" // of the 13B's kind: ALiBi, heads that are no power of two. It knows less
)

//go:embed models
var files embed.FS

// library is the models of the binary.
func library() store.Library {
	models, err := fs.Sub(files, "models")
	if err != nil {
		panic("bundled: " + err.Error()) // the name is valid
	}
	return store.NewLibrary(models)
}

// Names lists the models, sorted.
func Names() []string {
	names, err := library().Names()
	if err != nil {
		panic("bundled: " + err.Error()) // the directory was there when this was compiled
	}
	return names
}

// Open gives the model with a name, an id, or the beginning of one (at least 8 hex digits). A *store.NotFoundError says
// that there is none.
func Open(nameOrID string) (*store.Model, error) { return library().Model(nameOrID) }

// List tells of the models what `models` prints, in the order of their names.
func List() ([]store.Entry, error) { return library().List() }
