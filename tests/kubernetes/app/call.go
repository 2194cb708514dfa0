// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// The flags may stand behind the URL, as in the usage.
func parse(flags *flag.FlagSet, arguments []string) (string, error) {
	if len(arguments) == 0 {
		return "", errors.New("no address was given")
	}
	flags.Parse(arguments[1:])
	return arguments[0], nil
}

func newClient(timeout int, keep bool) *http.Client {
	transport := &http.Transport{DisableKeepAlives: !keep, MaxIdleConnsPerHost: 64}
	return &http.Client{Transport: transport, Timeout: time.Duration(timeout) * time.Millisecond}
}

func get(client *http.Client, url string) (string, error) {
	response, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = errors.New(response.Status)
	}
	return string(body), err
}

func call(arguments []string) error {
	flags := flag.NewFlagSet("call", flag.ExitOnError)
	times := flags.Int("times", 1, "")
	timeout := flags.Int("timeout", 3000, "")
	until := flags.Bool("until", false, "")
	url, err := parse(flags, arguments)
	if err != nil {
		return err
	}
	client := newClient(*timeout, false)
	for num := 0; num < *times; num++ {
		body, failure := get(client, url)
		for ; failure != nil && *until; body, failure = get(client, url) {
			time.Sleep(100 * time.Millisecond)
		}
		if err = failure; err == nil {
			fmt.Print(body)
		}
	}
	return err
}

type report struct {
	Calls    int            `json:"calls"`
	Failed   int            `json:"failed"`
	Failures map[string]int `json:"failures"`
	MaxMs    float64        `json:"max_ms"`
}

func load(arguments []string) error {
	flags := flag.NewFlagSet("load", flag.ExitOnError)
	rate := flags.Int("rate", 50, "")
	seconds := flags.Float64("seconds", 1e9, "")
	timeout := flags.Int("timeout", 5000, "")
	keep := flags.Bool("keep", false, "")
	url, err := parse(flags, arguments)
	if err != nil {
		return err
	}
	client := newClient(*timeout, *keep)
	until, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	until, done := context.WithTimeout(until, time.Duration(*seconds*float64(time.Second)))
	defer done()

	total := report{Failures: map[string]int{}}
	var lock sync.Mutex
	var calls sync.WaitGroup
	turns := time.NewTicker(time.Second / time.Duration(*rate))
	fmt.Println("load begins")
	for until.Err() == nil {
		select {
		case <-until.Done():
			continue
		case <-turns.C:
		}
		calls.Add(1)
		go func() {
			defer calls.Done()
			begun := time.Now()
			_, err := get(client, url)
			took := float64(time.Since(begun).Microseconds()) / 1000
			lock.Lock()
			defer lock.Unlock()
			total.Calls++
			total.MaxMs = max(total.MaxMs, took)
			if err != nil {
				total.Failed++
				total.Failures[root(err)]++
				fmt.Fprintf(os.Stderr, "%s after %.0f ms: %v\n", begun.Format("15:04:05.000"), took, err)
			}
		}()
	}
	calls.Wait()
	line, _ := json.Marshal(total)
	fmt.Println(string(line))
	return nil
}

// What lies at the bottom of an error, without the ports that make each one another.
func root(err error) string {
	for errors.Unwrap(err) != nil {
		err = errors.Unwrap(err)
	}
	return err.Error()
}

func hold(arguments []string) error {
	flags := flag.NewFlagSet("hold", flag.ExitOnError)
	connections := flags.Int("connections", 1000, "")
	address, err := parse(flags, arguments)
	if err != nil {
		return err
	}
	for num := 0; num < *connections; num++ {
		connection, err := net.DialTimeout("tcp", address, 10*time.Second)
		if err != nil {
			return fmt.Errorf("connection %d: %w", num, err)
		}
		defer connection.Close()
		// A first call, so that the connection is one all the way through.
		fmt.Fprintf(connection, "GET / HTTP/1.1\r\nHost: app\r\n\r\n")
		if _, err = connection.Read(make([]byte, 4096)); err != nil {
			return fmt.Errorf("connection %d: %w", num, err)
		}
	}
	fmt.Printf("%d connections are open\n", *connections)
	return wait(nil)
}

func wait([]string) error {
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGTERM, syscall.SIGINT)
	<-asked
	return nil
}
