package client

import "strings"

// stopper cuts a text that comes in pieces before the earliest stop string in it, whatever the pieces are. It gives out
// no text that may yet turn out to be the beginning of a stop string. The zero value stops at nothing.
type stopper struct {
	stops []string
	held  string // not given out yet
}

// push takes the next piece of the text. It gives out what is certain, and says whether a stop string has been found:
// then the text ends there.
func (s *stopper) push(piece string) (out string, stopped bool) {
	s.held += piece
	for i := range s.held {
		switch found, begun := s.at(s.held[i:]); {
		case found:
			return s.take(i), true
		case begun:
			return s.take(i), false // an earlier stop string wins, so nothing behind it counts until it is decided
		}
	}
	return s.take(len(s.held)), false
}

// flush ends the text: what was held back is given out, up to the first whole stop string in it.
func (s *stopper) flush() (out string, stopped bool) {
	for i := range s.held {
		if found, _ := s.at(s.held[i:]); found {
			return s.take(i), true
		}
	}
	return s.take(len(s.held)), false
}

// at tells whether text begins with a stop string, and whether more text could make it do so.
func (s *stopper) at(text string) (found, begun bool) {
	for _, stop := range s.stops {
		found = found || strings.HasPrefix(text, stop)
		begun = begun || strings.HasPrefix(stop, text)
	}
	return found, begun && !found
}

// take gives out the first n bytes that are held.
func (s *stopper) take(n int) string {
	out := s.held[:n]
	s.held = s.held[n:]
	return out
}
