package checkpoint

import (
	"bytes"
	"encoding/json"
	"hash/crc32"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// openFixture reads a file that torch itself wrote (testdata/make_fixtures.py).
func openFixture(t *testing.T, name string) (map[string]*tensor, error) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	tensors, err := openTorch(bytes.NewReader(data), name, int64(len(data)))
	byName := map[string]*tensor{}
	for _, x := range tensors {
		byName[x.Name] = x
	}
	return byName, err
}

func TestOpenTorch_ReadsEveryViewThatTorchWrites(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("testdata", "torch-odd.json"))
	if err != nil {
		t.Fatal(err)
	}
	var want map[string]struct {
		Shape []int
		Bits  []string
	}
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	got, err := openFixture(t, "torch-odd.bin")
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(want)+1 { // and "bytes"
		t.Errorf("%d tensors, not %d", len(got), len(want)+1)
	}
	for name, w := range want {
		values := make([]float32, len(w.Bits))
		err := got[name].read(0, values, make([]byte, chunkBytes))
		if name == "strided" {
			if err == nil || !strings.Contains(err.Error(), "strides [16 2]") {
				t.Errorf("strided: %v", err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for i, bits := range w.Bits {
			if b, err := strconv.ParseUint(bits, 16, 32); err != nil || uint32(b) != math.Float32bits(values[i]) {
				t.Errorf("%s: element %d is %08x, not %s", name, i, math.Float32bits(values[i]), bits)
			}
		}
	}
	if err := got["bytes"].read(0, make([]float32, 4), make([]byte, 64)); err == nil || !strings.Contains(err.Error(), "type U8") {
		t.Errorf("bytes: %v", err)
	}
}

func TestOpenTorch_ReadsRowsOfEveryView(t *testing.T) {
	got, err := openFixture(t, "torch-odd.bin")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"f32", "f16", "bf16", "transposed", "shared.rows", "shared.columns", "expanded"} {
		x := got[name]
		rows, cols := x.Shape[0], x.Shape[1]
		whole := make([]float32, rows*cols)
		if err := x.read(0, whole, make([]byte, chunkBytes)); err != nil {
			t.Fatal(err)
		}
		for row := rows - 1; row >= 0; row-- {
			part := make([]float32, cols*min(2, rows-row))
			if err := x.read(row, part, make([]byte, 8)); err != nil { // chunks of two elements
				t.Fatal(err)
			}
			for i, v := range part {
				if v != whole[row*cols+i] {
					t.Errorf("%s: row %d differs at %d", name, row, i)
				}
			}
		}
	}
}

func TestOpenTorch_RefusesWhatTorchWritesOtherwise(t *testing.T) {
	for name, want := range map[string]string{
		"torch-legacy.bin":    "before version 1.6",
		"torch-nested.bin":    `entry "state_dict" is a dictionary`,
		"torch-list.bin":      "a list was saved",
		"torch-tensor.bin":    "a tensor was saved",
		"torch-long.bin":      `tensor "a.weight": pickle at byte`,
		"torch-protocol4.bin": "protocol 4",
		"torch-object.bin":    `global "__main__.Foreign"`,
	} {
		if _, err := openFixture(t, name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, not %q", name, err, want)
		}
	}
	if _, err := openFixture(t, "torch-plain.bin"); err != nil {
		t.Errorf("torch-plain.bin: %v", err)
	}
}

// counter counts the bytes read through it.
type counter struct {
	io.ReaderAt
	bytes int
}

func (c *counter) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.ReaderAt.ReadAt(p, off)
	c.bytes += n
	return n, err
}

func TestBlob_ChecksEveryByteOnce(t *testing.T) {
	const size = 3*chunkBytes + 5
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(i * i)
	}
	sum := crc32.ChecksumIEEE(data)
	for _, test := range []struct {
		name  string
		reads []int64 // of 1000 bytes
		most  int
	}{
		{"nothing read", nil, size},
		{"from the middle", []int64{5000}, size + 1000},
		{"backwards", []int64{5000, 4000, 3000}, size + 3000},
		{"in order", []int64{0, 1000, 2000}, size},
		{"twice the same", []int64{0, 1000, 1000}, size + 1000},
	} {
		for _, damage := range []bool{false, true} {
			file := &counter{ReaderAt: bytes.NewReader(data)}
			b := &blob{file: file, size: size, hasCRC: true, crc: sum}
			if damage {
				b.crc ^= 1
			}
			var err error
			for _, at := range test.reads {
				if e := b.readAt(make([]byte, 1000), at); err == nil {
					err = e
				}
			}
			if e := b.finish(); err == nil {
				err = e
			}
			if (err != nil) != damage {
				t.Errorf("%s, damage %t: %v", test.name, damage, err)
			}
			if file.bytes > test.most {
				t.Errorf("%s: %d bytes read, at most %d needed", test.name, file.bytes, test.most)
			}
		}
	}
}

func TestWiden_ConvertsEveryHalfExactly(t *testing.T) {
	for h := range 1 << 16 {
		got := half(uint16(h))
		exponent, mantissa := h>>10&31, float64(h&1023)
		want := math.Ldexp(1024+mantissa, exponent-25)
		switch exponent {
		case 0:
			want = math.Ldexp(mantissa, -24)
		case 31:
			want = math.Inf(1)
			if mantissa != 0 {
				want = math.NaN()
			}
		}
		if h>>15 == 1 {
			want = -want
		}
		if float64(got) != want && !(math.IsNaN(want) && got != got) || math.Signbit(float64(got)) != (h>>15 == 1) {
			t.Fatalf("%04x is %g, not %g", h, got, want)
		}
	}
}
