package virtual

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	libprotocol "github.com/libp2p/go-libp2p/core/protocol"

	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
	"github.com/baichuan-node/baichuan-node/sim/simnet"
)

// Traffic is what the directory costs a node in an hour: messages that it sends, questions and answers alike, and bytes.
type Traffic struct {
	Nodes            int
	Puts, Lists, Kad float64 // messages
	KiB              float64
}

// Messages is the sum.
func (t Traffic) Messages() float64 { return t.Puts + t.Lists + t.Kad }

// directoryOnly is a swarm of directories that announce and renew, over the real DHT, without anybody who computes.
type directoryOnly struct {
	mu       sync.Mutex
	counting bool // guarded by mu, as the following
	traffic  Traffic
	closers  []func() error
}

// MeasureDirectory lets n nodes keep a directory for a while, and counts what they send for some time after that.
func MeasureDirectory(ctx context.Context, n int, warm, count time.Duration) (_ Traffic, err error) {
	s := &directoryOnly{traffic: Traffic{Nodes: n}}
	w := &world{plan: Plan{Seed: uint64(n), Shape: Shape{Kad: true}}, rng: rand.New(rand.NewPCG(1, uint64(n)))}
	w.net = simnet.New(simnet.Config{RTT: w.rtt, Sent: s.sent})
	defer func() { err = errors.Join(err, s.close()) }()
	var door peer.AddrInfo
	for i := range n {
		d, info, err := s.start(ctx, w, i)
		if err != nil {
			return Traffic{}, err
		}
		if i == 0 {
			door = info
		} else if err := d.Join(ctx, []peer.AddrInfo{door}); err != nil {
			return Traffic{}, err
		}
		span := spanOf(w.rng, i)
		offer := protocol.Offer{
			Model: protocol.ModelID{1}, ModelName: "tiny", Span: span, Target: span, Layers: Layers, State: protocol.Online, Device: "cpu",
			DecodeRate: 500, PrefillRate: 5000, CacheFree: 4096,
		}
		if err := d.Announce(ctx, offer); err != nil {
			return Traffic{}, fmt.Errorf("node %d of %d: %w", i, n, err)
		}
	}
	time.Sleep(warm)
	s.count(true)
	time.Sleep(count)
	s.count(false)
	t := s.traffic
	perNodeHour := time.Hour.Seconds() / count.Seconds() / float64(n)
	for _, x := range []*float64{&t.Puts, &t.Lists, &t.Kad, &t.KiB} {
		*x *= perNodeHour
	}
	t.KiB /= 1024
	return t, nil
}

func (s *directoryOnly) start(ctx context.Context, w *world, i int) (*routing.Directory, peer.AddrInfo, error) {
	key, addr, err := w.keyOf(i + 1)
	if err != nil {
		return nil, peer.AddrInfo{}, err
	}
	h, err := w.net.Host(key, addr)
	if err != nil {
		return nil, peer.AddrInfo{}, err
	}
	d, err := w.directory(ctx, h, true, 0)
	if err != nil {
		return nil, peer.AddrInfo{}, errors.Join(err, h.Close())
	}
	s.closers = append(s.closers, func() error {
		h.Kill() // nobody is told: all end at once
		return errors.Join(d.Close(), h.Close())
	})
	return d, peer.AddrInfo{ID: h.ID(), Addrs: h.Addrs()}, nil
}

func (s *directoryOnly) close() error {
	errs := make([]error, len(s.closers))
	var all sync.WaitGroup
	for i, end := range s.closers {
		all.Go(func() { errs[i] = end() })
	}
	all.Wait()
	return errors.Join(errs...)
}

func (s *directoryOnly) count(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counting = on
}

func (s *directoryOnly) sent(_, _ peer.ID, id libprotocol.ID, message []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.counting {
		return
	}
	s.traffic.KiB += float64(len(message))
	switch {
	case strings.Contains(string(id), "/kad/"):
		s.traffic.Kad++
	case isPut(message):
		s.traffic.Puts++
	default:
		s.traffic.Lists++
	}
}

// isPut says whether a frame of the directory is a put or the answer to one: its header has the type as a msgpack string.
func isPut(frame []byte) bool {
	header := string(frame[8:min(len(frame), 100)])
	return strings.Contains(header, "\xa1t\xa3put") || strings.Contains(header, "\xa1t\xa7putdone")
}
