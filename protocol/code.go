package protocol

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Code says why a message was refused or a step failed.
type Code uint8

// The codes, by class. A code that this version does not know counts as Elsewhere.
const (
	CodeBusy        Code = 1 + iota // no room now
	CodeLoading                     // the span's weights are not ready yet
	CodeLostSession                 // the session is not here (any more)

	CodeDraining      // the peer takes no new work
	CodeNoSuchSpan    // the peer does not serve these layers
	CodeOtherManifest // the peer serves another model
	CodeNoMemory      // no cache left for this session
	CodeInternal      // a fault of the peer's own

	CodeBadRequest  // the message breaks the protocol
	CodeContextFull // the sequence would be longer than the model's context
	CodeForbidden
	CodeUnsupported // a message type that the peer does not know

	CodeBadInput // what the hop before has sent is not right: that hop's fault, see Failure.Suspect, or the peer's that says so
)

// Class is what a client decides by.
type Class uint8

// The classes.
const (
	Again     Class = 1 + iota // the same peer, later
	Elsewhere                  // another peer
	Never                      // no peer: the request itself is at fault
)

// Class returns what to do about a refusal with code c.
func (c Code) Class() Class {
	switch c {
	case CodeBusy, CodeLoading, CodeLostSession:
		return Again
	case CodeBadRequest, CodeContextFull, CodeForbidden, CodeUnsupported:
		return Never
	}
	return Elsewhere
}

// String returns the code in words.
func (c Code) String() string {
	switch c {
	case CodeBusy:
		return "busy"
	case CodeLoading:
		return "loading"
	case CodeLostSession:
		return "lost session"
	case CodeDraining:
		return "draining"
	case CodeNoSuchSpan:
		return "no such span"
	case CodeOtherManifest:
		return "other manifest"
	case CodeNoMemory:
		return "no memory"
	case CodeInternal:
		return "internal"
	case CodeBadRequest:
		return "bad request"
	case CodeContextFull:
		return "context full"
	case CodeForbidden:
		return "forbidden"
	case CodeUnsupported:
		return "unsupported"
	case CodeBadInput:
		return "bad input"
	}
	return fmt.Sprintf("code %d", uint8(c))
}

// String returns the class in a word.
func (c Class) String() string {
	switch c {
	case Again:
		return "again"
	case Elsewhere:
		return "elsewhere"
	case Never:
		return "never"
	}
	return fmt.Sprintf("class %d", uint8(c))
}

// Error returns the code and the sentence, on one line.
func (f Failure) Error() string {
	if f.Text == "" {
		return f.Code.String()
	}
	return f.Code.String() + ": " + CleanText(f.Text, MaxTextBytes)
}

// FrameError is a frame that ReadMessage refused. Failure makes the answer to it. After CodeUnsupported the stream stands at
// the next frame; after any other code it is of no further use.
type FrameError struct {
	Code Code // CodeBadRequest, CodeUnsupported or CodeOtherManifest
	Text string
}

// Error returns the code and the reason.
func (e *FrameError) Error() string { return e.Code.String() + ": " + e.Text }

// Failure returns the answer for the peer that sent the frame.
func (e *FrameError) Failure() Failure { return Failure{Code: e.Code, Text: e.Text} }

// refuse returns a FrameError with CodeBadRequest.
func refuse(format string, args ...any) error {
	return &FrameError{Code: CodeBadRequest, Text: fmt.Sprintf(format, args...)}
}

// CleanText makes text from a stranger fit for a terminal, a log or a page's text: valid UTF-8 without control and
// formatting characters (line ends, escapes, changes of direction), each run of white space one blank, cut to at most
// limit bytes between characters.
func CleanText(s string, limit int) string {
	var b strings.Builder
	blank := false
	for _, r := range s {
		switch {
		case unicode.IsSpace(r):
			blank = b.Len() > 0
			continue
		case !unicode.IsPrint(r) || r == utf8.RuneError:
			continue
		}
		n := utf8.RuneLen(r)
		if blank {
			n++
		}
		if b.Len()+n > limit {
			break
		}
		if blank {
			b.WriteByte(' ')
			blank = false
		}
		b.WriteRune(r)
	}
	return b.String()
}
