package node

import (
	"bytes"
	"errors"
	"io"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"

	"github.com/baichuan-node/baichuan-node/protocol"
)

func TestStream_EndsAfterAFrameThatBreaksTheProtocol(t *testing.T) {
	n, _ := serve(t, 0, 2, nil)
	h := newHost(t)
	for name, frame := range map[string][]byte{
		"a body of 4 GB":   {2, 0, 0, 0, 0xff, 0xff, 0xff, 0xff},
		"a header of 8 KB": {0, 0x20, 0, 0, 0, 0, 0, 0},
		"no map":           {2, 0, 0, 0, 0, 0, 0, 0, 0xc1, 0xc1},
	} {
		t.Run(name, func(t *testing.T) {
			c := call(t, h, n, "one")
			if _, err := c.s.Write(frame); err != nil {
				t.Fatal(err)
			}
			if f := answer[protocol.Failure](c); f.Code != protocol.CodeBadRequest {
				t.Errorf("refused with %v", f)
			}
			if _, err := protocol.ReadMessage(c.s, c.lim); err != io.EOF {
				t.Errorf("the stream goes on: %v", err)
			}
		})
	}
}

// halfStream takes half of the first frame until the deadline passes, and all of those after it.
type halfStream struct {
	network.Stream
	took bytes.Buffer
}

func (s *halfStream) SetWriteDeadline(time.Time) error { return nil }

func (s *halfStream) Write(b []byte) (int, error) {
	if s.took.Len() == 0 {
		n, _ := s.took.Write(b[:len(b)/2])
		return n, os.ErrDeadlineExceeded
	}
	return s.took.Write(b)
}

// Whoever waited for its turn to write must not go on where a frame has broken off: the owner would read it as the rest.
func TestStream_WritesNothingAfterHalfAFrame(t *testing.T) {
	half := &halfStream{}
	st := &stream{frames: &frames{net: half, cancel: func() {}}}
	if err := st.send(protocol.Result{Epoch: 1, Number: 1, N: 1, Vocab: 64, Logits: make([]byte, 256)}); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("the error is %v", err)
	}
	before := half.took.Len()
	if err := st.send(protocol.Heartbeat{Epoch: 1}); !errors.Is(err, os.ErrDeadlineExceeded) || half.took.Len() != before {
		t.Errorf("%d bytes follow half a frame, the error is %v", half.took.Len()-before, err)
	}
}

// waiting gives a node whose streams are served while nothing is computed.
func waiting(t *testing.T) *Node {
	t.Helper()
	n := made(t, 0, 2, nil)
	n.host.SetStreamHandler(protocol.SessionID, n.handle)
	t.Cleanup(func() {
		n.end()
		n.handlers.Wait()
	})
	return n
}

func queued(n *Node) int { return n.Stats().Queue }

func TestStream_TakesItsStepsAlong(t *testing.T) {
	n := waiting(t)
	h := newHost(t)
	c := call(t, h, n, "s")
	c.opened(c.open(1, 0, 2, 0), 0)
	c.send(step(1, 1, 0, protocol.WantNone, 1))
	c.send(step(1, 2, 1, protocol.WantNone, 2))
	eventually(t, "two steps wait", func() bool { return queued(n) == 2 })
	c.refused(step(1, 3, 2, protocol.WantNone, 3), protocol.CodeBusy)
	c.s.Reset()
	eventually(t, "no step waits", func() bool { return queued(n) == 0 })
	if n.Stats().Sessions != 1 {
		t.Error("the session ended with its stream")
	}
}

func TestClose_CancelsWhatWaits(t *testing.T) {
	n := waiting(t)
	c := call(t, newHost(t), n, "s")
	c.opened(c.open(1, 0, 2, 0), 0)
	c.send(step(1, 1, 0, protocol.WantNone, 1))
	eventually(t, "a step waits", func() bool { return queued(n) == 1 })
	c.refused(protocol.Close{Session: c.key}, protocol.CodeLostSession) // of the step: a close has no answer
	if s := n.Stats(); s.Queue != 0 || s.Sessions != 0 {
		t.Errorf("%d steps and %d sessions after the close", s.Queue, s.Sessions)
	}
}

func TestOpen_CancelsWhatAnOlderEpochLeftWaiting(t *testing.T) {
	n := waiting(t)
	c := call(t, newHost(t), n, "s")
	c.opened(c.open(1, 0, 2, 0), 0)
	c.send(step(1, 1, 0, protocol.WantNone, 1))
	eventually(t, "a step waits", func() bool { return queued(n) == 1 })
	c.send(c.open(2, 0, 2, 0))
	var kinds []string
	for range 2 { // in either order: two goroutines have something to say
		switch m := c.receive().(type) {
		case protocol.Opened:
			kinds = append(kinds, "opened")
		case protocol.Failure:
			kinds = append(kinds, m.Code.String())
		}
	}
	slices.Sort(kinds)
	if !slices.Equal(kinds, []string{"lost session", "opened"}) {
		t.Errorf("answers %v", kinds)
	}
}

func TestPing_TellsOfTheStepThatWaits(t *testing.T) {
	n := waiting(t)
	c := call(t, newHost(t), n, "s")
	c.opened(c.open(1, 0, 2, 0), 0)
	c.send(step(1, 5, 0, protocol.WantNone, 1))
	for range 2 { // as often as it is asked, and not else
		c.send(protocol.Ping{})
		msg, err := protocol.ReadMessage(c.s, c.lim)
		if err != nil {
			t.Fatal(err)
		}
		if want := (protocol.Heartbeat{Epoch: 1, Number: 5, Progress: shardOf(n).Progress()}); msg != want {
			t.Errorf("heard %+v, want %+v", msg, want)
		}
	}
}
