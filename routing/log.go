package routing

import (
	"context"
	"log/slog"

	"github.com/libp2p/go-libp2p/gologshim"
)

// LogTo has libp2p's own errors go to a handler, from before its first one on: it is for the process, which calls it once. What
// is less than an error is of use only to who looks into libp2p, with its own variables.
func LogTo(h slog.Handler) { gologshim.SetDefaultHandler(&errorsOnly{h}) }

// errorsOnly is a handler of errors.
type errorsOnly struct{ slog.Handler }

// Enabled is part of slog.Handler.
func (h *errorsOnly) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelError && h.Handler.Enabled(ctx, level)
}

// WithAttrs is part of slog.Handler.
func (h *errorsOnly) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &errorsOnly{h.Handler.WithAttrs(attrs)}
}

// WithGroup is part of slog.Handler.
func (h *errorsOnly) WithGroup(name string) slog.Handler {
	return &errorsOnly{h.Handler.WithGroup(name)}
}
