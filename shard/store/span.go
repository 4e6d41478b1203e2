package store

import (
	"fmt"
	"strconv"
	"strings"
)

// Span is the layers Start..End-1 of a model.
type Span struct{ Start, End int }

// String gives the span as flags have it: "A:B".
func (s Span) String() string { return strconv.Itoa(s.Start) + ":" + strconv.Itoa(s.End) }

// ParseSpan is the reverse of Span.String. Whether a model has such layers is another question.
func ParseSpan(text string) (Span, error) {
	from, to, _ := strings.Cut(text, ":")
	start, err1 := strconv.ParseUint(from, 10, 16)
	end, err2 := strconv.ParseUint(to, 10, 16)
	if err1 != nil || err2 != nil || start >= end {
		return Span{}, fmt.Errorf("layers %.40q: want A:B with A < B, such as 0:8", text)
	}
	return Span{Start: int(start), End: int(end)}, nil
}

// PartsOf lists the indexes of the parts that a span needs: its layers, and the ends that ride with them.
func (m *Manifest) PartsOf(span Span) []int {
	var parts []int
	if span.Start == 0 {
		parts = append(parts, 0)
	}
	for i := span.Start; i < span.End; i++ {
		parts = append(parts, i+1)
	}
	if span.End == m.Layers {
		parts = append(parts, m.Layers+1)
	}
	return parts
}
