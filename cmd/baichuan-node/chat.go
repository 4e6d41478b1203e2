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

