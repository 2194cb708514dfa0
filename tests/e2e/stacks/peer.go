// SPDX-License-Identifier: Apache-2.0

// A TLS peer on Go's crypto/tls; peer.py says what it takes and what it prints.
package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
)

func must[T any](value T, err error) T {
	if err != nil {
		fmt.Println("0 bytes, error:", err)
		os.Exit(1)
	}
	return value
}

func number(text string) int64 {
	value, _ := strconv.ParseInt(text, 10, 64)
	return value
}

func config(certificate, key, roots string, options map[string]string) *tls.Config {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(must(os.ReadFile(roots)))
	made := &tls.Config{
		Certificates: []tls.Certificate{must(tls.LoadX509KeyPair(certificate, key))},
		RootCAs:      pool, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
		MinVersion: tls.VersionTLS13, InsecureSkipVerify: true, // a SPIFFE id is no host name
	}
	if options["alpn"] != "" {
		made.NextProtos = strings.Split(options["alpn"], ",")
	}
	return made
}

func connect(role, address string, config *tls.Config) (*net.TCPConn, *tls.Conn) {
	if role == "client" {
		plain := must(net.Dial("tcp", address)).(*net.TCPConn)
		return plain, tls.Client(plain, config)
	}
	listener := must(net.Listen("tcp", address))
	fmt.Println("listening", listener.Addr().(*net.TCPAddr).Port)
	plain := must(listener.Accept()).(*net.TCPConn)
	return plain, tls.Server(plain, config)
}

// Does what `end` says; returns whether it reads on.
func endByItself(way string, plain *net.TCPConn, secure *tls.Conn) bool {
	switch way {
	case "close":
		secure.Close()
	case "finish":
		secure.CloseWrite()
	case "fin":
		plain.CloseWrite()
	case "reset":
		plain.SetLinger(0)
		plain.Close()
	}
	return way == "finish" || way == "fin"
}

func read(plain *net.TCPConn, secure *tls.Conn, sent chan bool, options map[string]string) string {
	buffer, total, take := make([]byte, 65536), int64(0), number(options["take"])
	for {
		got, err := secure.Read(buffer)
		isFirst := total == 0 && got > 0
		total += int64(got)
		if isFirst && options["end"] != "" && !endByItself(options["end"], plain, secure) {
			return fmt.Sprint(total, " bytes, closed")
		}
		if take > 0 && total >= take {
			<-sent
			secure.Close()
			return fmt.Sprint(total, " bytes, closed")
		}
		if err == io.EOF {
			return fmt.Sprint(total, " bytes, clean")
		}
		if err != nil {
			return fmt.Sprint(total, " bytes, error: ", err)
		}
	}
}

func main() {
	role, address, options := os.Args[1], net.JoinHostPort(os.Args[2], os.Args[3]), map[string]string{}
	for _, argument := range os.Args[7:] {
		name, value, _ := strings.Cut(argument, "=")
		options[name] = value
	}
	plain, secure := connect(role, address, config(os.Args[4], os.Args[5], os.Args[6], options))
	if err := secure.Handshake(); err != nil {
		must(0, err)
	}
	protocol := secure.ConnectionState().NegotiatedProtocol
	if protocol == "" {
		protocol = "-"
	}
	fmt.Println("connected", protocol)
	sent := make(chan bool)
	if num := number(options["send"]); num > 0 {
		go func() {
			defer close(sent)
			for ; num > 0; num -= 65536 {
				secure.Write(make([]byte, min(num, 65536)))
			}
		}()
	} else {
		secure.Write([]byte("hello\n"))
		close(sent)
	}
	input := bufio.NewReader(os.Stdin)
	if options["wait"] != "" {
		input.ReadString('\n')
	}
	fmt.Println(read(plain, secure, sent, options))
	input.ReadString('\n')
}
