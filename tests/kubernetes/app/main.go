// SPDX-License-Identifier: Apache-2.0

// The application of the tests: a server that says who it is and whom it sees, and callers.
package main

import (
	"fmt"
	"os"
)

const usage = `app serve [--port PORT] [--name NAME] [--linger MS]
    answers GET / with a line of JSON: its name, its pod's, and the caller's address; GET /slow?ms=MS so much later.
    On SIGTERM it takes calls for MS more, then ends those under way, and exits 0.
app call URL [--times N] [--timeout MS] [--until]
    calls once or N times, a connection each; with --until, until a call is answered. Exit 1 if the last call failed.
app load URL [--rate N] [--seconds S] [--timeout MS] [--keep]
    calls N times a second until S are over or SIGTERM comes; with --keep over connections that stay open.
    Says at the end, in a line of JSON, how many calls there were, and which failed and how.
app flips URL...
    calls each all the time, and says in a line whenever one's calls begin to be answered, or to fail: "MICROSECONDS answered URL".
app wait
    does nothing until SIGTERM, for who calls from within by kubectl exec.
app hold ADDRESS --connections N
    opens N connections, says so, and keeps them until SIGTERM.
`

func main() {
	commands := map[string]func([]string) error{"serve": serve, "call": call, "load": load, "hold": hold, "wait": wait, "flips": flips}
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	if err := commands[os.Args[1]](os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "app:", err)
		os.Exit(1)
	}
}
