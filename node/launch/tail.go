package launch

import (
	"io"
	"strings"
	"sync"
)

// tail keeps the last bytes that were written to it and passes all on to next, if there is one.
type tail struct {
	next io.Writer

	mu   sync.Mutex
	kept []byte // at most maxTail
}

// Write never fails: a child must not be stopped because nobody wants to read what it says.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = append(t.kept, p...)
	if over := len(t.kept) - maxTail; over > 0 {
		t.kept = append(t.kept[:0], t.kept[over:]...)
	}
	if t.next != nil {
		_, _ = t.next.Write(p)
	}
	return len(p), nil
}

// quoted gives the last lines as the end of an error in one line: ": a | b", or nothing.
func (t *tail) quoted() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var lines []string
	for line := range strings.Lines(string(t.kept)) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	if len(lines) == 0 {
		return ""
	}
	return ": " + strings.Join(lines[max(0, len(lines)-quotedLines):], " | ")
}
