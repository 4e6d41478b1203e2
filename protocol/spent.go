package protocol

import (
	"encoding/binary"
	"time"
)

// Spent is where a step's time at a hop went, as the hop says: nobody else has seen it.
type Spent struct {
	Waited   time.Duration // for its turn, for others' passes, and to be passed on
	Computed time.Duration // in the passes that it was part of
}

// AndSpent gives what was spent at the hops before with what was spent at another one, as it may travel: at MaxHops hops, by
// whole microseconds.
func AndSpent(before []Spent, here Spent) []Spent {
	before = before[max(0, len(before)-MaxHops+1):]
	all := make([]Spent, len(before), len(before)+1)
	copy(all, before)
	return append(all, Spent{Waited: spent(here.Waited), Computed: spent(here.Computed)})
}

func spent(d time.Duration) time.Duration { return min(max(d, 0), maxSpent).Truncate(time.Microsecond) }

// packSpent writes two numbers of microseconds for each hop, which take some four bytes together.
func packSpent(all []Spent) []byte {
	if len(all) == 0 {
		return nil
	}
	b := make([]byte, 0, 6*len(all))
	for _, s := range all {
		b = binary.AppendUvarint(b, uint64(s.Waited.Microseconds()))
		b = binary.AppendUvarint(b, uint64(s.Computed.Microseconds()))
	}
	return b
}

// spent reads them.
func (f *fields) spent() []Spent {
	b := f.header.Spent
	if len(b) == 0 {
		return nil
	}
	if len(b) > MaxHops*2*binary.MaxVarintLen64 {
		f.fail("times of hops in %d bytes", len(b))
		return nil
	}
	all := make([]Spent, 0, len(b)/2)
	for len(b) > 0 {
		var s Spent
		for _, d := range []*time.Duration{&s.Waited, &s.Computed} {
			us, n := binary.Uvarint(b)
			if n <= 0 || us > uint64(maxSpent.Microseconds()) {
				f.fail("a time of hop %d is cut off, or above %v", len(all), maxSpent)
				return nil
			}
			*d, b = time.Duration(us)*time.Microsecond, b[n:]
		}
		all = append(all, s)
	}
	if len(all) > MaxHops {
		f.fail("times of %d hops, there are %d at most", len(all), MaxHops)
		return nil
	}
	return all
}
