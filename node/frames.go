package node

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// frames reads messages from a stream that another peer has opened. The memory that a message takes is reserved before it
// is read; whoever answers the message releases it.
type frames struct {
	node *Node
	net  network.Stream
	read *bufio.Reader
	who  peer.ID

	ctx    context.Context // ends with the stream or the node
	cancel context.CancelFunc
}

// newFrames makes a reader of s, which is reset when its context ends: a read or write that waits must end then.
func (n *Node) newFrames(s network.Stream) (*frames, func()) {
	f := &frames{node: n, net: s, read: bufio.NewReader(s), who: s.Conn().RemotePeer()}
	f.ctx, f.cancel = context.WithCancel(n.ctx)
	done := make(chan struct{})
	stop := context.AfterFunc(f.ctx, func() { _ = s.Reset(); close(done) })
	return f, func() {
		if !stop() {
			<-done
		}
		f.cancel()
	}
}

// next reads one message. It waits for its beginning as long as patience says, and on while more says yes; while there is
// no memory for it idle is called now and then.
func (f *frames) next(patience time.Duration, more func() bool, idle func() error) (msg any, reserved int, err error) {
	lengths, err := f.lengths(patience, more)
	if err != nil {
		return nil, 0, err
	}
	size := uint64(binary.LittleEndian.Uint32(lengths)) + uint64(binary.LittleEndian.Uint32(lengths[4:]))
	if size <= uint64(f.node.maxFrame) { // a larger one is refused before any of it is read
		reserved = int(size)
		if err := f.awaitMemory(reserved, idle); err != nil {
			return nil, 0, err
		}
	}
	if err := f.net.SetReadDeadline(time.Now().Add(frameTimeout)); err != nil {
		f.release(reserved)
		return nil, 0, err
	}
	msg, err = protocol.ReadMessage(f.read, f.node.limits)
	if err != nil {
		f.release(reserved)
	}
	return msg, reserved, err
}

// lengths waits for a frame's first 8 bytes.
func (f *frames) lengths(patience time.Duration, more func() bool) ([]byte, error) {
	for {
		if err := f.net.SetReadDeadline(time.Now().Add(patience)); err != nil {
			return nil, err
		}
		lengths, err := f.read.Peek(8)
		switch {
		case err == nil:
			return lengths, nil
		case errors.Is(err, os.ErrDeadlineExceeded) && more():
		case len(lengths) > 0 && errors.Is(err, io.EOF):
			return nil, io.ErrUnexpectedEOF
		default:
			return nil, err
		}
	}
}

// awaitMemory reserves memory for a frame, waiting for others to be answered if it must: so a sender is held up who sends
// more than is computed.
func (f *frames) awaitMemory(size int, idle func() error) error {
	for deadline := time.Now().Add(frameTimeout); ; {
		changed := f.node.watch()
		if f.reserve(size) {
			return nil
		}
		if time.Now().After(deadline) {
			return &protocol.FrameError{Code: protocol.CodeBusy, Text: "no memory to take the message"}
		}
		if err := f.await(changed, idle); err != nil {
			return err
		}
	}
}

// await waits until something has changed, but not for long. It fails if the stream has ended, or if idle does, which is
// called after a wait in vain.
func (f *frames) await(changed <-chan struct{}, idle func() error) error {
	timer := time.NewTimer(beatEvery)
	defer timer.Stop()
	select {
	case <-changed:
		return nil
	case <-timer.C:
		return idle()
	case <-f.ctx.Done():
		return f.ctx.Err()
	}
}

// reserve asks the stream's scope for memory. Its limit (16 MiB in libp2p) is meant for us to use whole.
func (f *frames) reserve(bytes int) bool {
	return f.net.Scope().ReserveMemory(bytes, network.ReservationPriorityAlways) == nil
}

func (f *frames) release(reserved int) {
	if reserved > 0 {
		f.net.Scope().ReleaseMemory(reserved)
	}
}
