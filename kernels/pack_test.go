package kernels

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand"
	"strings"
	"testing"
)

func TestPackMatrix_CodesFollowTheDefinition(t *testing.T) {
	rng := rand.New(rand.NewSource(13))
	borders := []float32{-0.8480964004993439, -0.6106329262256622, -0.4599952697753906, -0.33967943489551544, -0.23460740596055984,
		-0.13791173323988914, -0.045525018125772476, 0.03979014977812767, 0.1202552504837513, 0.2035212516784668, 0.2920137718319893,
		0.3893125355243683, 0.5016634166240692, 0.6427869200706482, 0.8614784181118011}
	levels := []int{-127, -88, -67, -50, -36, -23, -12, 0, 10, 20, 31, 43, 56, 71, 92, 127}
	const rows, k = 21, 192
	for _, kind := range kinds() {
		w := storable(sample(rng, kind, rows*k))
		for i, b := range borders { // a block whose numbers lie on the borders and beside them
			w[3*i], w[3*i+1], w[3*i+2] = b, math.Nextafter32(b, 2), math.Nextafter32(b, -2)
		}
		w[63] = -1
		m4, m8 := pack(t, NF4, w, rows, k), pack(t, Int8, w, rows, k)
		for i := 0; i < rows*k; i += 64 {
			absmax := float32(0)
			for _, v := range w[i : i+64] {
				absmax = max(absmax, float32(math.Abs(float64(v))))
			}
			zero := absmax < 0x1p-60
			scale4, scale8 := refHalf(nearestHalf(absmax)), refHalf(max(nearestHalf(absmax/127), 1))
			if zero {
				scale4, scale8 = 0, 0
			}
			for j, v := range w[i : i+64] {
				level, q := 0, 0.0
				for _, b := range borders {
					if float32(v*float32(1/absmax)) > b {
						level++
					}
				}
				q = min(max(math.RoundToEven(float64(v/scale8)), -127), 127)
				if zero {
					level, q = 7, 0
				}
				got4, s4 := refWeight(m4, i/k, i%k+j)
				got8, s8 := refWeight(m8, i/k, i%k+j)
				if got4 != levels[level] || s4 != float32(scale4*inv127) {
					t.Fatalf("%s: nf4 of %v/%v is %d with %v, want %d with %v", kind, v, absmax, got4, s4, levels[level], scale4)
				}
				if float64(got8) != q || s8 != scale8 {
					t.Fatalf("%s: int8 of %v/%v is %d with %v, want %v with %v", kind, v, absmax, got8, s8, q, scale8)
				}
			}
		}
	}
}

func TestUnpackMatrix_GivesTheExactMeaning(t *testing.T) {
	rng := rand.New(rand.NewSource(14))
	const rows, k = 37, 128
	w := sample(rng, "normal", rows*k)
	for _, f := range []Format{NF4, Int8, F16, BF16} {
		m := pack(t, f, w, rows, k)
		all, part := make([]float32, rows*k), make([]float32, 3*k)
		UnpackMatrix(all, m, 0, rows)
		UnpackMatrix(part, m, 15, 3)
		sameBits(t, "a part", part, all[15*k:18*k])
		for i, got := range all {
			var want float32
			switch f {
			case F16:
				want = refHalf(nearestHalf(w[i]))
			case BF16:
				want = BFloat16to32(BFloat16(w[i]))
			default:
				q, s := refWeight(m, i/k, i%k)
				want = float32(q) * s
			}
			sameBits(t, fmt.Sprintf("%v weight %d", f, i), []float32{got}, []float32{want})
		}
	}
}

func TestPack_RelativeErrors(t *testing.T) {
	rng := rand.New(rand.NewSource(15))
	const rows, k = 64, 1024
	w, got := sample(rng, "normal", rows*k), make([]float32, rows*k)
	for f, limit := range map[Format]float64{NF4: 0.094, Int8: 0.0075, F16: 3e-4, BF16: 2.2e-3} {
		UnpackMatrix(got, pack(t, f, w, rows, k), 0, rows)
		num, den := 0.0, 0.0
		for i, v := range w {
			num += math.Pow(float64(v-got[i]), 2)
			den += math.Pow(float64(v), 2)
		}
		if e := math.Sqrt(num / den); e > limit || e < limit/3 {
			t.Errorf("%v: relative error %.5f, want at most %v", f, e, limit)
		}
	}
}

