// Command baichuan-node serves layers of a Baichuan model to a swarm of peers, and talks to such a swarm.
//
// It turns flags into configurations, signals into contexts and errors into exit codes; what it does is done by
// the packages that it calls.
package main

import (
	"context"
	"io"
	"log"
	"os"
)

func main() {
	log.SetOutput(io.Discard) // of libraries that print by themselves; our own lines have handlers
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is main without a process: it gives the exit code.
func run(ctx context.Context, args []string, in io.Reader, out, errOut io.Writer) int {
	a := &app{notices: &notices{to: errOut}}
	ctx, stop := a.interrupts.watch(ctx)
	defer stop()
	root := newRootCommand(a)
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(a.notices)
	err := root.ExecuteContext(ctx)
	return report(ctx, errOut, err)
}
