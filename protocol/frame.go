// Package protocol declares what two peers may say to each other, and how it looks on the wire: the messages, their
// msgpack headers and raw bodies, the limits that everything from a stranger is held against, the codes of refusals, and
// signed offers.
//
// It works over any io.Reader and io.Writer. It starts no goroutine, knows no clock, tries nothing twice and decides
// nothing: whoever reads a message decides what to do about it.
package protocol

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// prefixBytes is two lengths in front of a frame, u32 little endian: the header's and the body's.
const prefixBytes = 8

// WriteMessage writes one message in one Write. msg is a value of one of this package's message types, for example
// Step{...}; another type panics. A message that breaks a limit that does not depend on the model is an error, and
// nothing is written.
func WriteMessage(w io.Writer, msg any) error {
	h, pieces := encode(msg)
	head, err := packMap(h)
	if err != nil {
		return fmt.Errorf("write %s: encode the header: %w", h.Type, err)
	}
	if len(head) > MaxHeaderBytes {
		return fmt.Errorf("write %s: a header of %d bytes is above the limit of %d", h.Type, len(head), MaxHeaderBytes)
	}
	body := 0
	for _, p := range pieces {
		body += len(p)
	}
	if body > maxAnyBody {
		return fmt.Errorf("write %s: a body of %d bytes is above the limit of %d", h.Type, body, maxAnyBody)
	}
	frame := make([]byte, 0, prefixBytes+len(head)+body)
	frame = binary.LittleEndian.AppendUint32(frame, uint32(len(head)))
	frame = binary.LittleEndian.AppendUint32(frame, uint32(body))
	frame = append(frame, head...)
	for _, p := range pieces {
		frame = append(frame, p...)
	}
	if _, err := w.Write(frame); err != nil {
		return fmt.Errorf("write %s: %w", h.Type, err)
	}
	return nil
}

// ReadMessage reads one message and checks every field against lim. It returns a value of one of the message types, not
// a pointer; slices in it are the caller's.
//
// The error is io.EOF at the end of the stream between two frames, a [*FrameError] for a frame that is refused, and
// what r returned, wrapped, for everything else.
func ReadMessage(r io.Reader, lim Limits) (any, error) {
	headBytes, bodyBytes, err := readPrefix(r, lim)
	if err != nil {
		return nil, err
	}
	head := make([]byte, headBytes)
	if err := readFull(r, head, "header"); err != nil {
		return nil, err
	}
	var kind struct { // alone at first: a type to come may use the other keys in its own way
		Type string `msgpack:"t"`
	}
	if err := unpackMap(head, &kind); err != nil {
		return nil, refuse("header: %v", err)
	}
	decode := decoders(kind.Type)
	if decode == nil {
		return nil, skipUnknown(r, kind.Type, bodyBytes)
	}
	var h header
	if err := unpackMap(head, &h); err != nil {
		return nil, refuse("%s: %v", kind.Type, err)
	}
	f := &fields{header: h, lim: lim}
	want, fill := decode(f)
	if f.err != nil {
		return nil, f.err
	}
	if want != bodyBytes {
		return nil, refuse("%s: a body of %d bytes where the header makes it %d", h.Type, bodyBytes, want)
	}
	body := make([]byte, bodyBytes)
	if err := readFull(r, body, h.Type); err != nil {
		return nil, err
	}
	msg := fill(body)
	if f.err != nil {
		return nil, f.err
	}
	return msg, nil
}

// readPrefix reads the two lengths.
func readPrefix(r io.Reader, lim Limits) (head, body int, err error) {
	var b [prefixBytes]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		if errors.Is(err, io.EOF) {
			return 0, 0, io.EOF
		}
		return 0, 0, fmt.Errorf("read a frame: %w", err)
	}
	h, n := binary.LittleEndian.Uint32(b[:4]), binary.LittleEndian.Uint32(b[4:])
	if h > MaxHeaderBytes {
		return 0, 0, refuse("a header of %d bytes is above the limit of %d", h, MaxHeaderBytes)
	}
	if most := lim.maxBody(); uint64(n) > uint64(most) {
		return 0, 0, refuse("a body of %d bytes is above the limit of %d", n, most)
	}
	return int(h), int(n), nil
}

// readFull fills b; the end of the stream inside a frame is io.ErrUnexpectedEOF.
func readFull(r io.Reader, b []byte, what string) error {
	if _, err := io.ReadFull(r, b); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("read %s: %w", what, err)
	}
	return nil
}

// skipUnknown passes over the body of a message that this version does not know, so that the stream can go on.
func skipUnknown(r io.Reader, typ string, body int) error {
	if _, err := io.CopyN(io.Discard, r, int64(body)); err != nil {
		return fmt.Errorf("skip a message of unknown type: %w", err)
	}
	return &FrameError{Code: CodeUnsupported, Text: fmt.Sprintf("message type %q", CleanText(typ, 32))}
}
