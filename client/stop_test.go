package client

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestStopper_CutsBeforeTheEarliestStop(t *testing.T) {
	tests := []struct {
		name    string
		stops   string // separated by |
		pieces  string // separated by |
		given   string // after each piece, separated by |
		flushed string
		stopped bool
	}{
		{"nothing to stop at", "", "ab|c", "ab|c", "", false},
		{"in one piece", "lo", "hello world", "hel", "", true},
		{"across pieces", "lo w", "hel|lo| wor", "he|l|", "", true},
		{"held back, then not it", "lo w", "hel|lo|!", "he|l|lo!", "", false},
		{"held back at the end", "lo w", "hel|lo|", "he|l|", "lo", false},
		{"at the very beginning", "h", "hello", "", "", true},
		{"the whole text", "hello", "hel|lo", "|", "", true},
		{"the earlier of two", "wor|lo", "hello world", "hel", "", true},
		{"two at one place", "l|ll", "hello", "he", "", true},
		{"a later one is whole first, the earlier one comes", "abcd|bc", "xabc|d", "x|", "", true},
		{"a later one is whole first, the earlier one does not come", "abcd|bc", "xabc|e", "x|a", "", true},
		{"a later one is whole first, and the text ends", "abcd|bc", "xabc", "x", "a", true},
		{"overlapping itself", "aab", "aaa|b", "a|", "", true},
		{"a character of three bytes", "好", "你|好|吗", "你|", "", true},
		{"repeated beginnings", "\n\n", "a\n|b\n|\nc", "a|\nb|", "", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var s stopper
			if tt.stops != "" {
				s.stops = strings.Split(tt.stops, "|")
			}
			var given []string
			stopped := false
			for piece := range strings.SplitSeq(tt.pieces, "|") {
				var out string
				if out, stopped = s.push(piece); stopped {
					given = append(given, out)
					break
				}
				given = append(given, out)
			}
			if got := strings.Join(given, "|"); got != tt.given {
				t.Errorf("given out %q, want %q", got, tt.given)
			}
			out, late := s.flush()
			if out != tt.flushed || (stopped || late) != tt.stopped {
				t.Errorf("flush gives %q (stopped: %t), want %q (%t)", out, stopped || late, tt.flushed, tt.stopped)
			}
		})
	}
}

// FuzzStopper holds the stopper against a search in the whole text: the pieces must not matter.
func FuzzStopper(f *testing.F) {
	f.Add("hello world", "lo w", "wor", uint64(0b1011))
	f.Add("xabcd", "abcd", "bc", uint64(0b1000))
	f.Add("aaaaab", "aab", "ab", uint64(0xff))
	f.Add("你好吗", "好", "", uint64(0))
	f.Fuzz(func(t *testing.T, text, a, b string, cuts uint64) {
		if !utf8.ValidString(text) || !utf8.ValidString(a) || !utf8.ValidString(b) {
			return // the decoder and the options let nothing else through
		}
		var s stopper
		want, found := len(text), false
		for _, stop := range []string{a, b} {
			if stop == "" {
				continue
			}
			s.stops = append(s.stops, stop)
			if i := strings.Index(text, stop); i >= 0 {
				want, found = min(want, i), true
			}
		}
		got, stopped := "", false
		for len(text) > 0 && !stopped {
			n := 0 // the piece: up to a character behind which cuts has a bit
			for i := range text {
				n = i
				if i > 0 && cuts>>(i%64)&1 == 1 {
					break
				}
				n = len(text)
			}
			var out string
			out, stopped = s.push(text[:n])
			got, text = got+out, text[n:]
		}
		out, late := s.flush()
		if got += out; (stopped || late) != found || len(got) != want {
			t.Errorf("gives %q, stopped: %t; want %d bytes, stopped: %t", got, stopped || late, want, found)
		}
	})
}
