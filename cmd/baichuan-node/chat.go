package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/baichuan-node/baichuan-node/client"
	"github.com/baichuan-node/baichuan-node/shard/tokenizer"
)

const chatHelp = `/clear            begin anew
/edit TEXT        say TEXT instead of the last message
/system TEXT      begin anew with a system message (no TEXT: without)
/save FILE        write the conversation to a file
/load FILE        go on with a saved conversation
/stats            tell about the last answer
/exit             leave
"""               begin and end a message of several lines, none of which is a command
Ctrl-C            stop the answer`

func newChatCommand(a *app) *cobra.Command {
	var swarm swarmFlags
	var lists listFlags
	var sampling samplingFlags
	var system string
	var noShare bool
	cmd := &cobra.Command{
		Use:   "chat [MODEL]",
		Short: "Talk with a model of a swarm",
		Long:  "Talks in the terminal with a model whose layers the peers of a swarm hold. In a chat:\n\n" + chatHelp,
		Args:  wantArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			name := ""
			if len(args) > 0 {
				name = args[0]
			}
			answers, err := answerFromSwarm(cmd.Context(), name, &swarm, &lists, cmd.ErrOrStderr(), sessionConfig(cmd.ErrOrStderr(), noShare))
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, answers.close()) }()
			options, err := sampling.options(cmd, answers.model.Drawing)
			if err != nil {
				return err
			}
			c := newChat(cmd, a, answers, options)
			c.setSystem(system)
			return c.run(cmd.Context(), cmd.InOrStdin())
		},
	}
	swarm.add(cmd)
	lists.add(cmd)
	sampling.add(cmd)
	cmd.Flags().StringVar(&system, "system", "", "system message")
	cmd.Flags().BoolVar(&noShare, "no-share", false, "share no cached prefix with other sessions")
	return cmd
}

// chat is a conversation in the terminal, or over pipes: then a line is a message, and nothing but answers is
// written to standard output.
type chat struct {
	out, errOut  io.Writer
	interactive  bool
	interrupts   *interrupts
	log          *slog.Logger
	model        *client.Model
	conversation *client.Conversation
	options      client.Options
	messages     []tokenizer.Message
	last         *client.Outcome
}

func newChat(cmd *cobra.Command, a *app, answers *answerer, o client.Options) *chat {
	return &chat{
		out: textWriter(cmd.OutOrStdout()), errOut: cmd.ErrOrStderr(), interactive: isTerminal(cmd.InOrStdin()),
		interrupts: &a.interrupts, log: a.log, model: answers.model, conversation: answers.conversation, options: o,
	}
}

// errExit ends a chat.
var errExit = errors.New("the user has left")

// run reads messages and answers them until the input ends.
func (c *chat) run(ctx context.Context, in io.Reader) error {
	c.note("Chat with %s. /help tells what there is beside talking.", c.model.Name)
	c.prompt()
	if c.interactive {
		defer c.interrupts.divert(func() { c.note("\n(/exit leaves)"); c.prompt() })()
	}
	for line := range lines(ctx, in) {
		if line.err != nil {
			return line.err
		}
		err := c.take(ctx, line)
		switch {
		case errors.Is(err, errExit):
			return nil
		case err != nil && !c.interactive:
			return err
		case err != nil && ctx.Err() != nil:
			return err
		case err != nil:
			c.note("error: %s", oneLine(err.Error()))
		}
		c.prompt()
	}
	return ctx.Err()
}

// prompt invites to the next message. Over pipes nothing is shown.
func (c *chat) prompt() {
	if c.interactive {
		fmt.Fprint(c.errOut, "> ")
	}
}

// note tells a person something that is no answer.
func (c *chat) note(format string, args ...any) {
	if c.interactive {
		fmt.Fprintf(c.errOut, format+"\n", args...)
	}
}

