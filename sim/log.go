package sim

import (
	"bytes"
	"fmt"
	"io"
	"sync"
)

// logs writes what several processes log into one stream, whole lines, each with its process's name before it.
type logs struct {
	mu sync.Mutex
	to io.Writer // guarded by mu
}

// of is where a process writes what it logs; nil if nobody reads it.
func (l *logs) of(name string) io.Writer {
	if l.to == nil {
		return nil
	}
	return &logLines{logs: l, name: name}
}

// logLines is a process's part of logs. One goroutine writes to it.
type logLines struct {
	logs *logs
	name string
	rest []byte // a line that has no end yet
}

func (w *logLines) Write(text []byte) (int, error) {
	w.rest = append(w.rest, text...)
	end := bytes.LastIndexByte(w.rest, '\n')
	if end < 0 {
		return len(text), nil
	}
	var out bytes.Buffer
	for line := range bytes.Lines(w.rest[:end+1]) {
		fmt.Fprintf(&out, "%s: %s", w.name, line)
	}
	w.rest = append(w.rest[:0], w.rest[end+1:]...)
	w.logs.mu.Lock()
	defer w.logs.mu.Unlock()
	_, err := w.logs.to.Write(out.Bytes())
	return len(text), err
}
