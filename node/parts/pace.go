package parts

import "time"

// pace says until when a job counts as one that gets on: for a while from its beginning, and for as long again with each
// smallPiece that comes, or for a share of that with less. No more than that while is saved up: who was quick once may not
// trickle for the rest.
type pace struct {
	each  time.Duration
	until time.Time
}

func newPace(each time.Duration, now time.Time) pace { return pace{each, now.Add(each)} }

// got notes bytes that have come.
func (p *pace) got(bytes int, now time.Time) {
	if p.until.Before(now) {
		p.until = now
	}
	p.until = p.until.Add(time.Duration(int64(p.each) * int64(bytes) / smallPiece))
	if most := now.Add(p.each); p.until.After(most) {
		p.until = most
	}
}
