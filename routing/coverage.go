package routing

import "github.com/baichuan-node/baichuan-node/protocol"

// Missing gives the runs of layers that have no host, such as "4:6", of the number of hosts of each layer.
func Missing(hosts []int) []string {
	missing := []string{}
	for i := 0; i < len(hosts); i++ {
		start := i
		for i < len(hosts) && hosts[i] == 0 {
			i++
		}
		if i > start {
			missing = append(missing, protocol.Span{Start: start, End: i}.String())
		}
	}
	return missing
}