func TestPackMatrix_InRunsOfPanels(t *testing.T) {
	rng := rand.New(rand.NewSource(16))
	const rows, k = 53, 128
	w := sample(rng, "normal", rows*k)
	for _, f := range []Format{NF4, Int8, BF16} {
		whole := pack(t, f, w, rows, k)
		_, at := f.MatrixSize(rows, k)
		codes, scales := []byte{}, []byte{}
		for from := 0; from < rows; from += 32 {
			n := min(32, rows-from)
			size, run := f.MatrixSize(n, k)
			c, s := make([]byte, run), make([]byte, size-run)
			if err := PackMatrix(f, w[from*k:][:n*k], n, k, c, s); err != nil {
				t.Fatal(err)
			}
			codes, scales = append(codes, c...), append(scales, s...)
		}
		if string(codes) != string(whole.Data[:at]) || string(scales) != string(whole.Data[at:]) {
			t.Errorf("%v: runs differ from the whole", f)
		}
		if err := CheckMatrix(whole); err != nil {
			t.Errorf("%v: %v", f, err)
		}
	}
}

func TestPackTable_GivesWhatEmbedReads(t *testing.T) {
	rng := rand.New(rand.NewSource(17))
	c := newTestCPU(t, generic(), 2)
	const rows, k = 7, 192 // codes end at 1344, a multiple of 64
	w := storable(sample(rng, "wide", rows*k))
	for _, f := range []Format{Int8, F16, BF16} {
		size, at := f.TableSize(rows, k)
		table := Table{Rows: rows, K: k, Format: f, Data: make([]byte, size)}
		codes := rows * k
		if f != Int8 {
			codes = int(size)
		}
		if err := PackTable(f, w, rows, k, table.Data[:codes], table.Data[at:]); err != nil {
			t.Fatal(err)
		}
		if err := CheckTable(table); err != nil {
			t.Fatal(err)
		}
		want := make([]float32, rows*k)
		UnpackMatrix(want, pack(t, f, w, rows, k), 0, rows) // the same meaning in another layout
		weights, err := c.Table(table)
		if err != nil {
			t.Fatal(err)
		}
		if weights.Bytes() != 0 {
			t.Errorf("a table takes %d bytes beside its stored form", weights.Bytes())
		}
		dst := fill(t, c, make([]float32, 3*k), k)
		c.Embed(dst, weights, []uint32{6, 0, 3})
		got := read(c, dst, 3)
		sameBits(t, f.String(), got, append(append(append([]float32(nil), want[6*k:]...), want[:k]...), want[3*k:4*k]...))
	}
}

func TestPack_RefusesWhatItCannotStore(t *testing.T) {
	const rows, k = 3, 128
	for _, c := range []struct {
		f    Format
		bad  float64
		want string
	}{
		{NF4, math.NaN(), "pack row 1 as nf4: block 1 holds a number that is not finite"},
		{NF4, 65520, "pack row 1 as nf4: block 1 holds 65520, too large for its scale"},
		{Int8, math.Inf(-1), "pack row 1 as int8: block 1 holds a number that is not finite"},
		{Int8, -9e6, "pack row 1 as int8: block 1 holds 9e+06, too large for its scale"},
		{F16, 65520, "pack row 1 as f16: column 70 is 65520"},
		{F16, math.NaN(), "pack row 1 as f16: column 70 is NaN"},
		{BF16, math.MaxFloat32, "pack row 1 as bf16: column 70 is 3.4028235e+38"},
		{BF16, math.Inf(1), "pack row 1 as bf16: column 70 is +Inf"},
	} {
		w := make([]float32, rows*k)
		w[k+70] = float32(c.bad)
		size, at := c.f.MatrixSize(rows, k)
		data := make([]byte, size)
		if err := PackMatrix(c.f, w, rows, k, data[:at], data[at:]); err == nil || err.Error() != c.want {
			t.Errorf("PackMatrix of %v: got %v, want %q", c.bad, err, c.want)
		}
		if c.f == NF4 {
			continue
		}
		codes, scales := make([]byte, 2*rows*k), []byte(nil)
		if c.f == Int8 {
			codes, scales = codes[:rows*k], make([]byte, rows*k/Block*2)
		}
		if err := PackTable(c.f, w, rows, k, codes, scales); err == nil || err.Error() != c.want {
			t.Errorf("PackTable of %v: got %v, want %q", c.bad, err, c.want)
		}
	}
}

