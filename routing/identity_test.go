package routing

import (
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/libp2p/go-libp2p/core/crypto"
)

func TestLoadIdentity_MakesAKeyOnceAndLocksIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "home", "identity.key")
	key, release, err := LoadIdentity(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || (runtime.GOOS != "windows" && info.Mode().Perm() != 0o600) {
		t.Errorf("its mode is %v, %v", info.Mode(), err)
	}
	var used *IdentityInUseError
	if _, _, err := LoadIdentity(path); !errors.As(err, &used) {
		t.Errorf("loaded twice: %v", err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	again, release, err := LoadIdentity(path)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	if !again.Equals(key) {
		t.Error("the second time it is another key")
	}
}

func TestLoadIdentity_RefusesWhatIsNoSafeKey(t *testing.T) {
	write := func(t *testing.T, b []byte, mode os.FileMode) string {
		path := filepath.Join(t.TempDir(), "identity.key")
		if err := os.WriteFile(path, b, mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	marshalled := func(key crypto.PrivKey, _ crypto.PubKey, err error) []byte {
		if err != nil {
			t.Fatal(err)
		}
		b, err := crypto.MarshalPrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	good := marshalled(crypto.GenerateEd25519Key(rand.Reader))
	for name, c := range map[string]struct {
		bytes []byte
		mode  os.FileMode
		want  string
	}{
		"readable by the group": {good, 0o640, "chmod 600"},
		"readable by others":    {good, 0o604, "chmod 600"},
		"empty":                 {nil, 0o600, "not a private key"},
		"cut off":               {good[:20], 0o600, "not a private key"},
		"of another type":       {marshalled(crypto.GenerateSecp256k1Key(rand.Reader)), 0o600, "not Ed25519"},
	} {
		t.Run(name, func(t *testing.T) {
			if runtime.GOOS == "windows" && c.mode != 0o600 {
				return // there are no such modes
			}
			path := write(t, c.bytes, c.mode)
			for range 2 { // the second time shows that the lock was given back
				if _, _, err := LoadIdentity(path); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
					t.Errorf("got %v, want %q with the path", err, c.want)
				}
			}
		})
	}
}

func TestLoadServeIdentity_GivesEachProcessItsOwn(t *testing.T) {
	home := t.TempDir()
	var keys []crypto.PrivKey
	for i, name := range []string{"identity.key", "identity-2.key", "identity-3.key"} {
		key, release, err := LoadServeIdentity(home)
		if err != nil {
			t.Fatal(err)
		}
		defer release()
		if _, err := os.Stat(filepath.Join(home, name)); err != nil {
			t.Errorf("number %d: %v", i+1, err)
		}
		for _, other := range keys {
			if key.Equals(other) {
				t.Errorf("number %d has the key of another", i+1)
			}
		}
		keys = append(keys, key)
	}
}
