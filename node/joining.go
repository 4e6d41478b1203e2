package node

import (
	"github.com/baichuan-node/baichuan-node/protocol"
)

// Joining is what a node announces before it has loaded the layers that it is going to serve: so others that come at the
// same time choose other ones. Its own announcements take the place of it.
func (c Config) Joining(span protocol.Span, device string, speed Speed) protocol.Offer {
	o := protocol.Offer{
		Model: protocol.ModelID(c.Model.ID), ModelName: c.Model.Name, Span: span, Target: span, Layers: c.Model.Manifest.Layers,
		Capacity: c.Capacity, Fixed: c.Fixed, State: protocol.Joining, Device: device, NetRate: c.NetRate, Nick: c.Nick,
	}
	if speed.Decode > 0 {
		o.DecodeRate, o.PrefillRate = rate(speed.Decode), rate(speed.Prefill)
	}
	return o
}
