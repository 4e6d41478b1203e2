package terminal

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"
)

// History is what a user has written, the oldest first. A file keeps it: a JSON string in each line, for its owner alone
// to read. A nil History is empty and keeps nothing.
type History struct {
	path    string
	entries []string
}

// NewHistory begins a history that no file keeps.
func NewHistory() *History { return &History{} }

// OpenHistory reads a history's file, or begins one. Lines that are none of ours are passed over.
func OpenHistory(path string) (*History, error) {
	h := &History{path: path}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return h, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read what was written before: %w", err)
	}
	size, err := h.read(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("read what was written before: %w", err)
	}
	if len(h.entries) <= 2*maxHistory && size <= 2*maxHistoryBytes {
		return h, nil
	}
	h.shorten()
	return h, h.rewrite()
}

// read takes the entries of a file, the newest if there are too many bytes of them.
func (h *History) read(f *os.File) (size int64, err error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if !info.Mode().IsRegular() {
		return 0, fmt.Errorf("%s is no regular file", h.path)
	}
	size = info.Size()
	if size > 2*maxHistoryBytes { // the first line is not whole then, and passed over
		if _, err := f.Seek(-2*maxHistoryBytes, io.SeekEnd); err != nil {
			return 0, err
		}
	}
	s := bufio.NewScanner(f)
	s.Buffer(nil, 2*maxHistoryBytes+1)
	for s.Scan() {
		var text string
		if err := json.Unmarshal(s.Bytes(), &text); err == nil && text != "" {
			h.entries = append(h.entries, pasted(text))
		}
	}
	return size, s.Err()
}

// shorten drops the oldest entries.
func (h *History) shorten() {
	first, kept := len(h.entries), 0
	for first > 0 && len(h.entries)-first < maxHistory && kept+len(h.entries[first-1]) <= maxHistoryBytes {
		first--
		kept += len(h.entries[first])
	}
	h.entries = h.entries[first:]
}

// rewrite writes the file anew.
func (h *History) rewrite() error {
	f, err := os.CreateTemp(filepath.Dir(h.path), ".chat-history-*") // which only its owner may read
	if err != nil {
		return fmt.Errorf("shorten what was written before: %w", err)
	}
	w := bufio.NewWriter(f)
	for _, e := range h.entries {
		_, _ = w.Write(historyLine(e)) // Flush tells
	}
	if err := errors.Join(w.Flush(), f.Close()); err != nil {
		return fmt.Errorf("shorten what was written before: %w", errors.Join(err, os.Remove(f.Name())))
	}
	if err := os.Rename(f.Name(), h.path); err != nil {
		return fmt.Errorf("shorten what was written before: %w", errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}

func historyLine(text string) []byte {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(text) // a string can be encoded
	return []byte(b.String())
}

// Add keeps what was written, unless it says nothing new or begins with a space. What can't be written to the file is
// remembered as long as the process lives.
func (h *History) Add(text string) {
	if h == nil || strings.TrimSpace(text) == "" || text[0] == ' ' || len(text) > maxEntry || !utf8.ValidString(text) ||
		len(h.entries) > 0 && h.entries[len(h.entries)-1] == text {
		return
	}
	h.entries = append(h.entries, text)
	if h.path == "" {
		return
	}
	f, err := os.OpenFile(h.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return
	}
	_, _ = f.Write(historyLine(text))
	_ = f.Close()
}

func (h *History) len() int {
	if h == nil {
		return 0
	}
	return len(h.entries)
}

func (h *History) entry(i int) string { return h.entries[i] }
