package parts

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Uplink paces what leaves this machine in bulk, all of it together: hand-overs of caches and parts. Steps go by the same way
// and must not wait behind it. It is safe for concurrent use.
type Uplink struct {
	mu   sync.Mutex
	rate float64   // guarded by mu, as the next: bytes/s that bulk may take beside steps; 0: as fast as it goes
	free time.Time // when the next bytes may leave
}

// NewUplink makes the pace of an owner who gives so many bytes/s; 0: no cap.
func NewUplink(netRate uint64) *Uplink {
	u := &Uplink{}
	u.SetCap(netRate)
	return u
}

// SetCap changes what the owner gives: so many bytes/s; 0: no cap.
func (u *Uplink) SetCap(netRate uint64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.rate = bulkShare * float64(netRate)
}

// Takes is how long so many bytes take alone, at most maxTakes; 0 if that is not known.
func (u *Uplink) Takes(bytes int) time.Duration {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.takes(bytes)
}

func (u *Uplink) takes(bytes int) time.Duration {
	if u.rate == 0 {
		return 0
	}
	return time.Duration(min(float64(bytes)/u.rate*float64(time.Second), float64(maxTakes)))
}

// next says how long bytes that are to leave next have to wait for those before them. If that is longer than most (0: there
// is no bound), they don't leave at all. Of the time that the uplink has been free until now, they may use what so many bytes
// (saved) take.
func (u *Uplink) next(now time.Time, bytes, saved int, most time.Duration) (wait time.Duration, ok bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if from := now.Add(-u.takes(saved)); u.free.Before(from) {
		u.free = from
	}
	wait = max(0, u.free.Sub(now))
	if most > 0 && wait > most {
		return 0, false
	}
	u.free = u.free.Add(u.takes(bytes))
	return wait, true
}

// Wait waits until so many bytes may leave. Those that could not leave before ctx ends take nobody's place.
func (u *Uplink) Wait(ctx context.Context, bytes int) error { return u.wait(ctx, bytes, 0) }

// wait is Wait for bytes that may use some of the time in which the uplink was free.
func (u *Uplink) wait(ctx context.Context, bytes, saved int) error {
	now, most := time.Now(), time.Duration(0)
	if by, ok := ctx.Deadline(); ok {
		most = max(by.Sub(now), 1)
	}
	wait, ok := u.next(now, bytes, saved, most)
	if !ok {
		return errors.New("the upload is taken by others: ask again")
	}
	if wait == 0 {
		return nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// capped says whether the owner has set a cap.
func (u *Uplink) capped() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.rate > 0
}

// piece is how many of the wanted bytes go at once.
func (u *Uplink) piece(wanted int, live bool) int {
	if live {
		wanted = min(wanted, smallPiece)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.rate == 0 {
		return wanted
	}
	return min(wanted, max(leastPiece, int(u.rate*pieceTime.Seconds())))
}
