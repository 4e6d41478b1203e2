package routing

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// Blob is bytes that peers may ask for by their hash. They must not change.
type Blob struct {
	*io.SectionReader
	// Bulk is sent in turns, and in smaller pieces than were asked for where need be; other blobs are small and go whole.
	Bulk bool
}

// Small is a blob that is in memory, and goes in pieces as large as were asked for.
func Small(b []byte) Blob {
	return Blob{SectionReader: io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b)))}
}

// Blobs is what a process hands out.
type Blobs struct {
	// Find gives the blob with a hash, if there is one.
	Find func(protocol.Digest) (Blob, bool)
	// Turn waits until so many bytes of bulk may go to a peer. It says how many may go, at least one, and what to call when
	// the peer has them or asks no more. An error is answered as busy. It is not asked before a Find has found bulk.
	Turn func(ctx context.Context, who peer.ID, bytes int) (most int, done func(), err error)
	// Whole waits until so many bytes of a small blob may go to a peer, and is otherwise as Turn. nil: they go at once.
	Whole func(ctx context.Context, who peer.ID, bytes int) (done func(), err error)
}

// ServeBlobs answers requests for blobs: what describes a model, and its parts chunk by chunk. Call stop before closing the
// host; it waits for the streams.
func ServeBlobs(h host.Host, b Blobs) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	pace := NewPacer(blobRate, blobBurst)
	s := serve(h, protocol.PartsID, "baichuan.parts", func(st network.Stream) error {
		g := getter{ctx: ctx, st: st, blobs: b, pace: pace, done: func() {}}
		defer func() { g.done() }()
		return g.answer()
	})
	return func() {
		cancel()
		s.close()
	}
}

// getter answers the requests of one stream.
type getter struct {
	ctx   context.Context
	st    network.Stream
	blobs Blobs
	pace  *Pacer
	done  func() // ends the turn of the answer before
}

// answer answers until the stream's end.
func (g *getter) answer() error {
	for range maxGets {
		if err := g.st.SetDeadline(time.Now().Add(blobTimeout)); err != nil {
			return err
		}
		msg, err := protocol.ReadMessage(g.st, protocol.Limits{})
		g.done() // who asks for more, or for nothing more, has got what was sent
		g.done = func() {}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return refuse(g.st, err)
		}
		get, ok := msg.(protocol.Get)
		if !ok {
			return protocol.WriteMessage(g.st, protocol.Failure{Code: protocol.CodeUnsupported, Text: fmt.Sprintf("%T is not for this stream", msg)})
		}
		if err := g.answerGet(get); err != nil {
			return err
		}
	}
	return protocol.WriteMessage(g.st, protocol.Failure{Code: protocol.CodeBusy, Text: "too many requests on one stream"})
}

// waits holds up a peer that asks too often, or for too much of what has no turns.
func (g *getter) waits(blob Blob, bytes int) error {
	cost := getCost
	if !blob.Bulk {
		cost += bytes
	}
	if err := g.pace.Wait(g.ctx, g.st.Conn().RemotePeer(), float64(cost)); err != nil {
		return err
	}
	return g.st.SetDeadline(time.Now().Add(blobTimeout)) // waiting took none of it
}

// turn waits until bytes of a blob may go, and says how many.
func (g *getter) turn(blob Blob, bytes int) (most int, done func(), err error) {
	who := g.st.Conn().RemotePeer()
	switch {
	case blob.Bulk:
		return g.blobs.Turn(g.ctx, who, bytes)
	case g.blobs.Whole != nil:
		done, err = g.blobs.Whole(g.ctx, who, bytes)
		return bytes, done, err
	}
	return bytes, func() {}, nil
}

