package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/baichuan-node/baichuan-node/client"
	"github.com/baichuan-node/baichuan-node/shard/tokenizer"
)

// clear forgets all but the system message.
func (c *chat) clear() {
	if len(c.messages) > 0 && c.messages[0].Role == "system" {
		c.messages = c.messages[:1]
		return
	}
	c.messages = nil
}

// setSystem replaces the system message of a conversation.
func (c *chat) setSystem(text string) {
	if len(c.messages) > 0 && c.messages[0].Role == "system" {
		c.messages = c.messages[1:]
	}
	if text != "" {
		c.messages = append([]tokenizer.Message{{Role: "system", Content: text}}, c.messages...)
	}
}

// edit takes the last message and its answer back and says something else. Of what was before the peers keep the cache.
func (c *chat) edit(ctx context.Context, text string) error {
	before := len(c.messages) - 1
	for before >= 0 && c.messages[before].Role != "user" {
		before--
	}
	switch {
	case text == "":
		return errors.New("/edit needs the text to say instead")
	case before < 0:
		return errors.New("/edit: nothing has been said yet")
	}
	all := c.messages
	c.messages = all[:before]
	err := c.say(ctx, text)
	if err != nil {
		c.messages = all
	}
	return err
}

// stats tells about the last answer.
func (c *chat) stats() error {
	if c.last == nil {
		return errors.New("no answer yet")
	}
	o := c.last
	fmt.Fprintf(c.errOut, "%d + %d tokens, the first after %d ms, then %.1f tokens/s, ended by %s\n", len(o.PromptIDs), len(o.IDs),
		o.Timings.FirstToken.Milliseconds(), o.Timings.TokensPerSecond(), o.FinishReason)
	s := o.Stats
	fmt.Fprintf(c.errOut, "%d hops, %d bytes to and from here (%d of them rows of peers that can't connect), %d tokens found in caches\n",
		s.Hops, s.Bytes, s.RelayedBytes, s.PrefixHits)
	if s.Stall > 0 {
		fmt.Fprintf(c.errOut, "stood still for %d ms: %d streams opened anew, %d bans, %d refusals for want of room\n",
			s.Stall.Milliseconds(), s.Reconnects, s.Bans, s.Pauses)
	}
	printChain(c.errOut, o)
	return nil
}

// printChain shows who computed an answer.
func printChain(w io.Writer, o *client.Outcome) {
	for _, h := range o.Chain {
		fmt.Fprintf(w, "  layers %-6s %s  %s\n", h.Layers, h.Peer, deviceName(h))
	}
	for _, f := range o.Failovers {
		fmt.Fprintf(w, "  layers %-6s were %s's: %v (%d ms, %d tokens computed again, %d handed over)\n",
			f.Layers, f.Peer, f.Reason, f.Stall.Milliseconds(), f.Replayed, f.HandedOver)
	}
}

// savedChat is the file of /save.
type savedChat struct {
	Model    string              `json:"model"` // its id
	Messages []tokenizer.Message `json:"messages"`
}

func (c *chat) save(path string) error {
	if path == "" {
		return errors.New("/save needs the name of a file")
	}
	return writeFile(path, func(w io.Writer) error {
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		e.SetIndent("", " ")
		return e.Encode(savedChat{Model: c.model.ID.String(), Messages: c.messages})
	})
}

func (c *chat) load(path string) error {
	if path == "" {
		return errors.New("/load needs the name of a file")
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("load the conversation: %w", err)
	}
	var saved savedChat
	if err := json.Unmarshal(data, &saved); err != nil {
		return fmt.Errorf("load the conversation %s: %w", path, err)
	}
	if len(saved.Messages) > 0 {
		if _, err := c.model.Tokenizer.Chat(saved.Messages, c.model.Roles()); err != nil {
			return fmt.Errorf("load the conversation %s: %w", path, err)
		}
	}
	c.messages = saved.Messages
	c.note("%d messages", len(c.messages))
	return nil
}

