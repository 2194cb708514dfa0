// SPDX-License-Identifier: Apache-2.0
//
// Asks Go's crypto/x509 what path_judge.c asks Tabard, in the same lines. A path is good if it is
// good for a server and for a client.
package main

import (
	"bufio"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

func read(list string) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for _, text := range strings.Split(list, ",") {
		der, err := base64.StdEncoding.DecodeString(text)
		if text == "-" {
			continue
		}
		if err != nil {
			return nil, err
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		certs = append(certs, cert)
	}
	return certs, nil
}

func judge(fields []string) error {
	seconds, err := strconv.ParseInt(fields[0], 10, 64)
	if err != nil {
		return err
	}
	roots, err := read(fields[1])
	if err != nil {
		return err
	}
	chain, err := read(fields[2])
	if err != nil {
		return err
	}
	options := x509.VerifyOptions{
		Roots:         x509.NewCertPool(),
		Intermediates: x509.NewCertPool(),
		CurrentTime:   time.Unix(seconds, 0),
	}
	for _, root := range roots {
		options.Roots.AddCert(root)
	}
	for _, cert := range chain[1:] {
		options.Intermediates.AddCert(cert)
	}
	for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		options.KeyUsages = []x509.ExtKeyUsage{usage}
		if _, err := chain[0].Verify(options); err != nil {
			return err
		}
	}
	return nil
}

func main() {
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		if err := judge(strings.Fields(line)); err != nil {
			fmt.Println(strings.ReplaceAll(err.Error(), "\n", " "))
		} else {
			fmt.Println("ok")
		}
	}
}
