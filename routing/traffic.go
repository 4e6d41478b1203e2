package routing

import (
	"strings"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/metrics"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"

	wire "github.com/baichuan-node/baichuan-node/protocol"
)

// trafficKinds is what bytes can be for: all that is not ours, or has not been agreed upon yet, is the last.
var trafficKinds = [...]struct{ name, prefix string }{
	{"session", wire.SessionID}, {"push", wire.PushID}, {"directory", wire.DirectoryID}, {"parts", wire.PartsID},
	{"dht", string(kadID)}, {"relay", "/libp2p/circuit/"}, {"other", ""},
}

// Traffic counts the bytes that pass over a host's streams, by what they are for. The zero value has counted none; it is safe
// for concurrent use. It is libp2p's metrics.Reporter, of which it does no more.
type Traffic struct {
	sent, received [len(trafficKinds)]atomic.Int64
}

// Each gives what has been sent and received of each kind: session, push, directory, parts, dht, relay, other.
func (t *Traffic) Each(give func(kind string, sent, received int64)) {
	for i, k := range trafficKinds {
		give(k.name, t.sent[i].Load(), t.received[i].Load())
	}
}

func trafficKind(id protocol.ID) int {
	for i, k := range trafficKinds {
		if id != "" && strings.HasPrefix(string(id), k.prefix) {
			return i
		}
	}
	return len(trafficKinds) - 1
}

// LogSentMessageStream counts bytes that were written to a stream.
func (t *Traffic) LogSentMessageStream(n int64, id protocol.ID, _ peer.ID) {
	t.sent[trafficKind(id)].Add(n)
}

// LogRecvMessageStream counts bytes that were read from a stream.
func (t *Traffic) LogRecvMessageStream(n int64, id protocol.ID, _ peer.ID) {
	t.received[trafficKind(id)].Add(n)
}

// LogSentMessage does nothing: the same bytes are counted by stream. So do all others below.
func (t *Traffic) LogSentMessage(int64) {}

// LogRecvMessage is part of metrics.Reporter.
func (t *Traffic) LogRecvMessage(int64) {}

// GetBandwidthForPeer is part of metrics.Reporter.
func (t *Traffic) GetBandwidthForPeer(peer.ID) (s metrics.Stats) { return s }

// GetBandwidthForProtocol is part of metrics.Reporter.
func (t *Traffic) GetBandwidthForProtocol(protocol.ID) (s metrics.Stats) { return s }

// GetBandwidthTotals is part of metrics.Reporter.
func (t *Traffic) GetBandwidthTotals() (s metrics.Stats) { return s }

// GetBandwidthByPeer is part of metrics.Reporter.
func (t *Traffic) GetBandwidthByPeer() map[peer.ID]metrics.Stats { return nil }

// GetBandwidthByProtocol is part of metrics.Reporter.
func (t *Traffic) GetBandwidthByProtocol() map[protocol.ID]metrics.Stats { return nil }

// Reset is part of metrics.Reporter.
func (t *Traffic) Reset() {}

// TrimIdle is part of metrics.Reporter.
func (t *Traffic) TrimIdle(time.Time) {}
