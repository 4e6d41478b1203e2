package kernels

import (
	"encoding/binary"
	"math"
	"math/rand"
	"strings"
	"testing"
)

// refRound is rule 5 for one row.
func refRound(x []float32) (y []float32, half []byte, exp int) {
	absmax := 0.0
	for _, v := range x {
		absmax = max(absmax, math.Abs(float64(v)))
	}
	for absmax > 32768*math.Ldexp(1, exp) {
		exp++
	}
	for _, v := range x {
		h := nearestHalf(float32(v * float32(math.Ldexp(1, -exp))))
		half = binary.LittleEndian.AppendUint16(half, h)
		y = append(y, refHalf(h)*float32(math.Ldexp(1, exp)))
	}
	return y, half, exp
}

func TestRound_EqualsItsDefinitionAndIsCanonical(t *testing.T) {
	everySet(t, func(t *testing.T, s *set) {
		rng := rand.New(rand.NewSource(5))
		c := newTestCPU(t, s, 3)
		var rows Rows
		const width = 70
		for _, top := range []float32{0, 0x1p-30, 1, 32767.9, 32768, 32768.004, 32784, 65504, 65536, 65537, 1e6, 0x1p39, 0x1.fffffep38} {
			x := sample(rng, "normal", 3*width)
			for i := range x {
				x[i] = min(max(x[i]*top/4, -top), top)
			}
			x[width+5], x[2*width+6] = -top, top
			b := fill(t, c, x, width)
			c.Round(&rows, b, 3, 4)
			noFaults(t, c, 3)
			if err := rows.CheckCanonical(); err != nil {
				t.Fatalf("absmax %v: %v", top, err)
			}
			got := read(c, b, 3)
			for i := range 3 {
				y, half, exp := refRound(x[i*width:][:width])
				sameBits(t, "rounded", got[i*width:][:width], y)
				if string(rows.Half[2*i*width:][:2*width]) != string(half) || int(rows.Exp[i]) != exp {
					t.Fatalf("absmax %v: row %d has exponent %d and other halves, want %d", top, i, rows.Exp[i], exp)
				}
			}
			wide := fill(t, c, make([]float32, 3*width), width)
			c.Widen(wide, rows)
			sameBits(t, "widened", read(c, wide, 3), got)
			c.Round(nil, b, 3, 4)
			sameBits(t, "rounded again", read(c, b, 3), got)
		}
	})
}

func TestRound_FaultsOneRowAndUsesMemoryAgain(t *testing.T) {
	everySet(t, func(t *testing.T, s *set) {
		c := newTestCPU(t, s, 2)
		x := []float32{1, 2, float32(math.NaN()), 3, 0x1.000002p39, 0, 5, 6}
		b := fill(t, c, x, 2)
		rows := Rows{Half: make([]byte, 0, 64), Exp: make([]uint8, 0, 8)}
		mem := &rows.Half[:1][0]
		c.Round(&rows, b, 4, 11)
		if rows.N != 4 || rows.Width != 2 || &rows.Half[0] != mem {
			t.Errorf("rows are %d of %d, in the same memory: %v", rows.N, rows.Width, &rows.Half[0] == mem)
		}
		faults := make([]Place, 4)
		c.Faults(faults)
		if want := [4]Place{0, 11, 11, 0}; [4]Place(faults) != want {
			t.Errorf("faults %v, want %v", faults, want)
		}
		sameBits(t, "rows", read(c, b, 4), []float32{1, 2, 0, 0, 0, 0, 5, 6})
		if err := rows.CheckCanonical(); err != nil {
			t.Error(err)
		}
	})
}

func TestCheckCanonical(t *testing.T) {
	row := func(exp uint8, halves ...uint16) Rows {
		r := Rows{N: 1, Width: len(halves), Exp: []uint8{exp}}
		for _, h := range halves {
			r.Half = binary.LittleEndian.AppendUint16(r.Half, h)
		}
		return r
	}
	for name, c := range map[string]struct {
		rows Rows
		want string // "" where it is in order
	}{
		"zeros":                {row(0, 0, 0x8000), ""},
		"largest":              {row(0, 0xF800, 0), ""},
		"scaled":               {row(24, 0x7400, 0x0001), ""},
		"no rows":              {Rows{Width: 4}, ""},
		"above 32768":          {row(0, 0x7801), "row 0 holds a magnitude above 32768"},
		"infinity":             {row(0, 0, 0xFC00), "row 0 holds a number that is not finite"},
		"NaN":                  {row(3, 0x7E00), "not finite"},
		"scaled for nothing":   {row(1, 0x73FF, 0xF3FF), "exponent 1 but no magnitude of 16384"},
		"exponent too large":   {row(25, 0x7400), "exponent 25"},
		"half a number":        {Rows{N: 1, Width: 1, Exp: []uint8{0}, Half: make([]byte, 1)}, "are not 1 rows"},
		"too few exponents":    {Rows{N: 2, Width: 1, Exp: []uint8{0}, Half: make([]byte, 4)}, "are not 2 rows"},
		"width that overflows": {Rows{N: 4, Width: math.MaxInt, Exp: make([]uint8, 4)}, "out of range"},
		"no width":             {Rows{N: 0, Width: 0}, "out of range"},
		"negative":             {Rows{N: -1, Width: 1}, "out of range"},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.rows.CheckCanonical()
			if (err == nil) != (c.want == "") || (err != nil && !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// FuzzCheckCanonical holds the check against the definition: what it accepts is what rounding its own meaning gives.
func FuzzCheckCanonical(f *testing.F) {
	f.Add(uint8(0), uint8(2), []byte{0, 0x78, 1, 0})
	f.Add(uint8(1), uint8(1), []byte{0, 0x74})
	f.Add(uint8(1), uint8(2), []byte{0xFF, 0x73, 0, 0})
	f.Add(uint8(24), uint8(1), []byte{0, 0x78})
	f.Add(uint8(0), uint8(1), []byte{0, 0x7C})
	f.Fuzz(func(t *testing.T, exp, width uint8, half []byte) {
		r := Rows{N: 1, Width: int(width), Exp: []uint8{exp}, Half: half}
		if r.CheckCanonical() != nil {
			return
		}
		x := make([]float32, r.Width)
		widenRow(x, half, exp)
		again := make([]byte, len(half))
		e, ok := roundRow(again, x)
		// A row of exactly 16384 comes from rounding something a little larger down: its meaning has exponent e-1.
		if ok && e+1 == exp && maxAbsHalf(half) == halfLeast {
			return
		}
		if !ok || e != exp || string(again) != string(half) {
			t.Errorf("exponent %d, halves %x: accepted, but rounding gives %d, %x (%v)", exp, half, e, again, ok)
		}
	})
}
