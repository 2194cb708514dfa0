// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

type answer struct {
	Name   string `json:"name"`
	Pod    string `json:"pod"`
	Source string `json:"source"`
}

func serve(arguments []string) error {
	flags := flag.NewFlagSet("serve", flag.ExitOnError)
	port := flags.Int("port", 8080, "")
	name := flags.String("name", "app", "")
	linger := flags.Int("linger", 0, "")
	flags.Parse(arguments)
	pod, _ := os.Hostname()

	handler := func(w http.ResponseWriter, r *http.Request) {
		if ms, err := strconv.Atoi(r.URL.Query().Get("ms")); err == nil {
			time.Sleep(time.Duration(ms) * time.Millisecond)
		}
		source, _, _ := net.SplitHostPort(r.RemoteAddr)
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(answer{*name, pod, source})
	}
	server := &http.Server{Addr: ":" + strconv.Itoa(*port), Handler: http.HandlerFunc(handler)}
	stopped := make(chan error)
	go func() {
		asked := make(chan os.Signal, 1)
		signal.Notify(asked, syscall.SIGTERM, syscall.SIGINT)
		<-asked
		time.Sleep(time.Duration(*linger) * time.Millisecond)
		limit, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		stopped <- server.Shutdown(limit)
	}()
	fmt.Printf("%s serves on port %d\n", *name, *port)
	if err := server.ListenAndServe(); err != http.ErrServerClosed {
		return err
	}
	return <-stopped
}
