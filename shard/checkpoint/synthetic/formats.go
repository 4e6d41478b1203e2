package synthetic

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// writeSafetensors writes header and data as the reference's save_safetensors does, byte for byte.
func writeSafetensors(w io.Writer, s Spec, tensors []tensor) error {
	header := []byte("{")
	at := 0
	for i, t := range tensors {
		if i > 0 {
			header = append(header, ", "...)
		}
		shape := strings.Trim(strings.ReplaceAll(fmt.Sprint(t.shape), " ", ", "), "[]")
		end := at + t.elements()*s.DType.Size()
		header = fmt.Appendf(header, `%q: {"dtype": %q, "shape": [%s], "data_offsets": [%d, %d]}`, t.name, s.DType, shape, at, end)
		at = end
	}
	header = append(header, '}')
	header = append(header, bytes.Repeat([]byte(" "), -len(header)&7)...)
	if err := binary.Write(w, binary.LittleEndian, uint64(len(header))); err != nil {
		return err
	}
	if _, err := w.Write(header); err != nil {
		return err
	}
	for _, t := range tensors {
		if err := t.writeTo(w, s.Seed, s.DType); err != nil {
			return err
		}
	}
	return nil
}

// writeTorch writes what torch.save makes of an ordered dictionary of tensors: a zip of stored members, data.pkl with
// the dictionary and data/0, data/1, ... with the storages.
func writeTorch(w io.Writer, s Spec, tensors []tensor) error {
	z := zip.NewWriter(w)
	member := func(name string) (io.Writer, error) {
		return z.CreateHeader(&zip.FileHeader{Name: "archive/" + name, Method: zip.Store})
	}
	for _, m := range []struct {
		name string
		data []byte
	}{
		{"data.pkl", statePickle(s.DType, tensors)},
		{"byteorder", []byte("little")},
		{"version", []byte("3\n")},
	} {
		out, err := member(m.name)
		if err != nil {
			return err
		}
		if _, err := out.Write(m.data); err != nil {
			return err
		}
	}
	for i, t := range tensors {
		out, err := member("data/" + strconv.Itoa(i))
		if err != nil {
			return err
		}
		if err := t.writeTo(out, s.Seed, s.DType); err != nil {
			return err
		}
	}
	return z.Close()
}

// storageClasses are torch's names for storages of each type.
var storageClasses = map[DType]string{F32: "FloatStorage", F16: "HalfStorage", BF16: "BFloat16Storage"}

// statePickle is the pickle (protocol 2) of OrderedDict{name: _rebuild_tensor_v2(storage i, 0, shape, stride, False, OrderedDict())}.
func statePickle(dtype DType, tensors []tensor) []byte {
	const emptyDict = "ccollections\nOrderedDict\n)R"
	p := []byte("\x80\x02" + emptyDict)
	text := func(s string) {
		p = append(p, 'X')
		p = binary.LittleEndian.AppendUint32(p, uint32(len(s)))
		p = append(p, s...)
	}
	number := func(n int) {
		p = append(p, 'J')
		p = binary.LittleEndian.AppendUint32(p, uint32(n))
	}
	tuple := func(numbers []int) {
		p = append(p, '(')
		for _, n := range numbers {
			number(n)
		}
		p = append(p, 't')
	}
	for i, t := range tensors {
		text(t.name)
		p = append(p, "ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storage"+"ctorch\n"+storageClasses[dtype]+"\n"...)
		text(strconv.Itoa(i))
		text("cpu")
		number(t.elements())
		p = append(p, "tQK\x00"...)
		tuple(t.shape)
		if len(t.shape) == 1 {
			tuple([]int{1})
		} else {
			tuple([]int{t.shape[1], 1})
		}
		p = append(p, "\x89"+emptyDict+"tRs"...)
	}
	return append(p, '.')
}
