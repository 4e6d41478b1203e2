package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/baichuan-node/baichuan-node/client"
	"github.com/baichuan-node/baichuan-node/protocol"
)

// TestLog_SaysTheSameAsTextAndAsJSON logs a failover in both forms.
func TestLog_SaysTheSameAsTextAndAsJSON(t *testing.T) {
	outcome := &client.Outcome{Failovers: []client.Failover{{
		Layers: protocol.Span{Start: 2, End: 4}, Peer: "a", Reason: errors.New("silent\nfor 2s"), Successors: []protocol.PeerID{"b"},
		Stall: 1500 * time.Millisecond, Replayed: 20,
	}}}
	logged := func(format string) string {
		var b bytes.Buffer
		h, err := newLogHandler(&b, format, slog.LevelInfo)
		if err != nil {
			t.Fatal(err)
		}
		log := slog.New(h)
		logFailovers(log, outcome)
		log.Info("later", "within", 90*time.Second)
		log.Debug("never")
		return b.String()
	}
	text := logged("text")
	for _, want := range []string{"layers=2:4", "peer=2g", `reason="silent\nfor 2s"`, "successors=[2h]", "stall_ms=1500", "replayed_tokens=20", "within=1m30s"} {
		if !strings.Contains(text, want) {
			t.Errorf("the text has no %s:\n%s", want, text)
		}
	}
	lines := strings.Split(strings.TrimSpace(logged("json")), "\n")
	if len(lines) != 2 || strings.Count(text, "\n") != 2 {
		t.Fatalf("%d lines of JSON and %d of text, want 2", len(lines), strings.Count(text, "\n"))
	}
	var first struct {
		Level, Msg, Layers, Peer, Reason string
		Successors                       []string
		Stall                            int `json:"stall_ms"`
	}
	if err := json.Unmarshal([]byte(lines[0]), &first); err != nil {
		t.Fatal(err)
	}
	if first.Layers != "2:4" || first.Peer != "2g" || first.Reason != "silent\nfor 2s" || len(first.Successors) != 1 || first.Stall != 1500 || first.Level != "INFO" {
		t.Errorf("%s", lines[0])
	}
	if !strings.Contains(lines[1], `"within":"1m30s"`) {
		t.Errorf("%s", lines[1])
	}
	if _, err := newLogHandler(nil, "xml", 0); err == nil {
		t.Error("logs are written as xml")
	}
}
