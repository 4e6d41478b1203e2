package session

import (
	"time"
)

// MayFind says whether the cache may be filled with pages that are there already: it is empty, nothing runs, nobody hands
// it over, and it is shared.
func (s *Session) MayFind() bool {
	return !s.closed && !s.running && s.held() == 0 && !s.private && s.from == ""
}

// Found records that so many tokens were found in pages that are there already, and gives how many of them the session may
// keep. The first step says how many it builds upon: another hop may have found less.
func (s *Session) Found(now time.Time, tokens int) int {
	if s.grow(now, tokens) != nil {
		tokens = min(tokens, s.promised)
	}
	s.length, s.offered = tokens, tokens > 0
	s.used = now
	return tokens
}

// Offered says whether the tokens that the cache holds were found, and no step has built upon them yet.
func (s *Session) Offered() bool { return s.offered }

// Take promises the session room for so many tokens more, which are handed over.
func (s *Session) Take(now time.Time, tokens int) error {
	s.used = now
	return s.grow(now, s.length+tokens)
}

// Taken records that so many more tokens have been handed over behind the first ones, unless a newer open has cut them or
// the session has ended meanwhile: then what came is not the session's. Which steps made them is not known here and need not
// be: they are not answered again, and a peer that hands a cache over is not to say which numbers are refused.
func (s *Session) Taken(epoch uint32, at, tokens int) bool {
	if s.closed || s.running || s.epoch != epoch || s.held() != at {
		return false
	}
	s.length += tokens
	return true
}
