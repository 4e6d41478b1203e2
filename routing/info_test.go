package routing

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/protocol"
)

func TestAskPeers_HearsOfOffersAndLoad(t *testing.T) {
	old, busy, idle, client := newMember(t, true), newMember(t, true), newMember(t, true), newMember(t, false)
	old.mustAnnounce(t, layers(0, 2))
	busy.mustJoin(t, old)
	busy.mustAnnounce(t, layers(2, 4))
	busy.TellLoad(func() protocol.Load { return protocol.Load{Sessions: 3, Tokens: 7} })
	client.mustJoin(t, old, busy, idle)

	gone := newMember(t, true)
	client.mustJoin(t, gone)
	gone.shut(t)
	soon, cancel := context.WithTimeout(t.Context(), time.Second/2) // for the one that is gone
	defer cancel()
	told := append(client.AskPeers(t.Context(), []peer.ID{old.ID(), busy.ID(), idle.ID()}), client.AskPeers(soon, []peer.ID{gone.ID()})...)
	if o := told[0]; o.Err != nil || o.Offer == nil || o.Offer.Span.End != 2 || o.Load != nil || o.Peer != old.ID() {
		t.Errorf("one that tells of no load: %+v", o)
	}
	if o := told[1]; o.Err != nil || o.Offer == nil || o.Load == nil || *o.Load != (protocol.Load{Sessions: 3, Tokens: 7}) || o.RTT <= 0 || o.Relayed {
		t.Errorf("one that tells of its load: %+v", o)
	}
	if told[0].Version != "v1.2.3" {
		t.Errorf("its version is %q", told[0].Version)
	}
	if o := told[2]; o.Err != nil || o.Offer != nil {
		t.Errorf("one that offers nothing: %+v", o)
	}
	if o := told[3]; o.Err == nil || strings.Contains(o.Err.Error(), "\n") {
		t.Errorf("one that is gone: %+v", o)
	}
}

// answering has a member answer questions with a message of our own, or with nothing.
func (m member) answering(t *testing.T, msg any) {
	m.SetStreamHandler(protocol.DirectoryID, func(s network.Stream) {
		if msg == nil {
			<-t.Context().Done()
			_ = s.Reset()
			return
		}
		_ = protocol.WriteMessage(s, msg) // whoever asked may be gone
		_ = s.Close()
	})
}

func TestAskPeers_BelievesNobodyAndWaitsForNobody(t *testing.T) {
	honest, client := newMember(t, true), newMember(t, false)
	honest.mustAnnounce(t, layers(0, 2))
	client.mustJoin(t, honest)
	sealed := client.askPeerSealed(t, honest)
	for name, answer := range map[string]any{
		"another peer's offer": protocol.Offers{Sealed: [][]byte{sealed}, AgesMS: []uint32{0}},
		"two offers":           protocol.Offers{Sealed: [][]byte{sealed, sealed}, AgesMS: []uint32{0, 0}},
		"no offer":             protocol.Offers{Sealed: [][]byte{{1, 2, 3}}, AgesMS: []uint32{0}},
		"something else":       protocol.PutDone{},
		"a refusal":            protocol.Failure{Code: protocol.CodeBusy},
		"nonsense":             protocol.Offers{Load: &protocol.Load{Replayed: 1}},
		"nothing":              nil,
	} {
		liar := newMember(t, true)
		client.mustJoin(t, liar)
		liar.answering(t, answer)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		if answer == nil {
			ctx, cancel = context.WithTimeout(t.Context(), 100*time.Millisecond)
		}
		if told := client.AskPeers(ctx, []peer.ID{liar.ID()})[0]; told.Err == nil || told.Offer != nil || told.Load != nil {
			t.Errorf("%s: %+v", name, told)
		}
		cancel()
	}
}

// askPeerSealed gives an offer of another as it came.
func (m member) askPeerSealed(t *testing.T, of member) []byte {
	t.Helper()
	if told := m.AskPeers(t.Context(), []peer.ID{of.ID()}); told[0].Err != nil {
		t.Fatal(told[0].Err)
	}
	return m.Sealed(of.ID())
}
