package routing

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/gofrs/flock"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
)

// IdentityInUseError says that another process has locked an identity file.
type IdentityInUseError struct {
	Path string
}

// Error names the file.
func (e *IdentityInUseError) Error() string {
	return fmt.Sprintf("identity %s is in use by another process", e.Path)
}

// LoadIdentity reads the Ed25519 key in the file at path, or makes one there (mode 0600). Two processes with one key would
// be one peer in two places, so the key stays locked until release is called; if another process has it, the error is a
// [*IdentityInUseError].
func LoadIdentity(path string) (key crypto.PrivKey, release func() error, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, nil, fmt.Errorf("identity %s: make its folder: %w", path, err)
	}
	lock := flock.New(path+".lock", flock.SetPermissions(0o600)) // beside it, because renaming would lose a lock on it
	switch locked, err := lock.TryLock(); {
	case err != nil:
		return nil, nil, fmt.Errorf("identity %s: lock it: %w", path, err)
	case !locked:
		return nil, nil, &IdentityInUseError{Path: path}
	}
	key, err = readIdentity(path)
	if errors.Is(err, fs.ErrNotExist) {
		key, err = makeIdentity(path)
	}
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("identity %s: %w", path, err), lock.Unlock())
	}
	return key, lock.Unlock, nil
}

// LoadServeIdentity loads the first identity in home that no other process has: identity.key, identity-2.key, and so on.
func LoadServeIdentity(home string) (key crypto.PrivKey, release func() error, err error) {
	var used *IdentityInUseError
	for n := 1; n <= maxIdentities; n++ {
		name := "identity.key"
		if n > 1 {
			name = fmt.Sprintf("identity-%d.key", n)
		}
		key, release, err = LoadIdentity(filepath.Join(home, name))
		if !errors.As(err, &used) {
			return key, release, err
		}
	}
	return nil, nil, fmt.Errorf("all %d identities in %s are in use: name another file with --identity", maxIdentities, home)
}

func readIdentity(path string) (crypto.PrivKey, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("this is not a file")
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("others may read it (mode %04o): make a new one, or chmod 600 it", info.Mode().Perm())
	}
	b, err := io.ReadAll(io.LimitReader(f, maxKeyBytes))
	if err != nil {
		return nil, err
	}
	key, err := crypto.UnmarshalPrivateKey(b)
	if err != nil {
		return nil, errors.New("this is not a private key: name another file, or move it away")
	}
	if key.Type() != crypto.Ed25519 {
		return nil, fmt.Errorf("its key is of type %v, not Ed25519", key.Type())
	}
	return key, nil
}

// makeIdentity writes a new key under a temporary name and renames it, so that no half of a key is ever found at path.
func makeIdentity(path string) (crypto.PrivKey, error) {
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	b, err := crypto.MarshalPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	if err := writeSecret(path, b, os.Rename); err != nil {
		return nil, fmt.Errorf("write a key: %w", err)
	}
	return key, nil
}

// writeSecret writes a file for its owner alone under a temporary name, syncs it, and gives it its own by put.
func writeSecret(path string, b []byte, put func(from, to string) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".identity-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if _, err = f.Write(b); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return put(f.Name(), path)
}

// linkNew gives a file its name unless there is one of that name.
func linkNew(from, to string) error {
	err := os.Link(from, to)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	if _, err := os.Lstat(to); err == nil { // a file system without links
		return fs.ErrExist
	}
	return os.Rename(from, to)
}

// NewIdentity makes an identity in a file that is not there yet.
func NewIdentity(path string) (peer.ID, error) {
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		return "", fmt.Errorf("make a key: %w", err)
	}
	b, err := crypto.MarshalPrivateKey(key)
	if err != nil {
		return "", fmt.Errorf("make a key: %w", err)
	}
	if err := writeNew(path, b); err != nil {
		return "", fmt.Errorf("identity %s: %w", path, err)
	}
	return peer.IDFromPrivateKey(key)
}

// writeNew writes a secret to a file that is not there yet.
func writeNew(path string, b []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("make its folder: %w", err)
	}
	err := writeSecret(path, b, linkNew)
	if errors.Is(err, fs.ErrExist) {
		return errors.New("it is there already, and stays: name another file")
	}
	return err
}

// ShowIdentity tells the peer id of an identity, whoever uses it.
func ShowIdentity(path string) (peer.ID, error) {
	key, err := readIdentity(path)
	if err != nil {
		return "", fmt.Errorf("identity %s: %w", path, err)
	}
	return peer.IDFromPrivateKey(key)
}

// NewSwarmKey makes the key of a private swarm in a file that is not there yet, in the form that ReadSwarmKey reads.
func NewSwarmKey(path string) error {
	secret := make([]byte, swarmKeyBytes)
	rand.Read(secret) // never fails
	text := fmt.Sprintf("/key/swarm/psk/1.0.0/\n/base16/\n%x\n", secret)
	if err := writeNew(path, []byte(text)); err != nil {
		return fmt.Errorf("swarm key %s: %w", path, err)
	}
	return nil
}
