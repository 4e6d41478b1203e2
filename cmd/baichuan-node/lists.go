package main

import (
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/spf13/cobra"
)

// listFlags say to which peers an owner's sessions may go.
type listFlags struct {
	allow, block []string
}

func (f *listFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&f.allow, "allow", nil, "id of a peer that sessions may go to, and to no others (repeatable; default: all)")
	cmd.Flags().StringArrayVar(&f.block, "block", nil, "id of a peer that no session may go to (repeatable)")
}

// sets parses both lists.
func (f *listFlags) sets() (allow, block map[peer.ID]bool, err error) {
	if allow, err = peerSet("allow", f.allow); err != nil {
		return nil, nil, err
	}
	block, err = peerSet("block", f.block)
	return allow, block, err
}

func peerSet(flag string, names []string) (map[peer.ID]bool, error) {
	set := make(map[peer.ID]bool)
	for _, name := range names {
		id, err := peer.Decode(name)
		if err != nil {
			return nil, usagef("--%s %q: want the id of a peer, 12D3..., as status and serve print it", flag, name)
		}
		set[id] = true
	}
	return set, nil
}
