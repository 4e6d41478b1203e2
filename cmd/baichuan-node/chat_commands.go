package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/baichuan-node/baichuan-node/client"
	"github.com/baichuan-node/baichuan-node/shard/tokenizer"
)

// chatCommand is something that a user may ask for beside talking.
type chatCommand struct {
	names []string
	args  string
	does  string
	text  bool // its argument may have several lines
	file  bool // its argument is a file's name
	do    func(c *chat, ctx context.Context, rest string) error
}

func chatCommands() []chatCommand {
	return []chatCommand{
		{names: []string{"/clear"}, does: "begin anew", do: func(c *chat, _ context.Context, _ string) error {
			c.clear()
			c.front.note("(begun anew)")
			return nil
		}},
		{names: []string{"/edit"}, args: "TEXT", does: "say TEXT instead of the last message", text: true, do: (*chat).edit},
		{names: []string{"/system"}, args: "TEXT", does: "begin anew with a system message (no TEXT: without)", text: true,
			do: func(c *chat, _ context.Context, rest string) error {
				c.clear()
				c.setSystem(rest)
				c.front.note("(begun anew)")
				return nil
			}},
		{names: []string{"/editor", "/vim"}, args: "TEXT", does: "write a message in $VISUAL or $EDITOR", text: true, do: (*chat).compose},
		{names: []string{"/save"}, args: "FILE", does: "write the conversation to a file", file: true,
			do: func(c *chat, _ context.Context, rest string) error { return c.save(rest) }},
		{names: []string{"/load"}, args: "FILE", does: "go on with a saved conversation", file: true,
			do: func(c *chat, _ context.Context, rest string) error { return c.load(rest) }},
		{names: []string{"/stream"}, does: "show answers when they are complete, or as they come again",
			do: func(c *chat, _ context.Context, _ string) error { return c.toggleStream() }},
		{names: []string{"/stats"}, does: "tell about the last answer",
			do: func(c *chat, _ context.Context, _ string) error { return c.stats() }},
		{names: []string{"/help"}, does: "this",
			do: func(c *chat, _ context.Context, _ string) error {
				c.front.note(chatHelp())
				return nil
			}},
		{names: []string{"/exit", "/quit"}, does: "leave", do: func(*chat, context.Context, string) error { return errExit }},
	}
}

// chatHelp lists the commands and keys of a chat.
func chatHelp() string {
	var b strings.Builder
	for _, k := range chatCommands() {
		fmt.Fprintf(&b, "%-17s %s\n", strings.TrimSpace(strings.Join(k.names, ", ")+" "+k.args), k.does)
	}
	b.WriteString(chatKeys)
	return b.String()
}

const chatKeys = `"""               begin and end a message of several lines, none of which is a command
Alt-Enter, Ctrl-J a new line in a message (what is pasted keeps its own)
Up, Down, Ctrl-R  what was said before; Ctrl-R looks for a text in it
Tab               complete a command, or a file's name
Ctrl-C            stop the answer, or give up what is written
Ctrl-D            leave`

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
	before := c.lastRound()
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

// compose has the user write a message in an editor.
func (c *chat) compose(ctx context.Context, text string) error {
	text, err := c.front.edit(text)
	if err != nil || strings.TrimSpace(text) == "" {
		return err
	}
	return c.say(ctx, text)
}

// toggleStream has answers shown as they come, or when they are complete.
func (c *chat) toggleStream() error {
	c.whole = !c.whole
	if c.whole {
		c.front.note("(answers are shown when they are complete)")
	} else {
		c.front.note("(answers are shown as they come)")
	}
	return nil
}

// stats tells about the last answer.
func (c *chat) stats() error {
	if c.last == nil {
		return errors.New("no answer yet")
	}
	a := c.last
	var b strings.Builder
	fmt.Fprintf(&b, "%d + %d tokens, the first after %d ms, then %.1f tokens/s, ended by %s\n", a.prompt, a.tokens,
		a.timings.FirstToken.Milliseconds(), a.timings.TokensPerSecond(), a.reason)
	s := a.stats
	fmt.Fprintf(&b, "%d hops, %d bytes to and from here (%d of them rows of peers that can't connect), %d tokens found in caches\n",
		s.Hops, s.Bytes, s.RelayedBytes, s.PrefixHits)
	if s.Stall > 0 {
		fmt.Fprintf(&b, "stood still for %d ms: %d streams opened anew, %d bans, %d refusals for want of room\n",
			s.Stall.Milliseconds(), s.Reconnects, s.Bans, s.Pauses)
	}
	printChain(&b, a.chain, a.failovers)
	c.front.tell(b.String())
	return nil
}

// printChain shows who computed an answer.
func printChain(w io.Writer, hops []client.HopInfo, failovers []client.Failover) {
	for _, h := range hops {
		fmt.Fprintf(w, "  layers %-6s %s  %s\n", h.Layers, h.Peer, deviceName(h))
	}
	for _, f := range failovers {
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
	err := writeFile(path, func(w io.Writer) error {
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		e.SetIndent("", " ")
		return e.Encode(savedChat{Model: c.model.ID.String(), Messages: c.messages})
	})
	if err == nil {
		c.front.note(fmt.Sprintf("(%d messages saved)", len(c.messages)))
	}
	return err
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
	c.front.note(fmt.Sprintf("(%d messages loaded)", len(c.messages)))
	return nil
}
