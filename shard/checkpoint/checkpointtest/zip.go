package checkpointtest

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strings"
)

// member is one member of a zip file that is put together by hand, lies included.
type member struct {
	name   string
	data   []byte
	method uint16
	flags  uint16
	crc    uint32
	size   uint32 // as the directory states it, both packed and unpacked
	local  string // name in the local header
}

func stored(name string, data []byte) member {
	return member{name: name, data: data, crc: crc32.ChecksumIEEE(data), size: uint32(len(data)), local: name}
}

// members reads a sound zip file.
func members(file []byte) []member {
	r, err := zip.NewReader(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		panic("checkpointtest: " + err.Error())
	}
	var all []member
	for _, f := range r.File {
		in, err := f.Open()
		if err != nil {
			panic("checkpointtest: " + err.Error())
		}
		data, err := io.ReadAll(in)
		if err != nil {
			panic("checkpointtest: " + err.Error())
		}
		all = append(all, stored(f.Name, data))
	}
	return all
}

// zipFile puts members together. Its directory has entries of 46 bytes and the name, and its end record no comment.
func zipFile(all []member) []byte {
	le := binary.LittleEndian
	var out, directory []byte
	for _, m := range all {
		header := uint32(len(out))
		out = le.AppendUint32(out, 0x04034b50)
		fields := le.AppendUint16(nil, 20)
		fields = le.AppendUint16(fields, m.flags)
		fields = le.AppendUint16(fields, m.method)
		fields = le.AppendUint32(fields, 0) // time and date
		fields = le.AppendUint32(fields, m.crc)
		fields = le.AppendUint32(fields, m.size)
		fields = le.AppendUint32(fields, m.size)
		out = append(out, fields...)
		out = le.AppendUint16(out, uint16(len(m.local)))
		out = le.AppendUint16(out, 0)
		out = append(append(out, m.local...), m.data...)

		directory = le.AppendUint32(directory, 0x02014b50)
		directory = append(le.AppendUint16(directory, 20), fields...)
		directory = le.AppendUint16(directory, uint16(len(m.name)))
		directory = append(directory, make([]byte, 12)...)
		directory = le.AppendUint32(directory, header)
		directory = append(directory, m.name...)
	}
	end := le.AppendUint32(nil, 0x06054b50)
	end = le.AppendUint32(end, 0)
	end = le.AppendUint16(end, uint16(len(all)))
	end = le.AppendUint16(end, uint16(len(all)))
	end = le.AppendUint32(end, uint32(len(directory)))
	end = le.AppendUint32(end, uint32(len(out)))
	end = le.AppendUint16(end, 0)
	return append(append(out, directory...), end...)
}

// rezip replaces pytorch_model.bin by what f makes of its members.
func rezip(f func([]member) []member) func(string) error {
	return change(torchFile, func(d []byte) []byte { return zipFile(f(members(d))) })
}

// touch changes the member of that name.
func touch(name string, f func(*member)) func(string) error {
	return rezip(func(all []member) []member {
		i := slices.IndexFunc(all, func(m member) bool { return m.name == name })
		if i < 0 {
			panic(fmt.Sprintf("checkpointtest: no member %q", name))
		}
		f(&all[i])
		return all
	})
}

// add appends a member.
func add(name string, data []byte) func(string) error {
	return rezip(func(all []member) []member { return append(all, stored(name, data)) })
}

// rename gives a member another name.
func rename(name, to string) func(string) error {
	return touch(name, func(m *member) { m.name, m.local = to, to })
}

// end changes the 22 bytes of the end record.
func end(f func([]byte)) func(string) error {
	return change(torchFile, func(d []byte) []byte {
		f(d[len(d)-22:])
		return d
	})
}

// deflated compresses a member, and lets it grow.
func deflated(m *member) {
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestCompression)
	if err != nil {
		panic("checkpointtest: " + err.Error())
	}
	_, _ = w.Write(bytes.Repeat([]byte("]"), 64<<20)) // to memory: cannot fail
	_ = w.Close()
	m.data, m.method, m.size = b.Bytes(), 8, 64<<20
}

