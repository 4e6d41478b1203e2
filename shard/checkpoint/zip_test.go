package checkpoint

import (
	"encoding/binary"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"
)

// A shard of 10 GB needs ZIP64: its later members begin beyond 4 GiB. The file here has a hole in their place.
func TestReadZip_FindsMembersBeyond4GiB(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "large.bin"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const at = 5 << 30
	le := binary.LittleEndian
	data := []byte("0123456789")

	local := make([]byte, 30)
	le.PutUint32(local, zipLocalSignature)
	le.PutUint16(local[26:], 1)
	local = append(append(local, 'm'), data...)

	entry := make([]byte, 46)
	le.PutUint32(entry, zipEntrySignature)
	le.PutUint32(entry[16:], crc32.ChecksumIEEE(data))
	le.PutUint32(entry[20:], 0xFFFFFFFF)
	le.PutUint32(entry[24:], 0xFFFFFFFF)
	le.PutUint16(entry[28:], 1)
	le.PutUint16(entry[30:], 4+4+28) // another field first
	le.PutUint32(entry[42:], 0xFFFFFFFF)
	entry = append(entry, 'm', 'B', 'F', 4, 0, 0, 0, 0, 0, 1, 0, 24, 0)
	entry = le.AppendUint64(entry, uint64(len(data)))
	entry = le.AppendUint64(entry, uint64(len(data)))
	entry = le.AppendUint64(entry, at)
	le.PutUint16(entry[30:], uint16(len(entry)-47))

	record := make([]byte, zipEnd64Size)
	le.PutUint32(record, zipEnd64Signature)
	le.PutUint64(record[32:], 1)
	le.PutUint64(record[40:], uint64(len(entry)))
	le.PutUint64(record[48:], at+uint64(len(local)))
	locator := make([]byte, zipLocator64Size)
	le.PutUint32(locator, zipLocatorSignature)
	le.PutUint64(locator[8:], at+uint64(len(local)+len(entry)))
	end := make([]byte, zipEndSize)
	le.PutUint32(end, zipEndSignature)
	le.PutUint16(end[10:], 0xFFFF)
	le.PutUint32(end[12:], 0xFFFFFFFF)
	le.PutUint32(end[16:], 0xFFFFFFFF)

	size := int64(at)
	for _, part := range [][]byte{local, entry, record, locator, end} {
		if _, err := f.WriteAt(part, size); err != nil {
			t.Fatal(err)
		}
		size += int64(len(part))
	}
	members, err := readZip(f, size)
	if err != nil {
		t.Fatal(err)
	}
	want := zipMember{"m", at, at + 31, 10, crc32.ChecksumIEEE(data)}
	if len(members) != 1 || members[0] != want {
		t.Errorf("got %+v, not %+v", members, want)
	}
}
