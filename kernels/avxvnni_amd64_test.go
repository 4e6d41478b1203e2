package kernels

import (
	"bytes"
	"math/rand"
	"slices"
	"testing"
	"unsafe"

	"golang.org/x/sys/cpu"
)

// mulEVEX is mulVNNI with the EVEX form of VPDPBUSD.
func mulEVEX(dst []float32, p panel, g group) {
	switch {
	case g.rows > 1:
		clear(dst)
		var work tileWork
		addRowsEVEX(&dst[0], &p.codes[0], len(p.codes)/g.blocks, &p.scales[0], &g.codes[0], &g.scales[0], &g.starts[0],
			g.blocks, g.rows, &work)
	case p.format == NF4:
		nf4RowEVEX(&dst[0], &p.codes[0], &p.scales[0], &g.codes[0], &g.scales[0], &g.starts[0], g.blocks)
	default:
		int8RowEVEX(&dst[0], &p.codes[0], &p.scales[0], &g.codes[0], &g.scales[0], &g.starts[0], g.blocks)
	}
}

// The functions for AVX-VNNI, in the form that AVX-512's VNNI knows, give the bits of plain Go for every number of rows.
func TestVNNI_EqualsPlainGo(t *testing.T) {
	if x := &cpu.X86; !x.HasAVX512VL || !x.HasAVX512VNNI {
		t.Skip("this machine lacks AVX512VL or AVX512VNNI")
	}
	rng := rand.New(rand.NewSource(1))
	for _, format := range []Format{NF4, Int8} {
		for _, blocks := range []int{1, 2, 8, 9, 17} {
			k := blocks * Block
			for _, kind := range kinds() {
				size, at := format.MatrixSize(PanelRows, k)
				data := make([]byte, size)
				if err := PackMatrix(format, storable(sample(rng, kind, PanelRows*k)), PanelRows, k, data[:at], data[at:]); err != nil {
					t.Fatal(err)
				}
				p := panel{format: format, codes: data[:at], scales: data[at:]}
				for rows := 1; rows <= avx2Tile; rows++ {
					var a activations
					a.reset(rows, k, avx2Tile)
					for i := range rows {
						quantiseRow(&a, i, sample(rng, kinds()[(i+rows)%len(kinds())], k))
					}
					got, want := make([]float32, rows*PanelRows), make([]float32, rows*PanelRows)
					mulEVEX(got, p, a.group(0))
					mulPanel(want, p, a.group(0))
					sameBits(t, kind, got, want)
				}
			}
		}
	}
}

// operands are the registers of a VPDPBUSD on 256 bits: sum += weights * activations.
type operands struct{ sum, weights, activations byte }

// The bytes of the VEX form are those of the instruction: as many and with the same registers, in the same order, as the
// assembler's own EVEX form in the same text.
func TestVNNI_EncodesTheInstruction(t *testing.T) {
	vex, evex := codeOfVNNI()
	for i, least := range []int{32, 32, 168} {
		got, want := findVEX(code(vex[i])), findEVEX(code(evex[i]))
		if len(want) < least {
			t.Fatalf("function %d: found %d instructions in EVEX form, want %d or more", i, len(want), least)
		}
		if !slices.Equal(got, want) {
			t.Errorf("function %d: VEX form has %v, want %v", i, got, want)
		}
	}
}

// code gives a function's code up to its last instruction but the return's, VZEROUPPER.
func code(at uintptr) []byte {
	const most = 1 << 14
	all := unsafe.Slice(*(**byte)(unsafe.Pointer(&at)), most)
	return all[:bytes.Index(all, []byte{0xC5, 0xF8, 0x77})]
}

// findVEX finds VPDPBUSD ymm, ymm, ymm in VEX form: C4, [R X B mmmmm] with map 2, [W vvvv L pp] with W = 0, L = 1 and
// pp = 1, 50, ModRM with mod = 3. R, X, B and vvvv are stored inverted.
func findVEX(code []byte) []operands {
	var found []operands
	for i := range len(code) - 4 {
		c := code[i : i+5]
		if c[0] != 0xC4 || c[1]&0x5F != 0x42 || c[2]&0x87 != 0x05 || c[3] != 0x50 || c[4]>>6 != 3 {
			continue
		}
		found = append(found, operands{
			sum:         c[4]>>3&7 | ^c[1]>>7<<3&8,
			weights:     ^c[2] >> 3 & 15,
			activations: c[4]&7 | ^c[1]>>5<<3&8,
		})
	}
	return found
}

// findEVEX finds it in EVEX form, without mask: 62, [R X B R' 0 mmm] with map 2, [W vvvv 1 pp] with W = 0 and pp = 1,
// [z L'L b V' aaa] with L'L = 1, 50, ModRM.
func findEVEX(code []byte) []operands {
	var found []operands
	for i := range len(code) - 5 {
		c := code[i : i+6]
		if c[0] != 0x62 || c[1]&0x5F != 0x52 || c[2]&0x87 != 0x05 || c[3] != 0x28 || c[4] != 0x50 || c[5]>>6 != 3 {
			continue
		}
		found = append(found, operands{
			sum:         c[5]>>3&7 | ^c[1]>>7<<3&8,
			weights:     ^c[2] >> 3 & 15,
			activations: c[5]&7 | ^c[1]>>5<<3&8,
		})
	}
	return found
}