func TestPack_PanicsOnLengthsThatDoNotFit(t *testing.T) {
	for name, call := range map[string]func(){
		"short codes":      func() { _ = PackMatrix(Int8, make([]float32, 64), 1, 64, make([]byte, 1023), make([]byte, 32)) },
		"scales of f16":    func() { _ = PackMatrix(F16, make([]float32, 64), 1, 64, make([]byte, 128), make([]byte, 2)) },
		"part of a block":  func() { _ = PackMatrix(NF4, make([]float32, 65), 1, 65, make([]byte, 512), make([]byte, 32)) },
		"f32":              func() { _ = PackMatrix(F32, make([]float32, 64), 1, 64, make([]byte, 256), nil) },
		"nf4 table":        func() { _ = PackTable(NF4, make([]float32, 64), 1, 64, make([]byte, 128), nil) },
		"fewer weights":    func() { _ = PackTable(Int8, make([]float32, 63), 1, 64, make([]byte, 64), make([]byte, 2)) },
		"unpack too many":  func() { UnpackMatrix(make([]float32, 128), Matrix{1, 64, F16, make([]byte, 128)}, 0, 2) },
		"unpack elsewhere": func() { UnpackTable(make([]float32, 64), Table{1, 64, F16, make([]byte, 128)}, 1, 1) },
	} {
		t.Run(name, func(t *testing.T) { mustPanic(t, call) })
	}
}

// mustPanic fails unless call panics in this package's name.
func mustPanic(t *testing.T, call func()) {
	t.Helper()
	defer func() {
		t.Helper()
		if s, ok := recover().(string); !ok || !strings.HasPrefix(s, "kernels: ") {
			t.Errorf("panicked with %q, want one that begins with kernels:", s)
		}
	}()
	call()
}

