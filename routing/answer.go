package routing

import (
	"fmt"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// answer answers the one question of a directory stream.
func (d *Directory) answer(st network.Stream) error {
	if err := st.Scope().ReserveMemory(protocol.MaxListBytes, network.ReservationPriorityMedium); err != nil {
		return protocol.WriteMessage(st, protocol.Failure{Code: protocol.CodeBusy, Text: "no memory for another stream"})
	}
	if err := st.SetDeadline(time.Now().Add(streamTimeout)); err != nil {
		return err
	}
	msg, err := protocol.ReadMessage(st, protocol.Limits{})
	if err != nil {
		return refuse(st, err)
	}
	d.counts.answered[messageKind(msg)].Add(1)
	var reply any
	switch m := msg.(type) {
	case protocol.Put:
		reply = d.take(st.Conn().RemotePeer(), m)
	case protocol.List:
		reply = d.tell(st.Conn().RemotePeer(), m)
	case protocol.Pledge:
		reply = d.promise(st.Conn().RemotePeer(), m)
	case protocol.Info:
		reply = d.tellOwn()
	default:
		reply = protocol.Failure{Code: protocol.CodeUnsupported, Text: fmt.Sprintf("%T is not for this stream", msg)}
	}
	return protocol.WriteMessage(st, reply)
}

// take keeps an offer that its own peer puts. One that is known already, or older than what is known, is a success: a
// renewal that was sent twice or overtaken. If the peer's clock was set back since its process before this one, it has to be
// told, even by who believes it already, or many would not know of it until its last offer is forgotten.
func (d *Directory) take(from peer.ID, m protocol.Put) any {
	if d.book.has(m.Offer, from) {
		return protocol.PutDone{}
	}
	o, err := d.unseal(m.Offer)
	switch {
	case err != nil:
		return protocol.Failure{Code: protocol.CodeBadRequest, Text: err.Error()}
	case o.Peer != from:
		return protocol.Failure{Code: protocol.CodeForbidden, Text: "an offer is taken from its own peer alone"}
	}
	d.book.reborn(o, time.Now()) // it is the peer's own word
	news, err := d.book.add(o, m.Offer, 0, time.Now())
	if err != nil {
		return protocol.Failure{Code: protocol.CodeBusy, Text: err.Error()}
	}
	if news {
		d.meet(o.Peer, o.Dialable().Addrs)
	}
	return protocol.PutDone{Newest: d.book.above(o.Peer, o.Sequence)}
}

// tell answers with the offers that are known, and hints at the model's keepers.
func (d *Directory) tell(asker peer.ID, m protocol.List) protocol.Offers {
	answer := d.book.list(m.Model, int(m.Limit), time.Now())
	if m.Model == (protocol.ModelID{}) {
		return answer
	}
	keepers := slices.DeleteFunc(d.keepers.ofNow(d.ctx, m.Model), func(id peer.ID) bool {
		return id == asker || id == d.host.ID() || d.book.leaving(id)
	})
	for _, id := range keepers[:min(len(keepers), protocol.MaxHints)] {
		if addrs := d.host.Peerstore().Addrs(id); len(addrs) > 0 {
			answer.Hints = append(answer.Hints, peer.AddrInfo{ID: id, Addrs: addrs})
		}
	}
	return answer
}
