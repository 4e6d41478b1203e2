package terminal

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/rivo/uniseg"
)

// Plain gives a character of a stranger's text as it may be shown: what would command the terminal, or have it show the
// text in another order than it is written, is replaced.
func Plain(r rune) rune {
	switch {
	case r == '\n' || r == '\t':
		return r
	case unicode.IsControl(r), // ESC, CSI, ...
		r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069, // embeddings, overrides and isolates of direction
		r == 0x2028, r == 0x2029, // separators, which some take for line feeds
		r >= 0xfff9 && r <= 0xfffb: // interlinear annotations
		return unicode.ReplacementChar
	}
	return r
}

// Printable is [Plain] of a text. What is not UTF-8 becomes replacement characters as well.
func Printable(text string) string { return strings.Map(Plain, text) }

// pasted is how a text from a paste goes into a message.
func pasted(text string) string {
	return Printable(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text))
}

// shape is how a character (a grapheme cluster) is written on the screen. Terminals differ in how far the cursor goes for
// some of them: those are unsure, and the cursor is put where it should be after them.
func shape(cluster string) (text string, width int, unsure bool) {
	if cluster == "\t" {
		return strings.Repeat(" ", tabWidth), tabWidth, false
	}
	r, size := utf8.DecodeRuneInString(cluster)
	alone := size == len(cluster)
	switch {
	case alone && (unicode.IsControl(r) || Plain(r) != r):
		return string(unicode.ReplacementChar), 1, true
	case alone && r < utf8.RuneSelf:
		return cluster, 1, false
	}
	text, width = Printable(cluster), uniseg.StringWidth(cluster)
	if width == 0 { // a mark without anything to mark
		return "\u25cc" + text, 1, true
	}
	return text, width, !alone || width != 2 || r > 0xffff
}

// textWidth is the columns that a line of text takes.
func textWidth(line string) (width int) {
	for cluster := range clusters(line) {
		_, w, _ := shape(cluster)
		width += w
	}
	return width
}

// clusters gives a text's characters, one after the other.
func clusters(text string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		state := -1
		for text != "" {
			var cluster string
			cluster, text, _, state = uniseg.FirstGraphemeClusterInString(text, state)
			if !yield(cluster) {
				return
			}
		}
	}
}

// cut shortens a line to a width, and says by dots that it did.
func cut(line string, width int) string {
	if textWidth(line) <= width {
		return line
	}
	var b strings.Builder
	left := width - 1
	for cluster := range clusters(line) {
		text, w, _ := shape(cluster)
		if w > left {
			break
		}
		left -= w
		b.WriteString(text)
	}
	if width < 1 {
		return ""
	}
	return b.String() + "…"
}

// breakWords breaks a line at blanks, so that each piece fits into a width if its words do. What goes on below is indented
// as the line is.
func breakWords(line string, width int) (lines []string) {
	indent := line[:len(line)-len(strings.TrimLeft(line, " "))]
	var now string
	for _, word := range strings.SplitAfter(line, " ") {
		if strings.TrimSpace(now) != "" && textWidth(now+strings.TrimRight(word, " ")) > width {
			lines = append(lines, strings.TrimRight(now, " "))
			now = indent
		}
		now += word
	}
	return append(lines, now)
}
