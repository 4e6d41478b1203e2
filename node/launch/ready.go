package launch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Ready is what a serving process writes to its ready file when it accepts requests.
type Ready struct {
	Peer    string   `json:"peer"`
	Addrs   []string `json:"addrs"` // multiaddrs that end in /p2p/PEER
	Model   string   `json:"model"`
	Layers  string   `json:"layers"` // A:B
	PID     int      `json:"pid"`
	Metrics string   `json:"metrics"` // URL; empty where none are served
}

// WriteReady writes ready (a [Ready], or what `demo` announces) to path as JSON, by rename: whoever sees the file sees
// all of it.
func WriteReady(path string, ready any) error {
	data, err := json.Marshal(ready)
	if err != nil {
		return fmt.Errorf("write ready file %s: %w", path, err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp")
	if err != nil {
		return fmt.Errorf("write ready file: %w", err)
	}
	_, err = f.Write(append(data, '\n'))
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write ready file %s: %w", path, err), os.Remove(f.Name()))
	}
	return nil
}

// readReady reads a serving process' ready file. The error is os.ErrNotExist while there is none.
func readReady(path string) (Ready, error) {
	f, err := os.Open(path)
	if err != nil {
		return Ready{}, fmt.Errorf("read ready file: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxReady+1))
	if err == nil && len(data) > maxReady {
		err = fmt.Errorf("larger than %d bytes", maxReady)
	}
	var r Ready
	if err == nil {
		r, err = decodeReady(data)
	}
	if err != nil {
		return Ready{}, fmt.Errorf("read ready file %s: %w", path, err)
	}
	return r, nil
}

// decodeReady reads what a ready file holds.
func decodeReady(data []byte) (Ready, error) {
	var r Ready
	if err := json.Unmarshal(data, &r); err != nil {
		return Ready{}, err
	}
	if r.Peer == "" || len(r.Addrs) == 0 || r.PID <= 0 {
		return Ready{}, errors.New("it lacks a peer, addresses or a pid")
	}
	return r, nil
}

// errParentGone is why a context of UntilClosed ended.
var errParentGone = errors.New("standard input has ended: the process that started this one is gone or wants it to stop")

// UntilClosed is the child's half of the bargain: a context that ends when parent does or when r, the child's
// standard input, ends. A read of standard input can't be interrupted, so the goroutine that waits for its end stays
// until then, or until the process leaves.
func UntilClosed(parent context.Context, r io.Reader) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(parent)
	go func() {
		// Whatever is written there means nothing, and an error is an end like any other.
		_, _ = io.Copy(io.Discard, r)
		cancel(errParentGone)
	}()
	return ctx, func() { cancel(context.Canceled) }
}
