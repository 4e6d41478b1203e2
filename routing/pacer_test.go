package routing

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

func TestPacer_LetsAPeerHaveItsShareAndNobodyElseWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPacer(10, 5)
		begun := time.Now()
		for i, want := range []time.Duration{0, 0, 0, 0, 0, 100 * time.Millisecond, 200 * time.Millisecond} {
			if err := p.Wait(t.Context(), "greedy", 1); err != nil || time.Since(begun) != want {
				t.Errorf("turn %d came after %v, error %v; want %v", i, time.Since(begun), err, want)
			}
		}
		before := time.Now()
		if err := p.Wait(t.Context(), "modest", 5); err != nil || time.Since(before) != 0 {
			t.Errorf("another peer waited %v, error %v", time.Since(before), err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := p.Wait(ctx, "greedy", 100); err == nil {
			t.Error("an ended context is no error")
		}
	})
}

func TestPacer_CountsNothingThatIsRefused(t *testing.T) {
	p := NewPacer(1, 2)
	now := time.Unix(1000, 0)
	for i, want := range []bool{true, true, false, false, false} {
		if got := p.Try(now, "peer", 1); got != want {
			t.Errorf("try %d: %v", i, got)
		}
	}
	if !p.Try(now.Add(time.Second), "peer", 1) {
		t.Error("a second later nothing has come back")
	}
}

func TestPacer_ForgetsPeersThatWantNothingMore(t *testing.T) {
	p := NewPacer(1, 1)
	now := time.Unix(1000, 0)
	for i := range 3 * maxPaced {
		p.take(now.Add(time.Duration(i)*time.Second), peer.ID(fmt.Sprint(i)), 1)
	}
	if len(p.spent) > maxPaced {
		t.Errorf("%d peers are remembered, at most %d are to be", len(p.spent), maxPaced)
	}
}

// Who opens one stream after the other gets them at a pace, and the streams of others do not wait for them.
func TestNewHost_TakesStreamsOfAPeerAtAPace(t *testing.T) {
	server, err := NewHost(HostConfig{Listen: []string{"/ip4/127.0.0.1/tcp/0"}})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	server.SetStreamHandler("/test/1", func(st network.Stream) { _ = st.Close() })
	opens := func(h host.Host) error {
		st, err := h.NewStream(t.Context(), server.ID(), "/test/1")
		if err != nil {
			return err
		}
		defer st.Reset()
		_, err = st.Read(make([]byte, 1))
		_ = err // it is closed, or reset for there are too many
		return nil
	}
	var clients []host.Host
	for range 2 {
		h, err := NewHost(HostConfig{})
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		if err := h.Connect(t.Context(), peer.AddrInfo{ID: server.ID(), Addrs: server.Addrs()}); err != nil {
			t.Fatal(err)
		}
		clients = append(clients, h)
	}
	begun := time.Now()
	const more = 20
	for range streamBurst + more {
		if err := opens(clients[0]); err != nil {
			t.Fatal(err)
		}
	}
	if took, least := time.Since(begun), more*time.Second/streamRate/2; took < least {
		t.Errorf("%d streams took %v, want %v at least", streamBurst+more, took, least)
	}
	if err := opens(clients[1]); err != nil {
		t.Error(err)
	}
}
