package routing

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// PickModel finds the model that want names among offers: by the name that its peers give it, by its id, or by the first
// 8 or more digits of that. An empty want takes the one model that there is. It returns an offer of that model, the
// lowest by peer. A name that several models have is an error that tells their ids: a name is only what a peer claims.
func PickModel(offers []protocol.Offer, want string) (protocol.Offer, error) {
	var found []protocol.Offer
	for _, o := range offers {
		if want == "" || named(o, want) {
			found = append(found, o)
		}
	}
	slices.SortStableFunc(found, func(a, b protocol.Offer) int {
		return cmp.Or(strings.Compare(a.Model.String(), b.Model.String()), cmp.Compare(a.Peer, b.Peer))
	})
	models := slices.CompactFunc(slices.Clone(found), func(a, b protocol.Offer) bool { return a.Model == b.Model })
	switch {
	case len(models) == 1:
		return models[0], nil
	case len(models) > 1:
		return protocol.Offer{}, fmt.Errorf("the swarm serves several such models: name one of %s", names(models))
	case len(offers) == 0:
		return protocol.Offer{}, errors.New("no peer of the swarm serves a model")
	}
	all := slices.Clone(offers)
	slices.SortFunc(all, func(a, b protocol.Offer) int { return strings.Compare(a.Model.String(), b.Model.String()) })
	all = slices.CompactFunc(all, func(a, b protocol.Offer) bool { return a.Model == b.Model })
	return protocol.Offer{}, fmt.Errorf("no peer of the swarm serves %q: there is %s", want, names(all))
}

// named reports whether want is the name of o's model, its id, or the beginning of that.
func named(o protocol.Offer, want string) bool {
	return strings.EqualFold(o.ModelName, want) ||
		(len(want) >= leastPrefix && strings.HasPrefix(o.Model.String(), strings.ToLower(want)))
}

// names lists models as NAME (ID), at most eight of them.
func names(models []protocol.Offer) string {
	const most = 8
	var all []string
	for _, o := range models[:min(len(models), most)] {
		all = append(all, fmt.Sprintf("%s (%s)", cmp.Or(o.ModelName, "unnamed"), o.Model.String()[:16]))
	}
	if len(models) > most {
		all = append(all, fmt.Sprintf("%d more", len(models)-most))
	}
	return strings.Join(all, ", ")
}