// take does what a line asks for. A quoted message is no command, whatever it looks like.
func (c *chat) take(ctx context.Context, line input) error {
	if line.quoted && strings.TrimSpace(line.text) != "" {
		return c.say(ctx, line.text)
	}
	command, rest, _ := strings.Cut(strings.TrimSpace(line.text), " ")
	rest = strings.TrimSpace(rest)
	switch command {
	case "":
		return nil
	case "/exit", "/quit":
		return errExit
	case "/help":
		c.note("%s", chatHelp)
	case "/clear":
		c.clear()
	case "/edit":
		return c.edit(ctx, rest)
	case "/system":
		c.clear()
		c.setSystem(rest)
	case "/save":
		return c.save(rest)
	case "/load":
		return c.load(rest)
	case "/stats":
		return c.stats()
	default:
		if strings.HasPrefix(command, "/") {
			return fmt.Errorf("no command %s: /help lists them", command)
		}
		return c.say(ctx, line.text)
	}
	return nil
}

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

// say asks and prints the answer. Ctrl-C stops the answer, which stays in the conversation as far as it came.
func (c *chat) say(ctx context.Context, text string) error {
	answering, stop := context.WithCancel(ctx)
	defer stop()
	if c.interactive {
		defer c.interrupts.divert(stop)()
	}
	messages := append(c.messages[:len(c.messages):len(c.messages)], tokenizer.Message{Role: "user", Content: text})
	chunks, dropped, err := c.conversation.Chat(answering, messages, c.options)
	if err != nil {
		return err
	}
	if dropped > 0 {
		c.note("(the conversation is longer than the context: the oldest %d rounds are forgotten)", dropped)
	}
	var said strings.Builder
	outcome, err := printAnswer(answering, io.MultiWriter(c.out, &said), chunks)
	if err != nil && (ctx.Err() != nil || answering.Err() == nil) {
		return err
	}
	answer := strings.TrimSuffix(said.String(), "\n")
	if outcome != nil {
		logFailovers(c.log, outcome)
		c.last, answer = outcome, outcome.Text
	} else {
		c.note("(stopped)")
	}
	c.messages = append(messages, tokenizer.Message{Role: "assistant", Content: answer})
	return nil
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

// input is a message that was typed, or why there will be no more.
type input struct {
	text   string
	quoted bool
	err    error
}

// quotes stand around a message that may have several lines.
const quotes = `"""`

// lines reads messages until the input or ctx ends. A message between """ may have several lines. Reading a terminal
// can't be interrupted: the goroutine that does it may stay in a read until the process leaves.
func lines(ctx context.Context, in io.Reader) func(yield func(input) bool) {
	return func(yield func(input) bool) {
		read := make(chan input)
		done := make(chan struct{})
		defer close(done)
		go readLines(in, read, done)
		for {
			select {
			case line, more := <-read:
				if !more || !yield(line) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}

func readLines(in io.Reader, read chan<- input, done <-chan struct{}) {
	defer close(read)
	send := func(i input) bool {
		select {
		case read <- i:
			return true
		case <-done:
			return false
		}
	}
	s := bufio.NewScanner(in)
	s.Buffer(nil, maxLine)
	var q quotation
	for s.Scan() {
		if message, complete := q.take(s.Text()); complete && !send(message) {
			return
		}
	}
	switch err := s.Err(); {
	case err != nil:
		send(input{err: fmt.Errorf("read a message: %w", err)})
	case q.open: // the end of the input ends it as well
		send(q.message())
	}
}

// quotation puts the lines of a quoted message together. The quotes stand before its first line and behind its last
// one, or on lines of their own.
type quotation struct {
	open  bool
	lines []string
}

// take adds a line and gives the message that is complete with it.
func (q *quotation) take(line string) (message input, complete bool) {
	if !q.open {
		rest, quoted := strings.CutPrefix(strings.TrimSpace(line), quotes)
		if !quoted {
			return input{text: line}, true
		}
		q.open, line = true, rest
		if line == "" {
			return input{}, false
		}
	}
	last, closed := strings.CutSuffix(strings.TrimRight(line, " \t\r"), quotes)
	if !closed {
		q.lines = append(q.lines, line)
		return input{}, false
	}
	if last != "" {
		q.lines = append(q.lines, last)
	}
	return q.message(), true
}

// message gives the message so far and begins anew.
func (q *quotation) message() input {
	m := input{text: strings.Join(q.lines, "\n"), quoted: true}
	*q = quotation{}
	return m
}
