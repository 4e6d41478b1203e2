package main

import (
	"context"
	"io"
	"log/slog"
)

// newLogHandler writes logs to w as text or JSON.
func newLogHandler(w io.Writer, format string, level slog.Level) (slog.Handler, error) {
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: readable}
	switch format {
	case "text":
		return slog.NewTextHandler(w, options), nil
	case "json":
		return slog.NewJSONHandler(w, options), nil
	}
	return nil, usagef("--log-format %q: want text or json", format)
}

// readable has durations in JSON as they are in text: 1.5s, and not a number of whatever.
func readable(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return a
}

// logKey is where a command's context keeps the logger.
type logKey struct{}

// logOf gives the logger of the command that ctx is of.
func logOf(ctx context.Context) *slog.Logger {
	if log, ok := ctx.Value(logKey{}).(*slog.Logger); ok {
		return log
	}
	return slog.New(slog.DiscardHandler)
}
