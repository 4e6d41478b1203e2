package store

import (
	"strings"
	"testing"
)

func TestCheckName(t *testing.T) {
	for name, ok := range map[string]bool{
		"mini": true, "Baichuan2-7B-Chat": true, "7b": true, "a": true, "a.b_c-d": true, "0": true, "console": true,
		"com": true, "com10": true, "lpt": true, "null": true, strings.Repeat("a", 64): true, "a..b": true, "a-": true,
		"": false, strings.Repeat("a", 65): false, ".": false, "..": false, ".hidden": false, "-flag": false, "_x": false,
		"dot.": false, "a/b": false, `a\b`: false, "a b": false, "a:b": false, "a\x00": false, "a\n": false, "百川": false,
		"café": false, "con": false, "CON": false, "nul.txt": false, "Aux.tar.gz": false, "prn": false, "com1": false,
		"LPT9": false, "com0": false, "lpt3.model": false, "~": false, "a~1": false,
	} {
		if err := CheckName(name); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		} else if err != nil {
			wantOneLine(t, err)
		}
	}
}

func TestParseSpan(t *testing.T) {
	for text, want := range map[string]Span{"0:1": {0, 1}, "0:32": {0, 32}, "12:16": {12, 16}} {
		got, err := ParseSpan(text)
		if err != nil || got != want || got.String() != text {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", ":", "1", "1:", ":1", "1:1", "2:1", "-1:2", "0:99999999", "0:1:2", "a:b", " 0:1", "0:1 ", "+0:1", "0x0:1"} {
		if got, err := ParseSpan(text); err == nil {
			t.Errorf("%q was taken for %v", text, got)
		}
	}
}