// answerGet sends the answer to a Get.
func (g *getter) answerGet(get protocol.Get) error {
	blob, ok := g.blobs.Find(get.Hash)
	if !ok {
		return protocol.WriteMessage(g.st, protocol.Failure{Code: protocol.CodeOtherManifest, Text: "there is no " + get.Hash.String() + " here"})
	}
	n := int(min(int64(get.Length), max(0, blob.Size()-get.Offset)))
	if err := g.waits(blob, n); err != nil {
		return err
	}
	if n > 0 {
		most, done, err := g.turn(blob, n)
		if err != nil {
			return protocol.WriteMessage(g.st, protocol.Failure{Code: protocol.CodeBusy, Text: err.Error()})
		}
		g.done = done
		n = min(n, most)
		if err := g.st.SetDeadline(time.Now().Add(blobTimeout)); err != nil { // waiting took none of it
			return err
		}
	}
	if err := g.st.Scope().ReserveMemory(n, network.ReservationPriorityMedium); err != nil {
		return protocol.WriteMessage(g.st, protocol.Failure{Code: protocol.CodeBusy, Text: "no memory for another answer"})
	}
	defer g.st.Scope().ReleaseMemory(n)
	data := make([]byte, n)
	if _, err := blob.ReadAt(data, get.Offset); err != nil && n > 0 && !errors.Is(err, io.EOF) {
		return protocol.WriteMessage(g.st, protocol.Failure{Code: protocol.CodeInternal, Text: "the blob can't be read here"})
	}
	return protocol.WriteMessage(g.st, protocol.Data{Total: blob.Size(), Bytes: data})
}

// refuse answers a frame that could not be read, if that is the sender's fault.
func refuse(w io.Writer, err error) error {
	var bad *protocol.FrameError
	if !errors.As(err, &bad) {
		return err
	}
	return protocol.WriteMessage(w, bad.Failure())
}

// BlobStream asks one peer for pieces of blobs, one after the other. It is for one goroutine at a time.
type BlobStream struct {
	host host.Host
	peer peer.ID
	st   network.Stream // nil: to be opened
	gets int            // that were sent on it
}

// NewBlobStream makes a stream to a peer, which is opened when it is used.
func NewBlobStream(h host.Host, id peer.ID) *BlobStream { return &BlobStream{host: h, peer: id} }

// Get asks for the bytes from offset on. The answer has at most so many, and may have fewer: it is of a stranger, and as yet
// of nobody's making. A protocol.Failure is the error that the peer answers with. After any other error the next Get opens a
// new stream.
func (b *BlobStream) Get(ctx context.Context, hash protocol.Digest, offset int64, length int) (protocol.Data, error) {
	data, err := b.get(ctx, protocol.Get{Hash: hash, Offset: offset, Length: uint32(length)})
	if failed := (protocol.Failure{}); err != nil && !errors.As(err, &failed) {
		b.reset()
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return protocol.Data{}, ctx.Err()
	case err != nil:
		return protocol.Data{}, oneLine(err)
	case len(data.Bytes) > length:
		b.reset()
		return protocol.Data{}, fmt.Errorf("asked for %d bytes it sends %d", length, len(data.Bytes))
	}
	return data, nil
}

func (b *BlobStream) get(ctx context.Context, msg protocol.Get) (protocol.Data, error) {
	if b.gets == maxGets {
		b.Close()
	}
	if err := b.open(ctx); err != nil {
		return protocol.Data{}, err
	}
	b.gets++
	st := b.st // what runs after ctx may run when b has another one
	if err := st.SetDeadline(time.Now().Add(blobTimeout)); err != nil {
		return protocol.Data{}, err
	}
	stop := context.AfterFunc(ctx, func() { _ = st.SetDeadline(time.Now()) })
	defer stop()
	answer, err := exchange(st, msg)
	if err != nil {
		return protocol.Data{}, err
	}
	data, ok := answer.(protocol.Data)
	if !ok {
		return protocol.Data{}, fmt.Errorf("it answers with %T", answer)
	}
	return data, nil
}

func (b *BlobStream) open(ctx context.Context) error {
	if b.st != nil {
		return nil
	}
	dial, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	st, err := b.host.NewStream(network.WithAllowLimitedConn(dial, "blob"), b.peer, protocol.PartsID)
	if err != nil {
		return err
	}
	b.st, b.gets = st, 0
	return nil
}

// Close ends the stream as who has all that was asked for.
func (b *BlobStream) Close() {
	if b.st != nil {
		_ = b.st.CloseWrite()
	}
	b.reset() // after CloseWrite the peer has seen the end already
}

func (b *BlobStream) reset() {
	if b.st != nil {
		_ = b.st.Reset()
	}
	b.st, b.gets = nil, 0
}
