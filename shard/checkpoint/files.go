package checkpoint

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// openRegular opens a file for reading and returns its size. Links are followed, as Hugging Face's cache consists of
// them; what they lead to must be a regular file, so that no pipe or device can hang the caller.
func openRegular(path string) (*os.File, int64, error) {
	// Opening a pipe would already wait for a writer, so its kind is looked at first.
	if info, err := os.Stat(path); err != nil {
		return nil, 0, fileError(path, err)
	} else if !info.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("%s: not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, fileError(path, err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("not a regular file")
	}
	if err != nil {
		f.Close()
		return nil, 0, fileError(path, err)
	}
	return f, info.Size(), nil
}

// readSmall reads a whole file of at most limit bytes.
func readSmall(path string, limit int64) ([]byte, error) {
	f, size, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if size > limit {
		return nil, fmt.Errorf("%s: %d bytes, more than the %d allowed", path, size, limit)
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fileError(path, err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s: more than the %d bytes allowed", path, limit)
	}
	if isPointer(data) {
		return nil, fileError(path, errPointer)
	}
	return data, nil
}

// errPointer is the answer to what a clone without Git LFS leaves in the place of large files.
var errPointer = errors.New(`a Git LFS pointer, not the file itself: run "git lfs pull" there`)

func isPointer(head []byte) bool {
	return bytes.HasPrefix(head, []byte("version https://git-lfs.github.com/spec/"))
}

// fileError puts a file's path before an error, once: errors of package os bring it along.
func fileError(path string, err error) error {
	var pathError *fs.PathError
	if errors.As(err, &pathError) {
		err = pathError.Err
	}
	return fmt.Errorf("%s: %w", path, err)
}

// quote makes a stranger's text fit for an error line: escaped, and cut after 80 bytes.
func quote(s string) string {
	const most = 80
	if len(s) > most {
		return strconv.QuoteToASCII(strings.ToValidUTF8(s[:most], "")) + "..."
	}
	return strconv.QuoteToASCII(s)
}

// exists says whether there is anything at path, links that lead nowhere included.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
