package sim

import (
	"fmt"
	"slices"
	"testing"
)

func TestStep_TellsEachFaultOnce(t *testing.T) {
	var s Step
	for i := range 200 {
		s.wrong("no answer after %d ms", i)
		s.wrong("node %d has not left", i%2)
	}
	want := []string{"no answer after 0 ms (200 times)", "node 0 has not left (200 times)"}
	if !slices.Equal(s.Wrong, want) {
		t.Errorf("%q, want %q", s.Wrong, want)
	}
	for i := range 2 * maxFaults {
		s.wrong("fault %s", string(rune('a'+i)))
	}
	if n := len(s.Wrong); n != maxFaults+1 || s.Wrong[n-1] != "and more" {
		t.Errorf("%d faults are told, the last %q", n, s.Wrong[n-1])
	}
}

func TestLogs_NamesEachLine(t *testing.T) {
	var out lineLog
	all := logs{to: &out}
	a, b := all.of("a"), all.of("b")
	for _, piece := range []string{"one\ntw", "o\n", "three"} {
		fmt.Fprint(a, piece)
		fmt.Fprint(b, piece)
	}
	if want := (lineLog{"a: one\n", "b: one\n", "a: two\n", "b: two\n"}); !slices.Equal(out, want) {
		t.Errorf("%q, want %q", out, want)
	}
	if (&logs{}).of("a") != nil {
		t.Error("somebody writes though nobody reads")
	}
}

// lineLog keeps each Write.
type lineLog []string

func (l *lineLog) Write(text []byte) (int, error) {
	*l = append(*l, string(text))
	return len(text), nil
}
