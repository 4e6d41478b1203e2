package wire

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"testing"
	"time"
)

// echo answers whatever comes to a home, over TCP and UDP, until the test ends.
func echo(t *testing.T, h *Home) {
	t.Helper()
	l, err := net.Listen("tcp4", h.Inside().String())
	if err != nil {
		t.Fatal(err)
	}
	u, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(h.Inside()))
	if err != nil {
		t.Fatal(err)
	}
	var answering sync.WaitGroup
	answering.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			answering.Go(func() {
				_, _ = io.Copy(conn, conn)
				_ = conn.Close()
			})
		}
	})
	answering.Go(func() {
		b := make([]byte, maxDatagram)
		for {
			n, who, err := u.ReadFromUDPAddrPort(b)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			_, _ = u.WriteToUDPAddrPort(b[:n], who)
		}
	})
	t.Cleanup(func() {
		_, _ = l.Close(), u.Close()
		answering.Wait()
	})
}

// aNet is a net of one home that echoes, and a connection to it from outside.
func aNet(t *testing.T, outside, inside Link) (*Net, *Home, *net.TCPConn) {
	t.Helper()
	n := New(1, outside)
	h, err := n.Home(inside)
	if err != nil {
		t.Fatal(err)
	}
	echo(t, h)
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n, h, dial(t, h)
}

func dial(t *testing.T, h *Home) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp4", h.Door().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn.(*net.TCPConn)
}

// exchange sends bytes, wants them back as they were, and says how long that took.
func exchange(t *testing.T, conn *net.TCPConn, b []byte) time.Duration {
	t.Helper()
	start := time.Now()
	var sending sync.WaitGroup
	sending.Go(func() {
		if _, err := conn.Write(b); err != nil {
			t.Error(err)
		}
	})
	got := make([]byte, len(b))
	if _, err := io.ReadFull(conn, got); err != nil {
		t.Fatal(err)
	}
	sending.Wait()
	if !bytes.Equal(got, b) {
		t.Fatal("other bytes have come back than were sent")
	}
	return time.Since(start)
}

func someBytes(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{}).Read(b)
	return b
}

func TestLink_TakesItsTime(t *testing.T) {
	_, h, conn := aNet(t, Link{Delay: 10 * time.Millisecond}, Link{Delay: 20 * time.Millisecond, Jitter: time.Millisecond, Up: 1 << 20})
	if took := exchange(t, conn, someBytes(10)); took < 60*time.Millisecond {
		t.Errorf("there and back took %v, twice 10 and 20 ms are 60", took)
	}
	if h.Sent() != 10 || h.Received() != 10 {
		t.Errorf("the home has sent %d bytes and received %d, want 10 and 10", h.Sent(), h.Received())
	}
}

func TestLink_IsSharedByAllConnections(t *testing.T) {
	const rate, bytes = 2 << 20, 200 << 10
	_, h, one := aNet(t, Link{}, Link{Up: rate})
	two := dial(t, h)
	start := time.Now()
	var both sync.WaitGroup
	for _, conn := range []*net.TCPConn{one, two} {
		both.Go(func() { exchange(t, conn, someBytes(bytes)) })
	}
	both.Wait()
	least := 2*bytes*time.Second/rate - 2*catchUp
	if took := time.Since(start); took < least {
		t.Errorf("twice %d bytes at %d bytes/s took %v, want %v at least", bytes, rate, took, least)
	}
}

func TestLoss_DelaysAConnectionAndChangesNothing(t *testing.T) {
	_, _, conn := aNet(t, Link{}, Link{Loss: 0.02})
	if took := exchange(t, conn, someBytes(100<<10)); took < retransmission {
		t.Errorf("of 140 packets with a loss of 2 in 100 none was lost: it took %v", took)
	}
}

func TestCutOff_HoldsBackAllUntilItHeals(t *testing.T) {
	n, h, conn := aNet(t, Link{}, Link{})
	exchange(t, conn, someBytes(10))
	n.CutOff(h)
	late := dial(t, h) // it gets to the door and no further
	for _, c := range []*net.TCPConn{conn, late} {
		if _, err := c.Write([]byte("more")); err != nil {
			t.Fatal(err)
		}
		_ = c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		if n, err := c.Read(make([]byte, 4)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%d bytes came through a cut, error %v", n, err)
		}
	}
	n.Cut(nil)
	for _, c := range []*net.TCPConn{conn, late} {
		_ = c.SetReadDeadline(time.Time{})
		got := make([]byte, 4)
		if _, err := io.ReadFull(c, got); err != nil || string(got) != "more" {
			t.Errorf("%q came when the cut had healed, error %v", got, err)
		}
	}
}

// Who dials from where it listens is known, and his own line counts.
func TestFrom_KnowsWhoKnocks(t *testing.T) {
	n, h, _ := aNet(t, Link{}, Link{})
	other, err := n.Home(Link{})
	if err != nil {
		t.Fatal(err)
	}
	if !other.own {
		t.Skip("this machine lacks addresses of its own beside 127.0.0.1")
	}
	conn, err := (&net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(other.Inside())}).Dial("tcp4", h.Door().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	exchange(t, conn.(*net.TCPConn), someBytes(100))
	if other.Sent() != 100 || n.Outside().Sent() != 0 {
		t.Errorf("the home that sent 100 bytes has sent %d, and those outside %d", other.Sent(), n.Outside().Sent())
	}
}

func TestDatagrams_AreLostForGood(t *testing.T) {
	const all = 200
	_, h, _ := aNet(t, Link{}, Link{Loss: 0.2})
	conn, err := net.Dial("udp4", h.Door().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	came := 0
	for i := range all {
		if _, err := conn.Write([]byte{byte(i)}); err != nil {
			t.Fatal(err)
		}
		_ = conn.SetReadDeadline(time.Now().Add(5 * time.Millisecond))
		if n, err := conn.Read(make([]byte, 4)); err == nil && n == 1 {
			came++
		}
	}
	if came == 0 || came == all {
		t.Errorf("%d of %d datagrams came back, where 2 in 10 are lost each way", came, all)
	}
}

func TestClose_HangsUp(t *testing.T) {
	n := New(1, Link{})
	h, err := n.Home(Link{Delay: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	echo(t, h)
	conn := dial(t, h)
	if _, err := conn.Write(someBytes(100)); err != nil {
		t.Fatal(err)
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("a connection outlives its net")
	}
	if conn, err := net.Dial("tcp4", h.Door().String()); err == nil {
		conn.Close()
		t.Error("a door outlives its net")
	}
}
