// SPDX-License-Identifier: Apache-2.0

// Calls the webhook as an API server does: Go's net/http with what client-go sets for a webhook that is a Service
// (k8s.io/apiserver/pkg/util/webhook/client.go): HTTP/1.1 alone, the Service's name proved by the CA bundle, 25 idle
// connections kept for 90 s. Asks the same review `rate` times a second for `seconds`, and prints what came of it as JSON.
//
//	webhook_caller ADDRESS CA-FILE SERVER-NAME REVIEW-FILE RATE SECONDS
package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sort"
	"strconv"
	"sync"
	"time"
)

type result struct {
	Asked       int            `json:"asked"`
	Failed      map[string]int `json:"failed"`
	Connections int            `json:"connections"`
	Protocol    string         `json:"protocol"`
	P50         float64        `json:"p50_ms"`
	P99         float64        `json:"p99_ms"`
	Max         float64        `json:"max_ms"`
}

type answer struct {
	Response struct {
		UID       string `json:"uid"`
		Allowed   bool   `json:"allowed"`
		PatchType string `json:"patchType"`
		Patch     []byte `json:"patch"`
	} `json:"response"`
}

// What an API server would say of an answer; "" if it would take it.
func judge(response *http.Response, uid string) string {
	body, err := io.ReadAll(response.Body)
	response.Body.Close()
	var got answer
	switch {
	case err != nil:
		return err.Error()
	case response.StatusCode != 200:
		return fmt.Sprintf("status %d: %s", response.StatusCode, body)
	case json.Unmarshal(body, &got) != nil:
		return "no AdmissionReview"
	case got.Response.UID != uid:
		return "another uid"
	case !got.Response.Allowed:
		return "not allowed"
	case got.Response.PatchType == "JSONPatch" && !json.Valid(got.Response.Patch):
		return "no patch"
	}
	return ""
}

func main() {
	address, name := os.Args[1], os.Args[3]
	ca, err := os.ReadFile(os.Args[2])
	review, err2 := os.ReadFile(os.Args[4])
	rate, _ := strconv.Atoi(os.Args[5])
	seconds, _ := strconv.ParseFloat(os.Args[6], 64)
	roots := x509.NewCertPool()
	if err != nil || err2 != nil || !roots.AppendCertsFromPEM(ca) {
		fmt.Fprintln(os.Stderr, "webhook_caller:", err, err2)
		os.Exit(2)
	}
	var asked struct {
		Request struct {
			UID string `json:"uid"`
		} `json:"request"`
	}
	json.Unmarshal(review, &asked)
	out := result{Failed: map[string]int{}}
	var lock sync.Mutex
	transport := &http.Transport{
		TLSHandshakeTimeout: 10 * time.Second,
		IdleConnTimeout:     90 * time.Second,
		MaxIdleConnsPerHost: 25,
		DisableCompression:  true,
		TLSClientConfig:     &tls.Config{RootCAs: roots, ServerName: name, NextProtos: []string{"http/1.1"}},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			lock.Lock()
			out.Connections++
			lock.Unlock()
			return (&net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}).DialContext(ctx, network, address)
		},
	}
	client := &http.Client{Transport: transport}
	var times []float64
	ask := func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		request, _ := http.NewRequestWithContext(ctx, "POST", "https://"+name+":443/inject?timeout=10s", bytes.NewReader(review))
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("Accept", "application/json, */*")
		began := time.Now()
		response, err := client.Do(request)
		wrong := ""
		if err != nil {
			wrong = err.Error()
		} else {
			wrong = judge(response, asked.Request.UID)
		}
		took := float64(time.Since(began).Microseconds()) / 1000
		lock.Lock()
		defer lock.Unlock()
		out.Asked++
		times = append(times, took)
		if wrong != "" {
			out.Failed[wrong]++
		} else {
			out.Protocol = response.Proto
		}
	}
	var all sync.WaitGroup
	ticker := time.NewTicker(time.Second / time.Duration(rate))
	for end := time.Now().Add(time.Duration(seconds * float64(time.Second))); time.Now().Before(end); <-ticker.C {
		all.Add(1)
		go func() { defer all.Done(); ask() }()
	}
	all.Wait()
	sort.Float64s(times)
	at := func(share float64) float64 { return times[int(share*float64(len(times)-1))] }
	out.P50, out.P99, out.Max = at(0.5), at(0.99), at(1)
	json.NewEncoder(os.Stdout).Encode(out)
}