func TestCheckMatrix_FindsEachFault(t *testing.T) {
	const rows, k = 17, 128
	w := make([]float32, rows*k)
	for i := range w {
		w[i] = float32(i%13) - 6
	}
	_, at8 := Int8.MatrixSize(rows, k)
	_, at4 := NF4.MatrixSize(rows, k)
	second8, second4 := int(at8)/2, int(at4)/2 // the second panel: row 16, then padding
	put := func(at int, h uint16) func([]byte) {
		return func(b []byte) { binary.LittleEndian.PutUint16(b[at:], h) }
	}
	set := func(at int, v byte) func([]byte) { return func(b []byte) { b[at] = v } }
	for name, c := range map[string]struct {
		f     Format
		spoil func([]byte)
		want  string // "" where it is in order
	}{
		"nf4 in order":      {NF4, func([]byte) {}, ""},
		"int8 in order":     {Int8, func([]byte) {}, ""},
		"infinite scale":    {NF4, put(int(at4)+2*5, 0x7C00), "a scale of row 5 is negative or not finite (bits 7c00)"},
		"negative scale":    {Int8, put(int(at8)+2*(16+3), 0x9000), "a scale of row 3 is negative or not finite (bits 9000)"},
		"NaN scale":         {Int8, put(int(at8)+2*32, 0x7E01), "a scale of row 16 "},
		"scale of padding":  {NF4, put(int(at4)+2*(32+1), 1), "padding row 17 has a scale"},
		"int8 -128":         {Int8, set(4*9+2, 0), "an int8 code of row 9 is -128"},
		"int8 -128 later":   {Int8, set(second8+1, 0), "an int8 code of row 16 is -128"},
		"int8 padding":      {Int8, set(second8+64*7+4*15, 0x81), "padding row 31 holds a code"},
		"int8 any code":     {Int8, set(second8+64*7+3, 0xFF), ""},
		"nf4 padding":       {NF4, set(second4+512+64*7+4*2, 0x78), "padding row 18 holds a code"},
		"nf4 any code":      {NF4, set(second4, 0xF0), ""},
		"f16 infinity":      {F16, put(2*(3*k+1), 0xFC00), "row 3 holds a number that is not finite"},
		"bf16 NaN":          {BF16, put(2*16*k, 0x7F81), "row 16 holds a number that is not finite"},
		"bf16 large number": {BF16, put(2*16*k, 0x7F7F), ""},
	} {
		t.Run(name, func(t *testing.T) {
			m := pack(t, c.f, w, rows, k)
			c.spoil(m.Data)
			err := CheckMatrix(m)
			if (err == nil) != (c.want == "") || (err != nil && !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestCheck_RefusesShapesAndLengths(t *testing.T) {
	table := func(f Format, rows, k, n int) error {
		return CheckTable(Table{Rows: rows, K: k, Format: f, Data: make([]byte, n)})
	}
	matrix := func(f Format, rows, k, n int) error {
		return CheckMatrix(Matrix{Rows: rows, K: k, Format: f, Data: make([]byte, n)})
	}
	spoilt := func(at int, v byte) error {
		b := make([]byte, 64+2)
		b[at] = v
		return CheckTable(Table{Rows: 1, K: 64, Format: Int8, Data: b})
	}
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"f32 matrix":       {matrix(F32, 1, 64, 256), "format f32"},
		"unknown format":   {matrix(99, 1, 64, 256), "format format(99)"},
		"short":            {matrix(F16, 2, 64, 255), "has 255 bytes: want 256"},
		"no rows":          {matrix(F16, 0, 64, 0), "out of range"},
		"overflow":         {matrix(F16, 1<<30, 1<<30, 0), "out of range"},
		"part of a block":  {matrix(NF4, 1, 65, 600), "multiple of 64"},
		"nf4 table":        {table(NF4, 1, 64, 544), "format nf4"},
		"table in order":   {table(Int8, 3, 64, 192+6), ""},
		"bf16 table":       {table(BF16, 3, 5, 30), ""},
		"long table":       {table(Int8, 3, 64, 192+7), "has 199 bytes: want 198"},
		"table code -128":  {spoilt(7, 0x80), "an int8 code of row 0 is -128"},
		"table scale":      {spoilt(65, 0x80), "a scale of row 0 is negative"},
		"empty gain":       {CheckGain(nil), "0 bytes"},
		"odd gain":         {CheckGain(make([]byte, 6)), "6 bytes"},
		"infinite gain":    {CheckGain([]byte{0, 0, 0, 0, 0, 0, 0x80, 0xFF}), "number 1 is -Inf"},
		"gain in order":    {CheckGain([]byte{0, 0, 0x80, 0xBF}), ""},
		"negative columns": {table(F16, 1, -1, 0), "out of range"},
	} {
		t.Run(name, func(t *testing.T) {
			if (c.err == nil) != (c.want == "") || (c.err != nil && !strings.Contains(c.err.Error(), c.want)) {
				t.Errorf("got %v, want %q", c.err, c.want)
			}
		})
	}
}

// FuzzCheckMatrix takes whatever shape and bytes a stranger may send: what the check accepts can be multiplied with,
// gives finite numbers, and nothing panics.
func FuzzCheckMatrix(f *testing.F) {
	good := func(format Format, rows int) []byte {
		w := make([]float32, rows*64)
		for i := range w {
			w[i] = float32(i%9) - 4
		}
		size, at := format.MatrixSize(rows, 64)
		data := make([]byte, size)
		if err := PackMatrix(format, w, rows, 64, data[:at], data[at:]); err != nil {
			f.Fatal(err)
		}
		return data
	}
	for format := F16; format <= NF4; format++ {
		f.Add(uint8(format), 3, 64, good(format, 3))
		f.Add(uint8(format), 16, 64, good(format, 16))
	}
	f.Add(uint8(Int8), math.MaxInt, 64, []byte{1})
	f.Add(uint8(NF4), 16, -64, []byte{})
	f.Add(uint8(0), 1, 1, []byte{})
	f.Fuzz(func(t *testing.T, format uint8, rows, k int, data []byte) {
		m := Matrix{Rows: rows, K: k, Format: Format(format), Data: data}
		_ = CheckTable(Table(m))
		if CheckMatrix(m) != nil {
			return
		}
		c := NewCPU(1)
		x := make([]float32, k)
		for i := range x {
			x[i] = float32(i%5) - 2
		}
		for i, y := range multiply(t, c, m, x) {
			if m.Format == Int8 && notFinite(y) || m.Format == NF4 && notFinite(y) {
				t.Errorf("output %d is %v", i, y)
			}
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
}