func zipFaults() []fault {
	const pkl, first, last = "archive/data.pkl", "archive/data/0", "archive/data/9"
	le := binary.LittleEndian
	cut := func(n int) func([]byte) []byte { return func(d []byte) []byte { return d[:len(d)-n] } }
	faults := []fault{
		{name: "cut-off-by-one", make: change(torchFile, cut(1))},
		{name: "cut-off-directory", make: change(torchFile, cut(300))},
		{name: "cut-off-half", make: change(torchFile, func(d []byte) []byte { return d[:len(d)/2] })},
		{name: "cut-off-front", make: change(torchFile, func(d []byte) []byte { return d[1000:] })},
		{name: "prefix", make: change(torchFile, func(d []byte) []byte { return append([]byte("#!/bin/sh\n"), d...) })},
		{name: "suffix", make: change(torchFile, func(d []byte) []byte { return append(d, "trailing"...) })},
		{name: "comment", make: all(end(func(e []byte) { e[20] = 4 }), change(torchFile, func(d []byte) []byte { return append(d, "note"...) }))},
		{name: "directory-offset", make: end(func(e []byte) { le.PutUint32(e[16:], 0xFFFFFFF0) })},
		{name: "directory-short", make: end(func(e []byte) { le.PutUint32(e[12:], 40) })},
		{name: "directory-huge", make: end(func(e []byte) { le.PutUint32(e[12:], 0xFFFFFFF0) })},
		{name: "entries-many", make: end(func(e []byte) { le.PutUint16(e[8:], 0xFFFE); le.PutUint16(e[10:], 0xFFFE) })},
		{name: "entries-few", make: end(func(e []byte) { le.PutUint16(e[8:], 3); le.PutUint16(e[10:], 3) })},
		{name: "zip64-missing", make: end(func(e []byte) { le.PutUint16(e[10:], 0xFFFF) })},
		{name: "zip64-bomb", make: change(torchFile, zip64Bomb)},
		{name: "no-members", make: rezip(func([]member) []member { return nil })},
		{name: "no-pickle", make: rename(pkl, "archive/data.pickle")},
		{name: "two-pickles", make: add("other/data.pkl", []byte("\x80\x02}."))},
		{name: "member-twice", make: add(first, []byte{0, 0})},
		{name: "name-parent", make: add("archive/../../../etc/cron.d/x", []byte("x"))},
		{name: "name-absolute", make: add("/etc/passwd", []byte("x"))},
		{name: "name-windows", make: add(`archive\data\x`, []byte("x"))},
		{name: "name-drive", make: add("C:x", []byte("x"))},
		{name: "name-empty", make: add("", []byte("x"))},
		{name: "name-long", make: add(strings.Repeat("n", 60_000), []byte("x"))},
		{name: "compressed-bomb", make: touch(pkl, deflated)},
		{name: "encrypted", make: touch(first, func(m *member) { m.flags = 1 })},
		{name: "local-name", make: touch(first, func(m *member) { m.local = "archive/data/x" })},
		{name: "size-into-next", make: touch(first, func(m *member) { m.size += 4096 })},
		{name: "size-beyond-file", make: touch(last, func(m *member) { m.size = 0xFFFFFF00 })},
		{name: "size-short", make: touch(first, func(m *member) { m.size -= 64 })},
		{name: "pickle-checksum", make: touch(pkl, func(m *member) { m.crc ^= 1 })},
		{name: "byteorder-big", make: touch("archive/byteorder", func(m *member) { *m = stored(m.name, []byte("big")) })},
		{name: "byteorder-unknown", make: touch("archive/byteorder", func(m *member) { *m = stored(m.name, []byte("lit\x1btle")) })},
		{name: "byteorder-huge", make: touch("archive/byteorder", func(m *member) { *m = stored(m.name, make([]byte, 1<<20)) })},
		{name: "storage-missing", make: rename(first, "archive/data/x")},
		{name: "storage-short", make: touch(first, func(m *member) { *m = stored(m.name, m.data[2:]) })},
		{name: "storage-long", make: touch(first, func(m *member) { *m = stored(m.name, append(m.data, 0, 0)) })},
		{name: "storage-damaged", at: AtRead, make: touch(first, func(m *member) { m.data[len(m.data)/2] ^= 1 })},
		{name: "storage-damaged-last-byte", at: AtRead, make: touch(last, func(m *member) { m.data[len(m.data)-1] ^= 0x40 })},
		{name: "storage-checksum", at: AtRead, make: touch(last, func(m *member) { m.crc ^= 0x80000000 })},
	}
	for i := range faults {
		faults[i].name = "zip/" + faults[i].name
		faults[i].base, faults[i].file = torchOne, torchFile
	}
	return faults
}

// zip64Bomb adds a ZIP64 record that claims 2^60 entries.
func zip64Bomb(d []byte) []byte {
	le := binary.LittleEndian
	end := bytes.Clone(d[len(d)-22:])
	d = d[:len(d)-22]
	at := uint64(len(d))
	record := make([]byte, 56)
	le.PutUint32(record, 0x06064b50)
	le.PutUint64(record[4:], 44)
	le.PutUint64(record[24:], 1<<60)
	le.PutUint64(record[32:], 1<<60)
	le.PutUint64(record[40:], uint64(le.Uint32(end[12:])))
	le.PutUint64(record[48:], uint64(le.Uint32(end[16:])))
	locator := make([]byte, 20)
	le.PutUint32(locator, 0x07064b50)
	le.PutUint64(locator[8:], at)
	le.PutUint32(locator[16:], 1)
	le.PutUint16(end[8:], 0xFFFF)
	le.PutUint16(end[10:], 0xFFFF)
	return slices.Concat(d, record, locator, end)
}
