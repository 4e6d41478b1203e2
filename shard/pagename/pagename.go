// Package pagename names what a page of cache was computed from. The same input gives the same bits on every node, so
// whoever has computed a page can be asked for it by name, and a name can't be claimed without the input.
//
// A boundary is how many layers are done: 0 for ids, the model's layers for its last output. The name of a boundary
// after token j is SHA-256 of the name after token j-1 and the token: its id as u32 little endian at boundary 0, else
// the exponent byte and the row as it travels. The name before token 0 is SHA-256 of
//
//	"bc-page/1" | model id | salt | boundary u16 little endian
//
// A page's name is that after its last token. (Chained by token and not by page, a rolled-back sequence goes on from
// any token.) The package knows no cache and no peer.
package pagename

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
)

// Size is the bytes of a name.
const Size = sha256.Size

// Name is a SHA-256 as described above.
type Name [Size]byte

// Salt says who shares pages: all zero is everyone.
type Salt [16]byte

// Namer makes names. Use New. It is not safe for concurrent use, and allocates nothing as it names tokens.
type Namer struct {
	hash hash.Hash
	name Name // what is passed to hash lies on the heap: here, not a caller's variable
	buf  [4]byte
}

// New gives a Namer.
func New() *Namer { return &Namer{hash: sha256.New()} }

// First is the name before token 0.
func (n *Namer) First(model [32]byte, salt Salt, boundary int) Name {
	n.hash.Reset()
	n.hash.Write([]byte("bc-page/1"))
	n.hash.Write(model[:])
	n.hash.Write(salt[:])
	binary.LittleEndian.PutUint16(n.buf[:], uint16(boundary))
	n.hash.Write(n.buf[:2])
	n.hash.Sum(n.name[:0])
	return n.name
}

// ID gives the name after a token at boundary 0.
func (n *Namer) ID(before Name, id uint32) Name {
	n.begin(before)
	binary.LittleEndian.PutUint32(n.buf[:], id)
	n.hash.Write(n.buf[:4])
	n.hash.Sum(n.name[:0])
	return n.name
}

// Row does so at any other boundary: half is the row's float16 numbers.
func (n *Namer) Row(before Name, exp byte, half []byte) Name {
	n.begin(before)
	n.buf[0] = exp
	n.hash.Write(n.buf[:1])
	n.hash.Write(half)
	n.hash.Sum(n.name[:0])
	return n.name
}

func (n *Namer) begin(before Name) {
	n.hash.Reset()
	n.name = before
	n.hash.Write(n.name[:])
}

// Pages names the pages of size tokens that a prompt fills, but for its last token, which is always computed.
func Pages(model [32]byte, salt Salt, ids []uint32, size int) []Name {
	if len(ids) == 0 {
		return nil
	}
	n := New()
	name := n.First(model, salt, 0)
	names := make([]Name, 0, (len(ids)-1)/size)
	for i, id := range ids[:(len(ids)-1)/size*size] {
		name = n.ID(name, id)
		if i%size == size-1 {
			names = append(names, name)
		}
	}
	return names
}
