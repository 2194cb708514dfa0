// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// flips says, in a line for each change, since when calls of a URL are answered or fail.
func flips(urls []string) error {
	for _, url := range urls {
		go func() {
			client := newClient(3000, false)
			last := "unknown"
			for range time.Tick(5 * time.Millisecond) {
				begun := time.Now()
				now := "answered"
				if _, err := get(client, url); err != nil {
					now = "failed"
				}
				if now != last {
					fmt.Printf("%d %s %s\n", begun.UnixMicro(), now, url)
					last = now
				}
			}
		}()
	}
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGTERM, syscall.SIGINT)
	<-asked
	return nil
}
