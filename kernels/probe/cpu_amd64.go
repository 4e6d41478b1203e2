package probe

import (
	"bytes"
	"encoding/binary"
	"strings"
)

// nativeCPU reads the processor's name from itself: 48 bytes in three answers.
func nativeCPU() string {
	const most, first, last = 0x80000000, 0x80000002, 0x80000004
	if highest, _, _, _ := cpuid(most); highest < last {
		return ""
	}
	var name []byte
	for leaf := uint32(first); leaf <= last; leaf++ {
		a, b, c, d := cpuid(leaf)
		for _, word := range []uint32{a, b, c, d} {
			name = binary.LittleEndian.AppendUint32(name, word)
		}
	}
	text, _, _ := bytes.Cut(name, []byte{0})
	return strings.Join(strings.Fields(string(text)), " ")
}
